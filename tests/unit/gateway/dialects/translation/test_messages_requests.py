"""What a chat provider reads of a message's request, and what is refused by name."""

from typing import Any

import orjson
import pytest

from gateway.dialects.translation.message_blocks import assistant_message
from gateway.dialects.translation.messages_answer import error_object
from gateway.dialects.translation.port import Losses, Target
from gateway.errors import ApiError
from tests.unit.gateway.dialects.test_agents import CLAUDE_CODE
from tests.unit.gateway.dialects.translation.translating import BY_SPEECH, LENIENT, ask, sent

PNG = {"type": "base64", "media_type": "image/png", "data": "iVBO"}
URL = "data:image/png;base64,iVBO"


def messages_sent(*messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent("messages", messages=list(messages), **fields)["messages"]
    return found


def test_claude_code_is_carried_and_what_is_left_out_is_named() -> None:
    asked = ask("messages", **CLAUDE_CODE)
    body = orjson.loads(asked.body)
    assert asked.path == "/chat/completions"
    assert body["messages"] == [
        {"role": "system", "content": "You are Claude Code."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>CLAUDE.md</system-reminder>"},
                {"type": "text", "text": "Fix it."},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "toolu_1",
                    "type": "function",
                    "function": {"name": "Bash", "arguments": '{"command":"ls"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "README.md"},
        {"role": "system", "content": "Be brief."},
    ]
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "Bash", "description": "Runs", "parameters": {"type": "object"}},
        }
    ]
    assert (body["max_tokens"], body["stream"]) == (32_000, True)
    assert body["stream_options"] == {"include_usage": True}
    assert set(body) == {"model", "messages", "tools", "max_tokens", "stream", "stream_options"}
    assert set(asked.dropped) == {
        "cache_control",
        "context_management",
        "messages.thinking",
        "metadata",
        "output_config.effort",
        "thinking",
    }


def test_steering_fields_have_their_own_names_there() -> None:
    target = Target(limit_field="max_completion_tokens")
    body = sent("messages", target, temperature=0.5, top_p=0.9, stop_sequences=["END"])
    assert (body["temperature"], body["top_p"], body["stop"]) == (0.5, 0.9, ["END"])
    assert body["max_completion_tokens"] == 64
    assert "max_tokens" not in body


def test_results_of_tools_come_before_what_the_user_says_with_them() -> None:
    results = [
        {"type": "tool_result", "tool_use_id": "a", "content": "one"},
        {"type": "text", "text": "Go on."},
        {"type": "tool_result", "tool_use_id": "b", "content": "two", "is_error": True},
    ]
    assert messages_sent({"role": "user", "content": results}) == [
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "tool", "tool_call_id": "b", "content": "Error: two"},
        {"role": "user", "content": "Go on."},
    ]


def test_an_image_in_a_result_is_shown_by_the_user_after_it() -> None:
    content = [{"type": "text", "text": "Here."}, {"type": "image", "source": PNG}]
    result = {"type": "tool_result", "tool_use_id": "a", "content": content}
    assert messages_sent({"role": "user", "content": [result]}) == [
        {"role": "tool", "tool_call_id": "a", "content": "Here."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}]},
    ]


@pytest.mark.parametrize(
    ("source", "part"),
    [
        (
            {"type": "text", "media_type": "text/plain", "data": "Text."},
            {"type": "text", "text": "T\n\nText."},
        ),
        (
            {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            {
                "type": "file",
                "file": {"filename": "T", "file_data": "data:application/pdf;base64,JVBE"},
            },
        ),
    ],
)
def test_documents_in_the_request_are_carried(source: dict[str, Any], part: dict[str, Any]) -> None:
    document = {"type": "document", "source": source, "title": "T"}
    said = [document, {"type": "text", "text": "Read it."}]
    assert messages_sent({"role": "user", "content": said})[0]["content"][0] == part


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_the_choice_of_a_tool_is_carried(choice: dict[str, Any], expected: object) -> None:
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    choice = choice | {"disable_parallel_tool_use": True}
    body = sent("messages", tools=tools, tool_choice=choice)
    assert (body["tool_choice"], body["parallel_tool_calls"]) == (expected, False)


def test_a_schema_of_the_answer_is_carried() -> None:
    form = {"type": "json_schema", "schema": {"type": "object"}}
    body = sent("messages", output_config={"format": form})
    assert body["response_format"]["json_schema"] == {
        "name": "answer",
        "schema": {"type": "object"},
        "strict": True,
    }


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 8_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32_000}}, "high"),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "high"),
        ({"thinking": {"type": "adaptive"}}, None),
    ],
)
def test_thinking_is_an_effort_where_the_provider_takes_one(
    fields: dict[str, Any], effort: str | None
) -> None:
    asked = ask("messages", Target(reasoning_effort=True), **fields)
    assert orjson.loads(asked.body).get("reasoning_effort") == effort
    assert asked.dropped == ()


def test_earlier_thinking_goes_back_where_the_provider_wants_it() -> None:
    content = [
        {"type": "thinking", "thinking": "Hm.", "signature": "weir-unsigned"},
        {"type": "text", "text": "Yes."},
    ]
    target, losses = Target(reasoning_field="reasoning_content"), Losses(False)
    message = assistant_message(content, "messages[0].content", target, losses)
    assert message == {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
    assert not losses.dropped


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"top_k": 5}, "top_k"),
    ({"container": "c"}, "container"),
    ({"mcp_servers": [{"url": "u"}]}, "mcp_servers"),
    ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
     "context_management"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
    ({"tools": [{"name": "f", "input_schema": {}, "defer_loading": True}]},
     "tools[0].defer_loading"),
    ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format"),
    ({"output_config": {"task_budget": {}}}, "output_config.task_budget"),
    ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "{"}]},
     "messages[1]"),
    ({"messages": [{"role": "user", "content": [{"type": "search_result"}]}]},
     "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
     "messages[0].content[0].source"),
    ({"messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "url", "url": "u"}}]}]},
     "messages[0].content[0].source"),
    ({"messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "text", "data": "t"},
         "citations": {"enabled": True}}]}]},
     "messages[0].content[0].citations"),
    ({"system": [{"type": "image"}]}, "system[0]"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "name"), REFUSED)
def test_what_cannot_be_carried_is_refused_by_name_or_dropped_by_name(
    fields: dict[str, Any], name: str
) -> None:
    with pytest.raises(ApiError) as caught:
        ask("messages", **fields)
    assert (caught.value.status, caught.value.param) == (400, name)
    assert caught.value.code == "unsupported_parameter"
    assert name in ask("messages", LENIENT, **fields).dropped


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (401, b'{"error":{"message":"No.","type":"x"}}', "authentication_error", "No."),
        (429, b'{"error":"Slow down."}', "rate_limit_error", "Slow down."),
        (404, b'{"detail":"Not Found"}', "not_found_error", "Not Found"),
        (500, b"<html>", "api_error", "<html>"),
        (503, b"", "overloaded_error", "The provider answered with status 503."),
    ],
)
def test_errors_of_the_provider_are_worded_as_anthropic_does(
    status: int, body: bytes, kind: str, message: str
) -> None:
    found = orjson.loads(BY_SPEECH["messages"].error_body(status, body))
    assert found["type"] == "error"
    assert found["error"] == {"type": kind, "message": message}


def test_an_error_inside_a_stream_has_the_kind_of_its_code() -> None:
    error = error_object("Full.", "server_error", "rate_limit_exceeded")["error"]
    assert error["type"] == "rate_limit_error"
    assert error["details"] == {"error_code": "rate_limit_exceeded"}
