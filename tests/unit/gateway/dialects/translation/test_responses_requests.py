"""What a chat provider reads of a response's request, and what is refused by name."""

from typing import Any

import orjson
import pytest

from gateway.dialects.translation.custom_input import CustomInput
from gateway.dialects.translation.port import Target
from gateway.dialects.translation.response_items import ItemReader
from gateway.dialects.translation.response_tools import Tool, ToolNames
from gateway.errors import ApiError
from tests.unit.gateway.dialects.test_agents import CODEX
from tests.unit.gateway.dialects.translation.translating import (
    BY_SPEECH,
    LENIENT,
    ask,
    called,
    chunk,
    objects_in,
    sent,
    stream_of,
    written,
)


def test_codex_is_carried_and_what_is_left_out_is_named() -> None:
    asked = ask("responses", **CODEX)
    body = orjson.loads(asked.body)
    calls = [
        {"id": "call_1", "type": "function",
         "function": {"name": "shell", "arguments": '{"command":["ls"]}'}},
        {"id": "call_2", "type": "function",
         "function": {"name": "apply_patch", "arguments": '{"input":"***"}'}},
    ]  # fmt: skip
    assert body["messages"] == [
        {
            "role": "system",
            "content": "You are a coding agent.\n\n<permissions>read-only</permissions>",
        },
        {"role": "user", "content": "Fix the failing test."},
        {"role": "assistant", "content": None, "tool_calls": calls[:1]},
        {"role": "tool", "tool_call_id": "call_1", "content": "README.md"},
        {"role": "assistant", "content": None, "tool_calls": calls[1:]},
        {"role": "tool", "tool_call_id": "call_2", "content": "Done!"},
    ]
    names = [tool["function"]["name"] for tool in body["tools"]]
    assert names == ["shell", "apply_patch", "mcp__f"]
    assert body["tools"][1]["function"]["parameters"]["required"] == ["input"]
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("auto", True)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert set(asked.dropped) == {
        "client_metadata",
        "include",
        "input.reasoning",
        "prompt_cache_key",
        "reasoning.effort",
        "text.verbosity",
    }


def test_text_and_the_calls_after_it_are_one_message() -> None:
    items = [
        {"type": "message", "role": "assistant",
         "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": ""},
        {"type": "function_call_output", "call_id": "a", "output": [
            {"type": "input_text", "text": "1"},
            {"type": "input_image", "image_url": "https://x/y.png", "detail": "high"}]},
        {"type": "function_call_output", "call_id": "b", "output": "2"},
    ]  # fmt: skip
    messages = sent("responses", input=items)["messages"]
    assert [one["role"] for one in messages] == ["assistant", "tool", "tool", "user"]
    assert messages[0]["content"] == "I look."
    assert [call["function"]["arguments"] for call in messages[0]["tool_calls"]] == ["{}", "{}"]
    assert [one["content"] for one in messages[1:3]] == ["1", "2"]
    image = {"url": "https://x/y.png", "detail": "high"}
    assert messages[3]["content"] == [{"type": "image_url", "image_url": image}]


def test_reasoning_goes_back_where_the_provider_wants_it() -> None:
    items = [
        {"role": "user", "content": "Hi"},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
    ]
    asked = ask("responses", Target(reasoning_field="reasoning"), input=items)
    message = orjson.loads(asked.body)["messages"][1]
    assert (message["reasoning"], len(message["tool_calls"])) == ("Hm.", 1)
    assert asked.dropped == ()


def test_steering_fields_have_their_own_names_there() -> None:
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    body = sent(
        "responses",
        Target(limit_field="max_completion_tokens", reasoning_effort=True),
        max_output_tokens=99,
        temperature=0.5,
        text={"format": form},
        reasoning={"effort": "low"},
        service_tier="flex",
    )
    assert (body["max_completion_tokens"], body["temperature"]) == (99, 0.5)
    schema = {name: form[name] for name in ("name", "schema", "strict")}
    assert body["response_format"] == {"type": "json_schema", "json_schema": schema}
    assert (body["reasoning_effort"], body["service_tier"]) == ("low", "flex")


FUNCTIONS = [{"type": "function", "name": name, "parameters": {}} for name in ("f", "g")]


@pytest.mark.parametrize(
    ("choice", "expected", "tools"),
    [
        ("required", "required", ["f", "g"]),
        (
            {"type": "function", "name": "f"},
            {"type": "function", "function": {"name": "f"}},
            ["f", "g"],
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [FUNCTIONS[1]]},
            "required",
            ["g"],
        ),
    ],
)
def test_the_choice_of_a_tool_is_carried(
    choice: object, expected: object, tools: list[str]
) -> None:
    body = sent("responses", tools=FUNCTIONS, tool_choice=choice)
    assert body["tool_choice"] == expected
    assert [tool["function"]["name"] for tool in body["tools"]] == tools


def test_a_grammar_is_told_in_the_description() -> None:
    form = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}
    tool = {"type": "custom", "name": "patch", "description": "Patches.", "format": form}
    function = sent("responses", tools=[tool])["tools"][0]["function"]
    assert "Patches." in function["description"]
    assert "(lark):\nstart: WORD" in function["description"]


def test_a_custom_tool_is_called_by_its_own_name_and_with_its_text() -> None:
    tools = [{"type": "custom", "name": "patch"}]
    asked = ask("responses", tools=tools, stream=True)
    text = '*** "Begin"\n\\ \u6771 \U0001f5fc'
    arguments = orjson.dumps({"input": text}).decode()
    pieces = [chunk(tool_calls=[called(0, "", "patch", "call_1")])]
    pieces += [chunk(tool_calls=[called(0, letter)]) for letter in arguments]
    events = objects_in(written(asked.writer, stream_of(*pieces, chunk("tool_calls"))))
    deltas = [e["delta"] for e in events if e["type"] == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == text
    assert len(deltas) > len(text) / 2
    item = events[-1]["response"]["output"][0]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "patch", text)
    assert item["id"].startswith("ctc_")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input": "a\\u6771\\ud83d\\uddfc\\n\\"b\\""}', 'a\u6771\U0001f5fc\n"b"'),
        ('{ "input" :\n"x"} ', "x"),
        ('{"patch": "x"}', '{"patch": "x"}'),
        ("plain", "plain"),
        ('{"input": 5}', '{"input": 5}'),
        ('{"input": "torn', "torn"),
        ('{"inp', '{"inp'),
        ('{"input": "\\ud83dx"}', "?x"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_the_input_is_found_however_the_arguments_are_cut(
    arguments: str, text: str, size: int
) -> None:
    reader = CustomInput()
    parts = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    assert "".join(map(reader.feed, parts)) + reader.end() == text


def test_a_tool_of_a_namespace_comes_back_with_it() -> None:
    inner = [{"type": "function", "name": "read", "parameters": {}}]
    tools = [{"type": "namespace", "name": "mcp__files__", "description": "D", "tools": inner}]
    asked = ask("responses", tools=tools, stream=True)
    assert orjson.loads(asked.body)["tools"][0]["function"]["name"] == "mcp__files__read"
    call = called(0, "{}", "mcp__files__read", "call_1")
    last = objects_in(
        written(asked.writer, stream_of(chunk(tool_calls=[call]), chunk("tool_calls")))
    )[-1]
    item = last["response"]["output"][0]
    assert (item["name"], item["namespace"]) == ("read", "mcp__files__")


def test_a_tool_that_there_is_not_keeps_the_name_it_was_called_by() -> None:
    names = ToolNames()
    assert names.tool("ghost") == Tool("ghost")
    assert names.function("old", "ns") == "ns__old"
    assert ItemReader(names, Target(), None).messages == []  # type: ignore[arg-type]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"truncation": "auto"}, "truncation"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"include": ["message.output_text.logprobs"]}, "include"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"new_field": 1}, "new_field"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format"),
    ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    ({"tools": [{"type": "function", "name": "f", "defer_loading": True}]},
     "tools[0].defer_loading"),
    ({"tools": FUNCTIONS, "tool_choice": {"type": "web_search"}}, "tool_choice"),
    ({"input": [{"type": "item_reference", "id": "i"}]}, "input[0]"),
    ({"input": [{"type": "compaction"}]}, "input[0]"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
     "input[0].content[0]"),
    ({"input": [{"role": "user", "content": [
        {"type": "input_image", "image_url": "u", "detail": "original"}]}]},
     "input[0].content[0].detail"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "name"), REFUSED)
def test_what_cannot_be_carried_is_refused_by_name_or_dropped_by_name(
    fields: dict[str, Any], name: str
) -> None:
    with pytest.raises(ApiError) as caught:
        ask("responses", **fields)
    assert (caught.value.status, caught.value.param) == (400, name)
    assert name in ask("responses", LENIENT, **fields).dropped


def test_errors_of_the_provider_pass_as_they_are() -> None:
    body = b'{"error":{"message":"No.","type":"x"}}'
    assert BY_SPEECH["responses"].error_body(400, body) == body
