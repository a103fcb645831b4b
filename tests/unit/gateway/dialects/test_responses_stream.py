"""A response stream is metered by what its events call themselves, and ends as clients expect."""

from typing import Any

import orjson
import pytest

from budgets.usage import TokenUsage
from gateway.dialects.responses_stream import (
    ResponseMeter,
    error_event,
    failure_code,
    generated_in,
    tool_uses_in,
)
from gateway.errors import ApiError, stream_cut
from tests.unit.gateway.dialects.captures import capture


def words(text: str) -> int:
    return len(text.split())


def event(kind: str, **body: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **body}))


def metered(*events: bytes) -> ResponseMeter:
    meter = ResponseMeter(1_000, words)
    meter.feed(b"".join(events))
    return meter


def payloads(ending: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(part.partition(b"\ndata: ")[2]) for part in ending.split(b"\n\n") if part]


@pytest.mark.parametrize(
    "kind",
    [
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.mcp_call_arguments.delta",
        "response.code_interpreter_call_code.delta",
        "response.audio.transcript.delta",
        "response.anything_new.delta",
    ],
)
def test_every_delta_of_text_counts(kind: str) -> None:
    meter = metered(event(kind, delta="two words"))
    assert (meter.text_events, meter.text_bytes) == (1, 9)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("response.audio.delta", {"delta": "UklGRg=="}),
        ("response.output_audio.delta", {"delta": "UklGRg=="}),
        ("response.shell_call_output_content.delta", {"delta": "total 8"}),
        ("response.output_text.delta", {"delta": {"text": "x"}}),
        ("response.output_text.done", {"text": "two words"}),
        ("response.image_generation_call.partial_image", {"partial_image_b64": "eA=="}),
    ],
)
def test_what_was_not_generated_as_text_does_not_count(kind: str, body: dict[str, Any]) -> None:
    assert metered(event(kind, **body)).text_events == 0


@pytest.mark.parametrize(
    ("kind", "failed"),
    [
        ("response.completed", False),
        ("response.incomplete", False),
        ("response.failed", True),
        ("response.cancelled", True),
    ],
)
def test_each_end_is_an_end_and_carries_the_usage(kind: str, failed: bool) -> None:
    usage = {"input_tokens": 9, "output_tokens": 4}
    meter = metered()
    (sighting,) = meter.feed(event(kind, response={"id": "resp_1", "usage": usage}))
    assert sighting.done
    assert not sighting.only_usage
    assert meter.usage == TokenUsage(fresh=9, output=4)
    assert (meter.finished, meter.error_seen, meter.torn) == (True, failed, False)
    assert meter.response_id == "resp_1"


@pytest.mark.parametrize("usage", [{}, {"input_tokens": -1}, "x", {"input_tokens": 1 << 60}])
def test_an_impossible_report_is_a_fault_and_never_a_number(usage: object) -> None:
    meter = metered(event("response.completed", response={"usage": usage}))
    assert meter.usage is None
    assert meter.fault is not None


def test_nonsense_passes_uncounted() -> None:
    meter = metered(
        b"data: {}\n\n",
        b'data: {"type":7}\n\n',
        event("response.completed", response=7),
        event("response.created"),
        event("response.output_item.done", item=7),
        event("response.output_item.added"),
    )
    assert (meter.usage, meter.fault, meter.text_events, meter.error_seen) == (None, None, 0, False)


def test_an_error_of_any_shape_is_noticed() -> None:
    assert metered(event("error", message="x")).error_seen
    assert metered(b'data: {"error":{"message":"x"}}\n\n').error_seen
    assert not metered(event("response.created", response={"error": None})).error_seen


def test_a_stream_that_is_cut_fails_as_the_response_it_was() -> None:
    events = capture("responses/text").split(b"\n\n")[:6]
    meter = metered(b"\n\n".join(events) + b"\n\n")
    failed, error = payloads(meter.fail(stream_cut(7), "req_1"))
    begun = orjson.loads(events[0].partition(b"\ndata: ")[2])["response"]
    assert failed["type"] == "response.failed"
    assert (failed["sequence_number"], error["sequence_number"]) == (6, 7)
    assert failed["response"] == {
        **begun,
        "status": "failed",
        "error": {"code": "insufficient_quota", "message": stream_cut(7).message},
    }
    assert (error["type"], error["code"], error["param"]) == ("error", "budget_exceeded", None)
    assert error["error"]["reserved_usd"] == "0.000000007"
    assert error["message"] == error["error"]["message"] == stream_cut(7).message


@pytest.mark.parametrize(
    "begun", [b"", event("response.created"), event("response.created", response=7)]
)
def test_a_stream_that_never_began_has_the_error_alone(begun: bytes) -> None:
    (error,) = payloads(metered(begun).fail(stream_cut(7), "req_1"))
    assert error["type"] == "error"


def test_an_error_event_is_read_by_those_who_raise_and_those_who_look() -> None:
    error = ApiError(502, "upstream_broken", "torn", kind="upstream_error", details={"x": 1})
    (payload,) = payloads(error_event(error, 4))
    assert payload == {
        "type": "error",
        "sequence_number": 4,
        "code": "upstream_broken",
        "message": "torn",
        "param": None,
        "error": {
            "message": "torn",
            "type": "upstream_error",
            "param": None,
            "code": "upstream_broken",
            "x": 1,
        },
    }


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (402, "insufficient_quota"),
        (403, "insufficient_quota"),
        (429, "rate_limit_exceeded"),
        (400, "invalid_prompt"),
        (502, "server_error"),
    ],
)
def test_a_failure_has_a_code_that_clients_know(status: int, code: str) -> None:
    assert failure_code(ApiError(status, "x", "y")) == code


def test_the_texts_and_tools_of_a_whole_response_are_found() -> None:
    response = {
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "content": [{"text": "said"}, {"refusal": "no"}, 7]},
            {"type": "function_call", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "name": "g", "input": "raw"},
            {"type": "web_search_call", "status": "completed"},
            {"type": "web_search_call", "status": "completed"},
            7,
        ]
    }
    assert list(generated_in(response)) == ["hm", "said", "no", "f", "{}", "g", "raw"]
    assert tool_uses_in(response) == {"web_search_call": 2}
    assert list(generated_in({})) == []
    assert tool_uses_in({"output": "x"}) == {}
