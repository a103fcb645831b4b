"""What a translated stream tells its caller's meter, event by event and in the end."""

from typing import Any

import pytest

from budgets.usage import TokenUsage
from gateway.dialects.translation.chat_pieces import InterleavedCalls
from gateway.dialects.translation.port import MAX_OMISSIONS
from tests.unit.gateway.dialects.captures import METERS, capture, meter_for
from tests.unit.gateway.dialects.translation.translating import (
    ask,
    called,
    chunk,
    objects_in,
    reported,
    stream_of,
    written,
)

CHAT = ["reasoning_with_comments", "refusal", "text", "tool_calls"]
MESSAGES = ["text", "parallel_tools", "thinking", "cache", "refusal", "unknown_events"]
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def generated(meter: Any, stream: bytes, texts: list[str]) -> None:
    meter.feed(stream)
    meter.allow(1 << 60, 1)
    meter.at_watermark()
    assert not meter.pending


def heard(name: str, dialect: str, stream: bytes) -> tuple[Any, str]:
    texts: list[str] = []

    def count(text: str) -> int:
        texts.append(text)
        return len(text)

    meter = METERS[dialect](1_000_000, count)
    generated(meter, stream, texts)
    return meter, "".join(texts)


@pytest.mark.parametrize("name", CHAT)
@pytest.mark.parametrize("speech", ["messages", "responses"])
def test_usage_and_text_of_a_chat_stream_are_the_same_in_every_dialect(
    speech: str, name: str
) -> None:
    original, text = heard(name, "chat", capture(f"chat/{name}"))
    asked = ask(speech, stream=True)
    turned, turned_text = heard(name, speech, written(asked.writer, capture(f"chat/{name}")))
    assert (turned.usage, turned.fault) == (original.usage, None)
    assert turned_text == text
    assert turned.finished
    assert not turned.torn
    assert not turned.error_seen


@pytest.mark.parametrize("name", MESSAGES)
def test_usage_and_text_of_a_message_stream_are_the_same_in_chat(name: str) -> None:
    original, text = heard(name, "messages", capture(f"messages/{name}"))
    asked = ask("chat", stream=True, stream_options={"include_usage": True})
    turned, turned_text = heard(name, "chat", written(asked.writer, capture(f"messages/{name}")))
    assert (turned.usage, turned.fault) == (original.usage, None)
    assert turned_text == text
    assert turned.finished


@pytest.mark.parametrize("name", CHAT)
@pytest.mark.parametrize("speech", ["messages", "responses"])
def test_every_generated_piece_is_passed_with_the_event_that_brought_it(
    speech: str, name: str
) -> None:
    meter, original = METERS[speech](1_000_000, len), meter_for(f"chat/{name}", len)
    writer = ask(speech, stream=True).writer
    for body in objects_in(capture(f"chat/{name}")):
        meter.feed(writer.event(body))
        original.feed(stream_of(body).removesuffix(b"data: [DONE]\n\n"))
        assert meter.text_bytes == original.text_bytes


@pytest.mark.parametrize("speech", ["messages", "responses"])
@pytest.mark.parametrize("name", ["error", "truncated"])
def test_a_stream_that_failed_or_broke_off_has_no_end(speech: str, name: str) -> None:
    meter = METERS[speech](1_000_000, len)
    meter.feed(written(ask(speech, stream=True).writer, capture(f"chat/{name}")))
    assert meter.usage is None
    assert meter.error_seen or meter.torn
    assert meter.error_seen == (name == "error")


@pytest.mark.parametrize("name", ["error", "truncated"])
def test_a_message_stream_that_failed_or_broke_off_has_no_end_in_chat(name: str) -> None:
    asked = ask("chat", stream=True, stream_options={"include_usage": True})
    meter = METERS["chat"](1_000_000, len)
    meter.feed(written(asked.writer, capture(f"messages/{name}")))
    assert (meter.usage, meter.finished) == (None, False)
    assert meter.error_seen == (name == "error")


@pytest.mark.parametrize("speech", ["messages", "responses"])
def test_without_a_report_nothing_is_reported(speech: str) -> None:
    """A zero would be billed as a report of nothing."""
    stream = stream_of(chunk(content="Hi"), chunk("stop"))
    meter = METERS[speech](1_000_000, len)
    meter.feed(written(ask(speech, stream=True).writer, stream))
    assert (meter.usage, meter.early, meter.finished) == (None, None, True)


@pytest.mark.parametrize("speech", ["messages", "responses"])
@pytest.mark.parametrize(
    "calls",
    [
        [called(0, "", "f", "a"), called(0, '{"x":1}'), called(1, "{}", "g", "b")],
        [called(0, '{"x":1}', "f", "a"), called(0, "{}", "g", "b")],
        [called(None, '{"x":1}', "f", "a"), called(None, "{}", "g", "b")],
        [called(0, '{"x"', "f", "a"), called(0, ":1}", "f", "a"), called(1, "{}", "g", "b")],
        [called(0, '{"x"', "f", "a"), called(0, ":1}", "", "other"), called(1, "{}", "g", "b")],
    ],
)
def test_parallel_calls_are_told_apart_however_they_are_numbered(
    speech: str, calls: list[dict[str, Any]]
) -> None:
    writer = ask(speech, stream=True).writer
    chunks = [chunk(tool_calls=[call]) for call in calls]
    events = objects_in(written(writer, stream_of(*chunks, chunk("tool_calls"))))
    if speech == "responses":
        output = events[-1]["response"]["output"]
        told = [(one["call_id"], one["name"], one["arguments"]) for one in output]
    else:
        starts = [e["content_block"] for e in events if e["type"] == "content_block_start"]
        deltas = [""] * len(starts)
        for event in events:
            if event["type"] == "content_block_delta":
                deltas[event["index"]] += event["delta"]["partial_json"]
        told = [(b["id"], b["name"], text) for b, text in zip(starts, deltas, strict=True)]
    assert told == [("a", "f", '{"x":1}'), ("b", "g", "{}")]


def test_arguments_for_a_call_that_is_over_break_the_answer() -> None:
    writer = ask("messages", stream=True).writer
    for call in (called(0, "{", "f", "a"), called(1, "{", "g", "b")):
        writer.event(chunk(tool_calls=[call]))
    with pytest.raises(InterleavedCalls):
        writer.event(chunk(tool_calls=[called(0, "}")]))


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("content_filter", "refusal"),
    ],
)
def test_why_it_ended_is_told_in_messages(finish: str, reason: str) -> None:
    stream = stream_of(chunk(content="Hi"), chunk(finish), reported(USAGE))
    events = objects_in(written(ask("messages", stream=True).writer, stream))
    assert events[-2]["delta"] == {"stop_reason": reason, "stop_sequence": None}
    assert events[-2]["usage"]["input_tokens"] == 9


def test_a_stop_sequence_that_the_provider_tells_is_passed() -> None:
    last = chunk("stop")
    last["choices"][0]["stop_reason"] = "END"
    events = objects_in(written(ask("messages", stream=True).writer, stream_of(last)))
    assert events[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}


@pytest.mark.parametrize(
    ("finish", "status", "why"),
    [
        ("stop", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_why_it_ended_is_told_in_responses(finish: str, status: str, why: object) -> None:
    stream = stream_of(chunk(content="Hi"), chunk(finish), reported(USAGE))
    last = objects_in(written(ask("responses", stream=True).writer, stream))[-1]
    assert last["type"] == f"response.{status}"
    assert last["response"]["status"] == status
    assert last["response"]["incomplete_details"] == why
    assert last["response"]["output"][0]["status"] == status


def test_cached_and_reasoning_tokens_stay_what_they_are() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {
            "cached_tokens": 60,
            "cache_write_tokens": 10,
            "cache_write_1h_tokens": 5,
        },
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    stream = stream_of(chunk(content="Hi"), chunk("stop"), reported(usage))
    expected = TokenUsage(
        fresh=25, cached=60, cache_write=10, cache_write_1h=5, output=30, reasoning=20
    )
    for speech in ("messages", "responses"):
        meter = METERS[speech](1_000_000, len)
        meter.feed(written(ask(speech, stream=True).writer, stream))
        assert meter.usage == expected


def test_what_a_providers_own_tool_was_given_is_no_call_of_the_clients() -> None:
    writer = ask("chat", stream=True).writer
    chunks = objects_in(written(writer, capture("messages/web_search")))
    assert not any("tool_calls" in c["choices"][0]["delta"] for c in chunks if c["choices"])
    assert set(writer.omissions.names) == {
        "answer.content.citations_delta",
        "answer.content.server_tool_use",
        "answer.content.web_search_tool_result",
        "answer.usage.server_tool_use",
    }


def test_names_of_omissions_are_bounded() -> None:
    writer = ask("messages", stream=True).writer
    writer.event({**chunk(content="Hi"), **{f"odd{n}" * 99: n + 1 for n in range(999)}})
    assert len(writer.omissions.names) == MAX_OMISSIONS
    assert max(map(len, writer.omissions.names)) < 200


def test_what_says_nothing_is_no_omission() -> None:
    for speech in ("messages", "responses"):
        writer = ask(speech, stream=True).writer
        writer.event({**chunk(content="Hi", annotations=[]), "service_tier": None})
        assert not writer.omissions.names
