"""The shipped configuration and its real local model, asked in other dialects than chat."""

from typing import Any

import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.journeys.gateway_process import ROOT, GatewayProcess

CONFIG = ROOT / "config.toml"
SAID: Any = [{"role": "user", "content": "Say hello in one sentence."}]


def assert_reported(weir: GatewayProcess, request_id: str, tokens_in: int, tokens_out: int) -> None:
    row = weir.ended(request_id)
    assert (row["model"], row["usage_source"]) == ("smollm2", "provider")
    assert (row["input_tokens"], row["all_output_tokens"]) == (tokens_in, tokens_out)
    assert 0 < row["cost_nano"] <= row["reserved_nano"]


def test_messages_reach_the_local_model_in_their_own_dialect(
    weir: GatewayProcess, claude: Anthropic
) -> None:
    raw = claude.messages.with_raw_response.create(model="smollm2", max_tokens=12, messages=SAID)
    usage = raw.parse().usage
    read = usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert_reported(weir, raw.headers["x-weir-request-id"], read, usage.output_tokens)
    with claude.messages.stream(model="smollm2", max_tokens=12, messages=SAID) as stream:
        assert "".join(stream.text_stream)
        message = stream.get_final_message()
        headers = stream.response.headers
    read = message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)
    assert_reported(weir, headers["x-weir-request-id"], read, message.usage.output_tokens)
    assert claude.messages.count_tokens(model="smollm2", messages=SAID).input_tokens == read


def test_texts_are_completed_and_what_the_model_does_not_speak_is_refused(
    weir: GatewayProcess, gpt: OpenAI
) -> None:
    raw = gpt.completions.with_raw_response.create(model="smollm2", prompt="Water", max_tokens=5)
    usage = raw.parse().usage
    assert usage is not None
    request_id = raw.headers["x-weir-request-id"]
    assert_reported(weir, request_id, usage.prompt_tokens, usage.completion_tokens)
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.embeddings.create(model="smollm2", input="Water")
    assert caught.value.code == "dialect_unsupported"
