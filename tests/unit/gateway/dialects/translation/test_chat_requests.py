"""What a provider of messages reads of a chat's request, and what is refused by name."""

from typing import Any

import orjson
import pytest

from gateway.dialects.index import BY_ROUTE
from gateway.dialects.translation.chat_messages import turns_of
from gateway.dialects.translation.index import ALL, needed, reached
from gateway.dialects.translation.port import Losses
from gateway.errors import ApiError
from tests.unit.gateway.dialects.translation.translating import BY_SPEECH, LENIENT, ask, sent

CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}


def test_a_conversation_with_tools_is_carried() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Really."}]},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "I look.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "user", "content": "And?"},
    ]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    body = sent("chat", messages=messages, tools=[tool], max_tokens=99, stop="END", user="u")
    assert body["system"] == [
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": "Really."},
    ]
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "one"},
                {"type": "text", "text": "And?"},
            ],
        },
    ]
    assert body["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    assert (body["max_tokens"], body["stop_sequences"]) == (99, ["END"])
    assert body["metadata"] == {"user_id": "u"}


def test_images_files_and_cache_marks_are_carried() -> None:
    mark = {"type": "ephemeral"}
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JV", "filename": "F"}},
        {"type": "text", "text": "Look.", "cache_control": mark},
    ]
    content = sent("chat", messages=[{"role": "user", "content": parts}])["messages"][0]["content"]
    png = {"type": "base64", "media_type": "image/png", "data": "iVBO"}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JV"}
    assert content == [
        {"type": "image", "source": png},
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {"type": "document", "source": pdf, "title": "F"},
        {"type": "text", "text": "Look.", "cache_control": mark},
    ]


def test_sealed_thinking_goes_back_first_and_unsealed_is_named() -> None:
    sealed = {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}
    losses = Losses(False)
    said = {"role": "assistant", "content": "Yes.", "thinking_blocks": [sealed]}
    _, turns = turns_of([said], losses)
    assert turns[0]["content"] == [sealed, {"type": "text", "text": "Yes."}]
    turns_of([{"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}], losses)
    assert list(losses.dropped) == ["messages.reasoning_content"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"type": "tool", "name": "f"},
        ),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
    ],
)
def test_the_choice_of_a_tool_is_carried(fields: dict[str, Any], expected: object) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = sent("chat", tools=tools, **fields)
    assert body["tool_choice"] == expected
    assert body["tools"][0]["input_schema"] == {"type": "object", "properties": {}}


def test_without_a_limit_a_usual_one_is_sent() -> None:
    assert sent("chat")["max_tokens"] == 4_096
    assert sent("chat", max_tokens=9, max_completion_tokens=7)["max_tokens"] == 7


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "config"),
    [
        ("claude-opus-4-7", "high", {"type": "adaptive"}, {"effort": "high"}),
        ("claude-sonnet-5", "minimal", {"type": "adaptive"}, {"effort": "low"}),
        ("claude-haiku-4-5", "low", {"type": "enabled", "budget_tokens": 2_048}, None),
        ("claude-sonnet-4-20250514", "high", {"type": "enabled", "budget_tokens": 10_000}, None),
        ("claude-3-7-sonnet-latest", "medium", {"type": "enabled", "budget_tokens": 8_192}, None),
        ("claude-opus-5", "none", {"type": "disabled"}, None),
    ],
)
def test_an_effort_is_thinking_as_the_model_knows_it(
    model: str, effort: str, thinking: dict[str, Any], config: object
) -> None:
    body = sent("chat", model=model, reasoning_effort=effort, max_tokens=20_000)
    assert body["thinking"] == thinking
    assert body.get("output_config") == config


def test_a_schema_of_the_answer_is_carried() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    config = sent("chat", response_format=form)["output_config"]
    assert config == {"format": {"type": "json_schema", "schema": {"type": "object"}}}


HI = {"role": "user", "content": "Hi"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"seed": 1}, "seed"),
    ({"logit_bias": {"1": 1}}, "logit_bias"),
    ({"frequency_penalty": 0.5}, "frequency_penalty"),
    ({"logprobs": True}, "logprobs"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]"),
    ({"messages": [HI, {"role": "system", "content": "Be brief."}]}, "messages[1].role"),
    ({"messages": [{**HI, "name": "ana"}]}, "messages[0].name"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
     "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
     "messages[0].content[0]"),
    ({"model": "claude-haiku-4-5", "reasoning_effort": "low", "max_tokens": 100},
     "reasoning_effort"),
    ({"model": "claude-haiku-4-5", "reasoning_effort": "low", "max_tokens": 9_000,
      "messages": [HI, {"role": "assistant", "tool_calls": [CALL]},
                   {"role": "tool", "tool_call_id": "a", "content": "one"}]},
     "reasoning_effort"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "name"), REFUSED)
def test_what_cannot_be_carried_is_refused_by_name_or_dropped_by_name(
    fields: dict[str, Any], name: str
) -> None:
    with pytest.raises(ApiError) as caught:
        ask("chat", **fields)
    assert (caught.value.status, caught.value.param) == (400, name)
    assert name in ask("chat", LENIENT, **fields).dropped


def test_errors_of_the_provider_are_worded_as_openai_does() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Full."}}'
    found = orjson.loads(BY_SPEECH["chat"].error_body(529, body))["error"]
    assert (found["message"], found["type"]) == ("Full.", "overloaded_error")


def test_a_provider_gets_the_translations_that_it_lacks() -> None:
    assert [one.speech for one in needed(["chat"])] == ["messages", "responses"]
    assert [one.speech for one in needed(["messages"])] == ["chat", "responses"]
    assert list(needed(["chat", "messages", "responses"])) == []
    by_chat = {"chat", "embeddings", "messages", "responses", "count_tokens"}
    assert reached(["chat", "embeddings"]) == by_chat
    assert reached(["embeddings"]) == {"embeddings"}


def test_paths_and_names_of_translations_are_those_of_the_dialects() -> None:
    paths = {dialect.path for dialect in BY_ROUTE.values()}
    for translation in ALL:
        assert {translation.source, translation.goal} <= paths
        assert translation is not None
