"""The counts of a message stream are merged as the provider means them."""

from typing import Any

import orjson
import pytest

from budgets.usage import TokenUsage
from gateway.dialects.messages_stream import MessageMeter, generated_in
from gateway.errors import ApiError


def words(text: str) -> int:
    return len(text.split())


def event(**body: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (body["type"].encode(), orjson.dumps(body))


def start(**usage: Any) -> bytes:
    return event(type="message_start", message={"id": "msg_1", "usage": usage})


def end(**usage: Any) -> bytes:
    return event(type="message_delta", delta={"stop_reason": "end_turn"}, usage=usage)


def metered(*events: bytes) -> MessageMeter:
    meter = MessageMeter(1_000, words)
    meter.feed(b"".join(events))
    return meter


def test_cumulative_counts_take_the_place_of_the_first_ones() -> None:
    meter = metered(
        start(input_tokens=25, cache_read_input_tokens=7, output_tokens=1), end(output_tokens=15)
    )
    assert meter.early == TokenUsage(fresh=25, cached=7, output=1)
    assert meter.usage == TokenUsage(fresh=25, cached=7, output=15)
    again = metered(
        start(input_tokens=0, output_tokens=0),
        end(input_tokens=2_679, output_tokens=3, cache_read_input_tokens=None),
        end(input_tokens=10_682, output_tokens=510, cache_read_input_tokens=4),
    )
    assert again.usage == TokenUsage(fresh=10_682, cached=4, output=510)


def test_a_count_that_falls_is_an_omission() -> None:
    """Some servers send zeros for what they do not repeat."""
    meter = metered(start(input_tokens=25, output_tokens=9), end(input_tokens=0, output_tokens=15))
    assert meter.usage == TokenUsage(fresh=25, output=15)


def test_a_stream_without_its_last_report_has_no_usage_but_an_early_one() -> None:
    meter = metered(start(input_tokens=25, output_tokens=1))
    assert (meter.usage, meter.fault) == (None, None)
    assert meter.early == TokenUsage(fresh=25, output=1)
    assert meter.torn


@pytest.mark.parametrize("found", ["12", -1, 1.5, 1 << 63, [], True])
def test_an_impossible_count_anywhere_is_a_fault(found: object) -> None:
    if found != 1 << 63:
        early = metered(start(input_tokens=found), end(output_tokens=4))
        assert early.usage is None
        assert early.fault is not None
    late = metered(
        start(input_tokens=5), end(output_tokens=str(found) if found == 1 << 63 else found)
    )
    assert late.usage is None
    assert late.fault is not None


def test_a_split_of_cache_writes_holds_only_for_the_count_it_was_told_with() -> None:
    split = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 11}
    first = start(input_tokens=5, cache_creation_input_tokens=111, cache_creation=split)
    same = metered(first, end(cache_creation_input_tokens=111, output_tokens=4))
    assert same.usage == TokenUsage(fresh=5, cache_write=100, cache_write_1h=11, output=4)
    grown = metered(first, end(cache_creation_input_tokens=50, output_tokens=4))
    assert grown.usage == same.usage
    more = metered(first, end(cache_creation_input_tokens=300, output_tokens=4))
    assert more.usage == TokenUsage(fresh=5, cache_write=300, output=4)


def test_seals_and_quotations_are_not_what_was_generated() -> None:
    def delta(**fields: Any) -> bytes:
        return event(type="content_block_delta", index=0, delta=fields)

    meter = metered(
        delta(type="signature_delta", signature="sealed " * 50),
        delta(type="citations_delta", citation={"cited_text": "quoted " * 50}),
        event(
            type="content_block_start",
            index=1,
            content_block={"type": "redacted_thinking", "data": "x" * 900},
        ),
    )
    assert (meter.text_events, meter.text_bytes) == (0, 0)
    meter.feed(delta(type="text_delta", text="said"))
    assert (meter.text_events, meter.text_bytes) == (1, 4)


def test_a_block_that_comes_whole_is_counted() -> None:
    meter = metered(
        event(type="content_block_start", index=0, content_block={"type": "text", "text": "All"}),
        event(type="content_block_start", index=1, content_block={"type": "tool_use", "name": "f"}),
    )
    assert (meter.text_events, meter.text_bytes) == (2, 4)


def test_nonsense_passes_uncounted() -> None:
    meter = metered(
        event(type="content_block_delta", delta=7),
        event(type="content_block_start", content_block=7),
        event(type="message_start", message=7),
        event(type="message_delta", usage=7),
        event(type="message_delta"),
        b"data: {}\n\n",
        b'data: {"type":7}\n\n',
    )
    assert (meter.usage, meter.text_events, meter.error_seen) == (None, 0, False)
    assert metered(b'data: {"error":{"message":"x"}}\n\n').error_seen
    assert metered(event(type="error", error={})).error_seen


def test_a_whole_stream_is_not_torn_and_a_failed_one_is_not_either() -> None:
    assert not metered(event(type="message_stop")).torn
    assert not metered(event(type="error", error={})).torn


def test_the_end_of_ours_names_the_request() -> None:
    ending = metered().fail(ApiError(502, "upstream_broken", "torn", kind="x"), "req_1")
    head, _, data = ending.partition(b"\ndata: ")
    assert head == b"event: error"
    assert orjson.loads(data) == {
        "type": "error",
        "error": {
            "type": "api_error",
            "message": "torn",
            "details": {"error_code": "upstream_broken", "param": None},
        },
        "request_id": "req_1",
    }


def test_the_texts_of_a_whole_message_are_what_was_generated() -> None:
    message = {
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sealed"},
            {"type": "redacted_thinking", "data": "sealed"},
            {"type": "text", "text": "said", "citations": [{"cited_text": "quoted"}]},
            {"type": "tool_use", "name": "f", "input": {"city": "Paris", "days": [3, None]}},
            7,
        ]
    }
    assert sorted(generated_in(message)) == sorted(
        ["hm", "said", "f", "city", "Paris", "days", "3"]
    )
    assert list(generated_in({})) == list(generated_in({"content": "x"})) == []
