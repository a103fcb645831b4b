"""A whole answer is what the stream of the same answer adds up to."""

from typing import Any

import pytest

from gateway.dialects.index import BY_ROUTE
from gateway.dialects.translation.chat_pieces import arguments_object
from tests.unit.gateway.dialects.translation.translating import (
    NOW_S,
    ask,
    called,
    chunk,
    objects_in,
    reported,
    stream_of,
    written,
)

USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 12,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
CALLS = [called(None, '{"x":1}', "f", "call_1"), called(None, "{}", "g", "call_2")]
MESSAGE = {
    "role": "assistant",
    "reasoning_content": "Hm.",
    "content": "Let me see.",
    "tool_calls": CALLS,
}
ANSWER = {
    "id": "c-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "tool_calls"}],
    "usage": USAGE,
}
STREAM = stream_of(
    chunk(role="assistant", content=""),
    chunk(reasoning_content="Hm."),
    chunk(content="Let me "),
    chunk(content="see."),
    chunk(tool_calls=[called(0, "", "f", "call_1")]),
    chunk(tool_calls=[called(0, '{"x":')]),
    chunk(tool_calls=[called(0, "1}")]),
    chunk(tool_calls=[called(1, "{}", "g", "call_2")]),
    chunk("tool_calls"),
    reported(USAGE),
)


def test_a_whole_response_is_the_one_that_its_stream_ends_with() -> None:
    streamed = objects_in(written(ask("responses", stream=True).writer, STREAM))[-1]["response"]
    assert ask("responses").writer.whole(ANSWER) == streamed


def test_a_response_has_what_its_sdk_needs() -> None:
    response = ask("responses", metadata={"a": "b"}, max_output_tokens=99).writer.whole(ANSWER)
    assert response["id"] == "resp_c-1"
    assert (response["object"], response["created_at"]) == ("response", NOW_S)
    assert (response["status"], response["store"]) == ("completed", False)
    assert (response["metadata"], response["max_output_tokens"]) == ({"a": "b"}, 99)
    kinds = [item["type"] for item in response["output"]]
    assert kinds == ["reasoning", "message", "function_call", "function_call"]
    assert len({item["id"] for item in response["output"]}) == 4
    assert response["usage"]["input_tokens_details"] == {"cached_tokens": 5}
    assert response["usage"]["total_tokens"] == 42


def test_numbers_and_places_of_a_response_stream_go_up_by_one() -> None:
    events = objects_in(written(ask("responses", stream=True).writer, STREAM))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    added = [e for e in events if e["type"] == "response.output_item.added"]
    done = [e for e in events if e["type"] == "response.output_item.done"]
    assert [e["output_index"] for e in added] == [e["output_index"] for e in done] == [0, 1, 2, 3]
    ids = {e["output_index"]: e["item"]["id"] for e in added}
    for event in events:
        if "item_id" in event:
            assert event["item_id"] == ids[event["output_index"]]
    assert [e["type"] for e in events[:2]] == ["response.created", "response.in_progress"]


def test_a_whole_message_is_the_one_that_its_stream_adds_up_to() -> None:
    message = ask("messages").writer.whole(ANSWER)
    events = objects_in(written(ask("messages", stream=True).writer, STREAM))
    assert [event["type"] for event in events if "block" not in event["type"]] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    indexes = [e["index"] for e in events if e["type"] == "content_block_start"]
    assert indexes == [e["index"] for e in events if e["type"] == "content_block_stop"]
    assert indexes == [0, 1, 2, 3] == list(range(len(message["content"])))
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "weir-unsigned"},
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "call_2", "name": "g", "input": {}},
    ]
    assert (message["id"], message["role"], message["stop_reason"]) == (
        "msg_c-1",
        "assistant",
        "tool_use",
    )
    assert message["usage"] == events[-2]["usage"]


@pytest.mark.parametrize("speech", ["messages", "responses"])
def test_a_whole_answer_without_a_report_has_no_usage(speech: str) -> None:
    whole = ask(speech).writer.whole({**ANSWER, "usage": None})
    usage = BY_ROUTE[f"/v1/{speech}"].usage_in(whole)
    assert not hasattr(usage, "fresh")


def test_a_message_becomes_a_completion() -> None:
    content: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"},
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
    ]
    usage = {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 7}
    message = {"id": "msg_1", "model": "claude", "content": content, "stop_reason": "tool_use"}
    completion = ask("chat").writer.whole({**message, "usage": usage})
    choice = completion["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me see."
    assert choice["message"]["reasoning_content"] == "Hm."
    assert choice["message"]["thinking_blocks"] == content[:1]
    call = choice["message"]["tool_calls"][0]
    assert (call["id"], call["function"]) == ("toolu_1", {"name": "f", "arguments": '{"x":1}'})
    assert completion["usage"]["prompt_tokens"] == 15
    assert completion["usage"]["prompt_tokens_details"]["cached_tokens"] == 5
    assert (completion["object"], completion["created"]) == ("chat.completion", NOW_S)


def test_arguments_that_are_no_object_are_kept_under_a_name() -> None:
    assert arguments_object("") == {}
    assert arguments_object('{"a": 1}') == {"a": 1}
    assert arguments_object('{"a": ') == {"INVALID_JSON": '{"a": '}
    assert arguments_object("[1]") == {"INVALID_JSON": "[1]"}
