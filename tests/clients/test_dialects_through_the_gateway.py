"""Both vendors' SDKs against a real gateway, in every dialect: answers, tools, errors and money.

The scripted provider counts a word as a token, so what an answer has to cost is known beforehand.
"""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.journeys.gateway_process import (
    SCRIPTED_CONFIG,
    GatewayProcess,
    budget,
)

INPUT_NANO, OUTPUT_NANO = 1_000, 2_000
SAID: Any = [{"role": "user", "content": "one two three"}]
TOOL_SCRIPT = "#weir:tool=get_weather,args=%7B%22city%22%3A%20%22Bonn%22%7D"
CUT_AT = 30
CONFIG = SCRIPTED_CONFIG + budget("key:*", "5") + budget("workflow:demo/spent", "0.000000001")
CONFIG += """\
[providers.talker]
kind = "scripted"
default = "runaway"
[models.talker]
provider = "talker"
price = { input = "1", output = "2" }
context_tokens = 100_000
max_output_tokens = 4_096
[providers.old]
kind = "scripted"
dialects = ["chat"]
translate = false
[models.old]
provider = "old"
price = { input = "1", output = "2" }
context_tokens = 100_000
max_output_tokens = 4_096
"""


def assert_settled(weir: GatewayProcess, sent: list[str], tokens_in: int, tokens_out: int) -> None:
    """The last request is on record with the provider's own count, and costs exactly that."""
    row = weir.ended(sent[-1])
    assert (row["usage_source"], row["ending"]) == ("provider", "completed")
    assert (row["input_tokens"], row["all_output_tokens"]) == (tokens_in, tokens_out)
    assert row["cost_nano"] == INPUT_NANO * tokens_in + OUTPUT_NANO * tokens_out
    assert row["cost_nano"] <= row["reserved_nano"]


# -- answers ------------------------------------------------------------------------------------


def test_a_response_whole_and_streamed(weir: GatewayProcess, gpt: OpenAI, sent: list[str]) -> None:
    whole = gpt.responses.create(model="auto", input="one two three")
    assert (whole.output_text, whole.status) == ("one two three", "completed")
    assert_settled(weir, sent, 3, 3)
    with gpt.responses.stream(model="auto", input="one two three") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds.count("response.output_text.delta") == 3
    assert (final.output_text, final.usage and final.usage.total_tokens) == ("one two three", 6)
    assert_settled(weir, sent, 3, 3)


def test_a_response_that_goes_on_from_another_is_held_and_settled_for_both(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    first = gpt.responses.create(model="auto", input="one two three")
    gpt.responses.create(model="auto", input="four", previous_response_id=first.id)
    assert_settled(weir, sent, 7, 1)
    other, _ = weir.make_key("strangers")
    with pytest.raises(openai.NotFoundError) as caught:
        gpt.with_options(api_key=other).responses.create(
            model="auto", input="x", previous_response_id=first.id
        )
    assert caught.value.code == "previous_response_not_found"


def test_completions_whole_and_streamed(weir: GatewayProcess, gpt: OpenAI, sent: list[str]) -> None:
    whole = gpt.completions.create(model="auto", prompt=["one two", "three"], n=2)
    assert [choice.text for choice in whole.choices] == ["one two", "one two", "three", "three"]
    assert_settled(weir, sent, 3, 6)
    chunks = list(gpt.completions.create(model="auto", prompt="one two", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "one two"
    assert_settled(weir, sent, 2, 2)
    default = gpt.completions.create(model="auto", prompt="#weir:chunks=100")
    assert default.usage is not None
    assert default.usage.completion_tokens == 16


def test_embeddings_in_base64_and_in_numbers(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    coded = gpt.embeddings.create(model="auto", input=["one two", "three"])
    assert_settled(weir, sent, 3, 0)
    plain = gpt.embeddings.create(model="auto", input=["one two", "three"], encoding_format="float")
    assert [one.embedding for one in coded.data] == [one.embedding for one in plain.data]


def test_a_message_whole_and_streamed(
    weir: GatewayProcess, claude: Anthropic, sent: list[str]
) -> None:
    whole = claude.messages.create(model="auto", max_tokens=9, messages=SAID)
    assert [block.text for block in whole.content if block.type == "text"] == ["one two three"]
    assert whole.stop_reason == "end_turn"
    assert_settled(weir, sent, 3, 3)
    with claude.messages.stream(model="auto", max_tokens=9, messages=SAID) as stream:
        assert "".join(stream.text_stream) == "one two three"
        assert stream.get_final_message().usage.output_tokens == 3
    assert_settled(weir, sent, 3, 3)


def test_tokens_are_counted_for_nothing(
    weir: GatewayProcess, claude: Anthropic, sent: list[str]
) -> None:
    assert claude.messages.count_tokens(model="auto", messages=SAID).input_tokens == 3
    row = weir.ended(sent[-1])
    assert (row["route"], row["cost_nano"]) == ("messages.count_tokens", 0)
    assert row["ending"] == "completed"


def test_models_are_listed_for_both(gpt: OpenAI, claude: Anthropic) -> None:
    names = [model.id for model in gpt.models.list()]
    assert [model.id for model in claude.models.list(limit=2)] == names
    assert gpt.models.retrieve("tiny").owned_by == "here"
    assert claude.models.retrieve("tiny").max_tokens == 4_096


def test_tools_are_called_in_both(weir: GatewayProcess, gpt: OpenAI, claude: Anthropic) -> None:
    function: Any = {"type": "function", "name": "get_weather", "parameters": {}, "strict": False}
    tiny = "tiny"
    config: Any = {"model": tiny, "tools": [function]}
    with pytest.raises(openai.BadRequestError, match="tools"):
        gpt.responses.create(input=TOOL_SCRIPT, **config)
    asked = gpt.responses.create(model=tiny, input=TOOL_SCRIPT).output[0]
    assert asked.type == "function_call"
    assert (asked.name, json.loads(asked.arguments)) == ("get_weather", {"city": "Bonn"})
    said: Any = [{"role": "user", "content": TOOL_SCRIPT}]
    with claude.messages.stream(model=tiny, max_tokens=50, messages=said) as stream:
        block = stream.get_final_message().content[0]
    assert block.type == "tool_use"
    assert (block.name, block.input) == ("get_weather", {"city": "Bonn"})


# -- errors -------------------------------------------------------------------------------------

Ask = Callable[[OpenAI, Anthropic, dict[str, Any]], Any]
GPT_ASKS: dict[str, Ask] = {
    "responses": lambda gpt, _, more: gpt.responses.create(
        **{"model": "auto", "input": "one", **more}
    ),
    "completions": lambda gpt, _, more: gpt.completions.create(
        **{"model": "auto", "prompt": "one", **more}
    ),
    "embeddings": lambda gpt, _, more: gpt.embeddings.create(
        **{"model": "auto", "input": "one", **more}
    ),
}
CLAUDE_ASKS: dict[str, Ask] = {
    "messages": lambda _, claude, more: claude.messages.create(
        **{"model": "auto", "max_tokens": 9, "messages": SAID, **more}
    )
}
ASKS = {**GPT_ASKS, **CLAUDE_ASKS}
SPENT: Any = {"x-weir-workflow": "spent"}


def raised(error: Exception) -> tuple[int, str]:
    """Status and stable code, wherever the SDK keeps it."""
    assert isinstance(error, openai.APIStatusError | anthropic.APIStatusError), repr(error)
    body: Any = error.body
    if isinstance(error, openai.APIStatusError):
        return error.status_code, body["code"]
    return error.status_code, body["error"]["details"]["error_code"]


@pytest.mark.parametrize("name", ASKS)
def test_a_spent_budget_is_final_and_asked_for_once(
    gpt: OpenAI, claude: Anthropic, sent: list[str], name: str
) -> None:
    with pytest.raises(
        openai.APIStatusError if name in GPT_ASKS else anthropic.APIStatusError
    ) as e:
        ASKS[name](gpt, claude, {"extra_headers": SPENT})
    assert raised(e.value) == (402, "budget_exceeded")
    assert len(sent) == 1
    if name in CLAUDE_ASKS:
        assert type(e.value).__name__ == "PaymentRequiredError"


@pytest.mark.parametrize("name", ASKS)
def test_each_refusal_is_raised_as_its_class(gpt: OpenAI, claude: Anthropic, name: str) -> None:
    vendor: Any = openai if name in GPT_ASKS else anthropic
    with pytest.raises(vendor.NotFoundError) as unknown:
        ASKS[name](gpt, claude, {"model": "nobody"})
    assert raised(unknown.value) == (404, "model_not_found")
    with pytest.raises(vendor.BadRequestError) as unspoken:
        ASKS[name](gpt, claude, {"model": "old"})
    assert raised(unspoken.value) == (400, "dialect_unsupported")
    assert "tiny (here)" in str(unspoken.value)
    with pytest.raises(vendor.AuthenticationError) as wrong:
        strangers = gpt.with_options(api_key="sk-no"), claude.with_options(api_key="sk-no")
        ASKS[name](*strangers, {})
    assert raised(wrong.value) == (401, "invalid_api_key")


@pytest.mark.parametrize("name", ["responses", "completions", "messages"])
def test_a_stream_is_cut_at_its_money_in_its_own_words(
    weir: GatewayProcess, gpt: OpenAI, claude: Anthropic, sent: list[str], name: str
) -> None:
    limit = {"responses": "max_output_tokens"}.get(name, "max_tokens")
    more: dict[str, Any] = {"model": "talker", limit: CUT_AT, "stream": True}
    vendor: Any = openai if name in GPT_ASKS else anthropic
    seen = []
    with pytest.raises(vendor.APIError) as cut:
        for event in ASKS[name](gpt, claude, more):
            seen.append(event)
    assert "was cut" in str(cut.value)
    row = weir.ended(sent[-1])
    assert (row["ending"], row["usage_source"]) == ("killed", "estimated")
    assert CUT_AT <= len(seen) <= CUT_AT + 8
    assert 0 < row["cost_nano"] <= row["reserved_nano"]
    assert row["all_output_tokens"] == CUT_AT


def test_both_kinds_of_keys_open_every_route(weir: GatewayProcess) -> None:
    for headers in ({"Authorization": f"Bearer {weir.key}"}, {"x-api-key": weir.key}):
        for path, body in (
            ("/v1/responses", {"model": "auto", "input": "x"}),
            ("/v1/messages?beta=true", {"model": "auto", "max_tokens": 5, "messages": SAID}),
        ):
            answer = weir.ask("POST", path, json.dumps(body).encode(), **headers)
            assert answer.status == 200, answer.body


def test_probes_of_agents_are_answered(weir: GatewayProcess) -> None:
    for path in ("/", "/health"):
        assert weir.ask("HEAD", path).status == 200
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    assert weir.ask("GET", "/v1/responses", **upgrade).status == 426
    assert "WebSocket" not in weir.log()
