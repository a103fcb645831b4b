"""OpenAI's and Anthropic's SDKs talk to providers that do not speak their dialect."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic
from anthropic import RateLimitError as AnthropicRateLimit
from openai import OpenAI

from tests.clients.canned_server import JSON, STREAM, Canned, canned_server
from tests.unit.gateway.dialects.captures import capture
from tests.unit.gateway.dialects.translation.test_whole_answers import ANSWER
from tests.unit.gateway.dialects.translation.test_whole_answers import STREAM as CALLS
from tests.unit.gateway.dialects.translation.translating import ask, sent, written

ASKED: Any = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
TOOLS: list[Any] = [
    {"type": "function", "name": name, "parameters": {"type": "object"}} for name in ("f", "g")
]


@pytest.fixture(scope="module")
def canned() -> Iterator[Canned]:
    with canned_server() as server:
        yield server


@pytest.fixture
def anthropic(canned: Canned) -> Iterator[Anthropic]:
    with Anthropic(base_url=canned.base_url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
def openai(canned: Canned) -> Iterator[OpenAI]:
    with OpenAI(base_url=canned.base_url, api_key="k", max_retries=0) as client:
        yield client


def turned(speech: str, stream: bytes, **fields: Any) -> bytes:
    return written(ask(speech, stream=True, **fields).writer, stream)


def test_anthropics_sdk_streams_parallel_calls_of_a_chat_model(
    canned: Canned, anthropic: Anthropic
) -> None:
    canned.say(200, STREAM, turned("messages", CALLS))
    with anthropic.messages.stream(**ASKED) as stream:
        events = [event.type for event in stream]
        message = stream.get_final_message()
    assert events.count("content_block_stop") == 4
    calls = [(one.id, one.name, one.input) for one in message.content if one.type == "tool_use"]
    assert calls == [("call_1", "f", {"x": 1}), ("call_2", "g", {})]
    thinking = message.content[0]
    assert thinking.type == "thinking"
    assert (thinking.thinking, thinking.signature) == ("Hm.", "weir-unsigned")
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (25, 12)
    assert message.usage.cache_read_input_tokens == 5


def test_anthropics_sdk_reads_a_whole_answer_of_a_chat_model(
    canned: Canned, anthropic: Anthropic
) -> None:
    canned.say(200, JSON, json.dumps(ask("messages").writer.whole(ANSWER)).encode())
    message = anthropic.messages.create(**ASKED)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]


def test_anthropics_sdk_raises_for_an_error_inside_a_translated_stream(
    canned: Canned, anthropic: Anthropic
) -> None:
    error = b'data: {"error":{"message":"Full.","code":"rate_limit_exceeded"}}\n\n'
    canned.say(200, STREAM, turned("messages", error))
    with (
        pytest.raises(Exception, match=r"Full\.") as caught,
        anthropic.messages.stream(**ASKED) as s,
    ):
        s.get_final_message()
    assert isinstance(caught.value, AnthropicRateLimit) or "rate_limit" in str(caught.value)


def test_openais_sdk_streams_a_response_of_a_chat_model(canned: Canned, openai: OpenAI) -> None:
    canned.say(200, STREAM, turned("responses", CALLS, tools=TOOLS))
    with openai.responses.stream(model="m", input="Hi", tools=TOOLS) as stream:
        kinds = [event.type for event in stream]
        response = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    calls = [
        (one.call_id, one.name, one.arguments)
        for one in response.output
        if one.type == "function_call"
    ]
    assert calls == [("call_1", "f", '{"x":1}'), ("call_2", "g", "{}")]
    assert response.output_text == "Let me see."
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 5
    assert response.usage.output_tokens_details.reasoning_tokens == 3


def test_openais_sdk_reads_a_whole_response_of_a_chat_model(canned: Canned, openai: OpenAI) -> None:
    canned.say(200, JSON, json.dumps(ask("responses").writer.whole(ANSWER)).encode())
    response = openai.responses.create(model="m", input="Hi")
    assert response.output_text == "Let me see."
    assert response.status == "completed"


def test_openais_sdk_streams_a_custom_tool(canned: Canned, openai: OpenAI) -> None:
    tools: list[Any] = [{"type": "custom", "name": "f"}]
    arguments = CALLS.replace(b'{\\"x\\":', b'{\\"input\\":').replace(b'"1}"', b'"\\"hi\\"}"')
    canned.say(200, STREAM, turned("responses", arguments, tools=tools))
    with openai.responses.stream(model="m", input="Hi", tools=tools) as stream:
        response = stream.get_final_response()
    custom = [one for one in response.output if one.type == "custom_tool_call"]
    assert [(one.name, one.input) for one in custom] == [("f", "hi")]


def test_openais_sdk_raises_for_an_error_inside_a_translated_stream(
    canned: Canned, openai: OpenAI
) -> None:
    canned.say(200, STREAM, turned("responses", capture("chat/error")))
    with (
        pytest.raises(Exception, match=r".+"),
        openai.responses.create(model="m", input="Hi", stream=True) as stream,
    ):
        list(stream)


@pytest.mark.parametrize("name", ["thinking", "parallel_tools", "text"])
def test_openais_sdk_streams_a_message_as_a_chat(canned: Canned, openai: OpenAI, name: str) -> None:
    whole = turned("chat", capture(f"messages/{name}"), stream_options={"include_usage": True})
    canned.say(200, STREAM, whole)
    with openai.chat.completions.stream(
        model="m", messages=ASKED["messages"], stream_options={"include_usage": True}
    ) as stream:
        completion = stream.get_final_completion()
    choice = completion.choices[0]
    if name == "parallel_tools":
        calls = choice.message.tool_calls or []
        assert len(calls) == 2
        assert all(json.loads(call.function.arguments) for call in calls)
        assert choice.finish_reason == "tool_calls"
    else:
        assert choice.message.content
        assert choice.finish_reason == "stop"
    if name == "thinking":
        said = choice.message.model_dump(exclude_none=True)
        said = {one: said[one] for one in ("role", "content", "thinking_blocks")}
        blocks = sent("chat", messages=[*ASKED["messages"], said])["messages"][1]["content"]
        assert [block["type"] for block in blocks] == ["thinking", "redacted_thinking", "text"]
        assert blocks[0]["signature"].startswith("EqQB")
        assert "index" not in blocks[0]
    assert completion.usage is not None
    assert completion.usage.prompt_tokens > 0
