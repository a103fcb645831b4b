"""What is generated counts against the limit, and the tokenizer is asked rarely."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat import ChatMeter
from gateway.dialects.counting import OutputCounter
from gateway.meter import COUNT_FACTOR_PERCENT, FEWEST_PIECES


def words(text: str) -> int:
    return len(text.split())


def say(counter: OutputCounter, text: str) -> None:
    if counter.take(text):
        counter.text_events += 1


def test_one_token_an_event_is_over_exactly_after_the_limit() -> None:
    counter = OutputCounter(5, words)
    verdicts = []
    for _ in range(6):
        say(counter, "a ")
        verdicts.append(counter.over_limit())
    assert verdicts == [False] * 5 + [True]


def test_many_tokens_in_one_event_are_counted_by_the_tokenizer() -> None:
    counter = OutputCounter(80, words)
    say(counter, "word " * 100)
    assert not counter.over_limit()
    say(counter, "word " * 2)
    assert counter.over_limit()
    assert counter.output_tokens() == 102


def test_the_tokenizer_is_asked_rarely() -> None:
    asked = 0

    def count(text: str) -> int:
        nonlocal asked
        asked += 1
        return words(text)

    counter = OutputCounter(1000, count)
    for _ in range(900):
        say(counter, "fourteen bytes")
        assert not counter.over_limit()
    assert asked < 40


def test_a_watermark_is_reached_before_the_limit_counting_generously() -> None:
    counter = OutputCounter(100, words)
    counter.allow(100, 60)
    asked = []
    while not counter.over_limit():
        say(counter, "two words ")
        asked.append(counter.at_watermark())
    first = asked.index(True) + 1
    assert 2 * first * 100 // COUNT_FACTOR_PERCENT >= 60
    assert 2 * (first - 1) * 100 // COUNT_FACTOR_PERCENT < 60
    counter.allow(400, 300)
    assert not counter.at_watermark()


def test_without_a_watermark_nothing_is_asked_and_a_raised_limit_lets_it_go_on() -> None:
    counter = OutputCounter(5, words)
    for _ in range(6):
        say(counter, "a ")
    assert counter.over_limit()
    counter.allow(7, None)
    assert not counter.over_limit()
    assert not counter.at_watermark()
    for _ in range(2):
        say(counter, "a ")
    assert counter.over_limit()


def test_events_of_a_few_bytes_are_a_token_each_whatever_another_vocabulary_says() -> None:
    counter = OutputCounter(50, lambda text: 3 * words(text))
    for number in range(50):
        say(counter, f"tok{number} ")
        assert not counter.over_limit()
    assert counter.output_tokens() == 50
    say(counter, "tok50 ")
    assert counter.over_limit()


def test_a_few_short_events_prove_nothing() -> None:
    counter = OutputCounter(50, lambda text: 3 * words(text))
    for _ in range(FEWEST_PIECES - 1):
        say(counter, "tok ")
    assert counter.output_tokens() == 3 * (FEWEST_PIECES - 1)


DELTAS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "content": st.none() | st.text(max_size=30) | st.integers(-9, 9),
            "reasoning_content": st.text(max_size=9),
            "reasoning": st.text(max_size=9),
            "refusal": st.none() | st.text(max_size=9),
            "tool_calls": st.lists(
                st.fixed_dictionaries(
                    {"function": st.dictionaries(st.sampled_from(["name", "arguments"]), st.text())}
                ),
                max_size=2,
            )
            | st.integers(-9, 9),
        },
    ),
    max_size=8,
)
CHOICES = st.lists(
    st.fixed_dictionaries(
        {"delta": st.none() | st.dictionaries(st.sampled_from(["content"]), st.text(max_size=9))}
    ),
    max_size=2,
)
CHUNKS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "choices": CHOICES | st.integers(-9, 9),
            "usage": st.none() | st.fixed_dictionaries({"prompt_tokens": st.integers(-1, 9)}),
            "error": st.none() | st.just({"message": "no"}),
        },
    ),
    max_size=8,
)


def spoken(deltas: list[dict[str, Any]]) -> str:
    """What a stream generates, said plainly."""
    texts: list[object] = []
    for delta in deltas:
        texts += [delta.get(n) for n in ("content", "reasoning_content", "reasoning", "refusal")]
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            texts += [call["function"].get("name"), call["function"].get("arguments")]
    return "".join(text for text in texts if isinstance(text, str))


@given(DELTAS, CHUNKS)
def test_whatever_a_stream_holds_its_text_counts_and_its_reading_goes_on(
    deltas: list[dict[str, Any]], chunks: list[dict[str, Any]]
) -> None:
    bodies = [{"choices": [{"delta": delta}]} for delta in deltas]
    raw = b"".join(b"data: " + orjson.dumps(body) + b"\n\n" for body in bodies)
    meter = ChatMeter(1_000, len)
    meter.feed(raw)
    assert meter.text_bytes == len(spoken(deltas).encode())
    odd = b"".join(b"data: " + orjson.dumps(body) + b"\n\n" for body in chunks)
    meter.feed(odd + b": x\n\ndata: nonsense\n\ndata: [DONE]\n\n")
    assert meter.finished
    assert meter.output_tokens() >= min(1, len(spoken(deltas)))
