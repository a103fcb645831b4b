"""The meter reads a stream without changing it, and knows when the money is used up."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.usage import TokenUsage
from gateway.dialects.chat import ChatMeter
from gateway.meter import COUNT_FACTOR_PERCENT, EventSplitter

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def words(text: str) -> int:
    return len(text.split())


def event(delta: dict | None = None, **fields) -> bytes:
    body = {"choices": [] if delta is None else [{"index": 0, "delta": delta}], **fields}
    return b"data: " + orjson.dumps(body) + b"\n\n"


def stream(*texts: str) -> bytes:
    parts = [event({"role": "assistant", "content": None})]
    parts += [event({"content": text}) for text in texts]
    return b"".join([*parts, event(usage=USAGE), b"data: [DONE]\n\n"])


@given(st.lists(st.integers(1, 40), max_size=40), st.sampled_from([b"\n", b"\r\n"]))
def test_no_byte_is_lost_or_changed_whatever_the_chunks(sizes, line_end):
    whole = (b": ping\n\n" + stream("Gr\u00fc\u00dfe", "\u4f60\u597d", "\U0001f600")).replace(
        b"\n", line_end
    )
    splitter = EventSplitter()
    got = []
    at = 0
    for size in [*sizes, len(whole)]:
        got += splitter.feed(whole[at : at + size])
        at += size
    assert b"".join(got) + splitter.pending == whole
    assert len(got) == 7


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_the_usage_report_and_the_end_are_recognised(line_end):
    meter = ChatMeter(100, words)
    seen = meter.feed(stream("one ", "two ").replace(b"\n", line_end))
    assert meter.usage == TokenUsage(fresh=9, output=4)
    assert meter.finished
    assert [sighting.only_usage for sighting in seen] == [False, False, False, True, False]
    assert [sighting.done for sighting in seen] == [False] * 4 + [True]


def test_a_usage_report_beside_text_is_kept_and_not_hidden():
    meter = ChatMeter(100, words)
    (seen,) = meter.feed(event({"content": "x"}, usage=USAGE))
    assert meter.usage is not None
    assert not seen.only_usage


@pytest.mark.parametrize("report", [{}, {"prompt_tokens": -1}, {"prompt_tokens": "9"}, [], "x"])
def test_an_impossible_usage_report_is_a_fault_and_never_a_number(report):
    meter = ChatMeter(100, words)
    meter.feed(event(usage=report))
    assert meter.usage is None
    assert meter.fault is not None


def test_every_kind_of_generated_text_counts():
    meter = ChatMeter(100, words)
    for delta in (
        {"content": "one"},
        {"reasoning_content": "two"},
        {"refusal": "three"},
        {"tool_calls": [{"index": 0, "function": {"name": "four", "arguments": " five"}}]},
    ):
        meter.feed(event(delta))
    assert meter.text_events == 4
    assert meter.text_bytes == len("onetwothreefour five")


def test_one_token_an_event_is_cut_exactly_after_the_limit():
    meter = ChatMeter(5, words)
    verdicts = []
    for _ in range(6):
        meter.feed(event({"content": "a "}))
        verdicts.append(meter.over_limit())
    assert verdicts == [False] * 5 + [True]


def test_many_tokens_in_one_event_are_counted_by_the_tokenizer():
    meter = ChatMeter(80, words)
    meter.feed(event({"content": "word " * 100}))
    assert not meter.over_limit()
    meter.feed(event({"content": "word " * 2}))
    assert meter.over_limit()
    assert meter.output_tokens() == 102


def test_the_tokenizer_is_asked_rarely():
    asked = 0

    def count(text: str) -> int:
        nonlocal asked
        asked += 1
        return words(text)

    meter = ChatMeter(1000, count)
    for _ in range(900):
        meter.feed(event({"content": "four "}))
        assert not meter.over_limit()
    assert asked < 30


def test_nonsense_between_events_passes_uncounted():
    meter = ChatMeter(1, words)
    seen = meter.feed(b"event: x\n\ndata: nonsense\n\ndata: 7\n\n: comment\n\n")
    assert len(seen) == 4
    assert not meter.over_limit()


def test_data_over_several_lines_is_one_event():
    meter = ChatMeter(10, words)
    body = orjson.dumps({"choices": [], "usage": USAGE}, option=orjson.OPT_INDENT_2)
    lines = b"".join(b"data: " + line + b"\n" for line in body.split(b"\n"))
    (seen,) = meter.feed(lines + b"\n")
    assert seen.only_usage
    assert meter.usage is not None


def test_an_error_inside_the_stream_is_noticed():
    meter = ChatMeter(10, words)
    meter.feed(b'data: {"error":{"message":"overloaded"}}\n\n')
    assert meter.error_seen


def test_a_watermark_is_reached_before_the_limit_counting_generously():
    meter = ChatMeter(100, words)
    meter.allow(100, 60)
    asked = []
    for _ in range(100):
        meter.feed(event({"content": "two words "}))
        assert not meter.over_limit() or len(asked) >= 61
        asked.append(meter.at_watermark())
    first = asked.index(True) + 1
    assert 2 * first * 100 // COUNT_FACTOR_PERCENT >= 60
    assert 2 * (first - 1) * 100 // COUNT_FACTOR_PERCENT < 60
    meter.allow(400, 300)
    assert not meter.at_watermark()


def test_without_a_watermark_nothing_is_asked():
    meter = ChatMeter(10, words)
    meter.allow(10, None)
    meter.feed(event({"content": "word " * 10}))
    assert not meter.at_watermark()


def test_a_raised_limit_lets_a_stream_go_on():
    meter = ChatMeter(5, words)
    for _ in range(6):
        meter.feed(event({"content": "a "}))
    assert meter.over_limit()
    meter.allow(7, None)
    assert not meter.over_limit()
    for _ in range(2):
        meter.feed(event({"content": "a "}))
    assert meter.over_limit()


def test_events_of_a_few_bytes_are_a_token_each_whatever_another_vocabulary_says():
    def three(text):
        return 3 * len(text.split())

    meter = ChatMeter(50, three)
    for number in range(50):
        meter.feed(event({"content": f"tok{number} "}))
        assert not meter.over_limit()
    assert meter.output_tokens() == 50
    meter.feed(event({"content": "tok50 "}))
    assert meter.over_limit()


def test_a_watermark_trusts_no_event_to_be_one_token():
    def three(text):
        return 3 * len(text.split())

    meter = ChatMeter(50, three)
    meter.allow(50, 40)
    for number in range(11):
        meter.feed(event({"content": f"tok{number} "}))
    assert meter.at_watermark()
