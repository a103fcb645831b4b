"""Both vendors' SDKs ask a real gateway for models that are reached in another dialect.

The scripted provider counts a word as a token, so what an answer has to cost is known beforehand.
"""

import json
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.clients.test_dialects_through_the_gateway import (
    CUT_AT,
    SAID,
    assert_settled,
)
from tests.journeys.gateway_process import (
    SCRIPTED_CONFIG,
    GatewayProcess,
    budget,
)
from tests.unit.gateway.dialects.test_agents import CLAUDE_CODE, CODEX

TOOL = "#weir:tool=f,args=%7B%22x%22%3A1%7D"


def provider(name: str, dialect: str, script: str = "echo", more: str = "") -> str:
    return f"""\
[providers.{name}]
kind = "scripted"
default = "{script}"
dialects = ["{dialect}"]
{more}
[models.{name}]
provider = "{name}"
price = {{ input = "1", output = "2" }}
context_tokens = 100_000
max_output_tokens = 4_096
capabilities = ["tools", "reasoning"]
"""


CONFIG = (
    SCRIPTED_CONFIG
    + budget("key:*", "5")
    + provider("chatty", "chat")
    + provider("claudish", "messages")
    + provider("lax", "chat", more="drop_unsupported = true")
    + provider("talker", "chat", "runaway")
    + provider("thinker", "chat", "echo,reasoning=4,cached=1")
)


@pytest.mark.parametrize("model", ["chatty", "claudish"])
def test_a_response_costs_what_the_provider_counted(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str], model: str
) -> None:
    whole = gpt.responses.create(model=model, input="one two three")
    assert (whole.output_text, whole.status) == ("one two three", "completed")
    assert_settled(weir, sent, 3, 3)
    with gpt.responses.stream(model=model, input="one two three") as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_response().output_text == "one two three"
    assert kinds.count("response.output_text.delta") == 3
    assert_settled(weir, sent, 3, 3)


def test_a_message_costs_what_the_provider_counted(
    weir: GatewayProcess, claude: Anthropic, sent: list[str]
) -> None:
    whole = claude.messages.create(model="chatty", max_tokens=9, messages=SAID)
    assert [block.text for block in whole.content if block.type == "text"] == ["one two three"]
    assert_settled(weir, sent, 3, 3)
    with claude.messages.stream(model="chatty", max_tokens=9, messages=SAID) as stream:
        assert "".join(stream.text_stream) == "one two three"
        assert stream.get_final_message().usage.input_tokens == 3
    assert_settled(weir, sent, 3, 3)


def test_tokens_are_counted_for_a_provider_that_cannot(
    claude: Anthropic,
) -> None:
    few = claude.messages.count_tokens(model="chatty", messages=SAID).input_tokens
    counts = claude.messages.with_raw_response
    told = counts.count_tokens(model="chatty", messages=SAID, system="dry " * 500)
    many = told.parse()
    assert told.headers["x-weir-counted-by"] == "gateway"
    assert 3 <= few <= 30
    assert 500 <= many.input_tokens - few <= 530


def test_a_chat_with_claude_costs_what_the_provider_counted(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    whole = gpt.chat.completions.create(model="claudish", messages=SAID)
    assert whole.choices[0].message.content == "one two three"
    assert_settled(weir, sent, 3, 3)
    chunks = list(gpt.chat.completions.create(model="claudish", messages=SAID, stream=True))
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == "one two three"
    assert all(chunk.usage is None for chunk in chunks)
    assert_settled(weir, sent, 3, 3)


def test_cached_and_reasoning_tokens_are_on_record(
    weir: GatewayProcess, claude: Anthropic, sent: list[str]
) -> None:
    claude.messages.create(model="thinker", max_tokens=50, messages=SAID)
    row = weir.ended(sent[-1])
    assert (row["input_tokens"], row["all_output_tokens"]) == (3, 7)
    assert (row["cached_tokens"], row["reasoning_tokens"]) == (1, 4)


def test_tools_are_called_in_every_dialect(gpt: OpenAI, claude: Anthropic) -> None:
    function = {"name": "f", "parameters": {"type": "object"}}
    tools: Any = [{"type": "function", **function}]
    with gpt.responses.stream(model="chatty", input=TOOL, tools=tools) as stream:
        call = stream.get_final_response().output[0]
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("f", {"x": 1})
    theirs: Any = [{"name": "f", "input_schema": {"type": "object"}}]
    said: Any = [{"role": "user", "content": TOOL}]
    with claude.messages.stream(
        model="chatty", max_tokens=50, messages=said, tools=theirs
    ) as events:
        message = events.get_final_message()
    assert message.stop_reason == "tool_use"
    assert message.content[0].type == "tool_use"
    assert message.content[0].input == {"x": 1}
    chat_tools: Any = [{"type": "function", "function": function}]
    choice = gpt.chat.completions.create(model="claudish", messages=said, tools=chat_tools)
    calls = choice.choices[0].message.tool_calls or []
    assert [json.loads(one.function.arguments) for one in calls] == [{"x": 1}]


@pytest.mark.parametrize(("path", "body"), [("responses", CODEX), ("messages", CLAUDE_CODE)])
def test_requests_of_coding_agents_are_answered(
    weir: GatewayProcess, path: str, body: dict[str, Any]
) -> None:
    asked = json.dumps({**body, "model": "chatty"}).encode()
    answer = weir.ask("POST", f"/v1/{path}", asked, Authorization=f"Bearer {weir.key}")
    assert answer.status == 200, answer.body
    end = b"response.completed" if path == "responses" else b"message_stop"
    assert end in answer.body
    assert "x-weir-dropped" in answer.headers


def test_what_cannot_be_carried_is_refused_for_nothing(
    weir: GatewayProcess, gpt: OpenAI, claude: Anthropic, sent: list[str]
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.chat.completions.create(model="claudish", messages=SAID, seed=7)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "seed")
    assert weir.ended(sent[-1])["cost_nano"] == 0
    with pytest.raises(anthropic.BadRequestError, match="top_k"):
        claude.messages.create(model="chatty", max_tokens=9, messages=SAID, extra_body={"top_k": 5})
    assert weir.ended(sent[-1])["cost_nano"] == 0
    assert len(sent) == 2


def test_what_may_be_dropped_is_named_to_the_client(claude: Anthropic) -> None:
    raw = claude.messages.with_raw_response.create(
        model="lax", max_tokens=9, messages=SAID, extra_body={"top_k": 5}
    )
    assert raw.headers["x-weir-dropped"] == "top_k,answer.system_fingerprint"


@pytest.mark.parametrize("name", ["responses", "messages"])
def test_a_translated_stream_is_cut_at_its_money(
    weir: GatewayProcess, gpt: OpenAI, claude: Anthropic, sent: list[str], name: str
) -> None:
    seen = []
    vendor: Any = openai if name == "responses" else anthropic
    with pytest.raises(vendor.APIError) as cut:
        stream: Any = (
            gpt.responses.create(model="talker", input="one", max_output_tokens=CUT_AT, stream=True)
            if name == "responses"
            else claude.messages.create(
                model="talker", messages=SAID, max_tokens=CUT_AT, stream=True
            )
        )
        for event in stream:
            seen.append(event)
    assert "was cut" in str(cut.value)
    row = weir.ended(sent[-1])
    assert (row["ending"], row["usage_source"]) == ("killed", "estimated")
    assert row["all_output_tokens"] == CUT_AT
    assert row["input_tokens"] > 0
    assert 0 < row["cost_nano"] <= row["reserved_nano"]


@pytest.mark.parametrize("status", [400, 429])
def test_errors_of_the_provider_are_raised_as_their_class(
    gpt: OpenAI, claude: Anthropic, status: int
) -> None:
    said = f"#weir:status={status}"
    once = {"max_retries": 0}
    kind = "BadRequestError" if status == 400 else "RateLimitError"
    with pytest.raises(getattr(openai, kind)):
        gpt.with_options(**once).responses.create(model="chatty", input=said)  # type: ignore[arg-type]
    with pytest.raises(getattr(anthropic, kind)):
        claude.with_options(**once).messages.create(  # type: ignore[arg-type]
            model="chatty", max_tokens=9, messages=[{"role": "user", "content": said}]
        )
