"""Every provider that speaks chat is asked as agents ask, and metered in their words."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.dialects.index import BY_ROUTE
from gateway.dialects.translation.port import Target
from gateway.providers.port import UpstreamCall, UpstreamFault
from gateway.translated import translated
from tests.contracts.upstreams import (
    PATIENT,
    Opened,
    direct,
    fault_of,
    litellm_anthropic,
    litellm_openai,
    local_model,
    run,
    scripted,
)

Backend = Callable[[Path], AbstractAsyncContextManager[Opened]]
BACKENDS: list[Backend] = [direct, scripted, litellm_openai, litellm_anthropic, local_model]
every_provider = pytest.mark.parametrize("backend", BACKENDS)
every_dialect = pytest.mark.parametrize("speech", ["messages", "responses"])


def call(speech: str, said: str, **fields: Any) -> UpstreamCall:
    """An agent's request: a system text, two tools, a finished call, and what is said."""
    if speech == "messages":
        tools = [{"name": "f", "description": "F", "input_schema": {"type": "object"}}]
        body = {
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [
                {"role": "user", "content": "Look."},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "one"},
                    {"type": "text", "text": said}]},
            ],
            "tools": tools,
            "max_tokens": 40,
        }  # fmt: skip
    else:
        tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
        body = {
            "instructions": "Be brief.",
            "input": [
                {"role": "developer", "content": "Really."},
                {"role": "user", "content": [{"type": "input_text", "text": "Look."}]},
                {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_1", "output": "one"},
                {"role": "user", "content": [{"type": "input_text", "text": said}]},
            ],
            "tools": tools,
            "max_output_tokens": 40,
        }
    return UpstreamCall(f"/{speech}", orjson.dumps({"model": "m", **body, **fields}), (), PATIENT)


@every_provider
@every_dialect
def test_a_stream_is_whole_and_metered(backend: Backend, speech: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            provider = translated(opened.provider, ["chat"], Target())
            meter = BY_ROUTE[f"/v1/{speech}"].meter(1_000, len)
            reply = await provider.open(call(speech, "Say one word.", stream=True))
            assert reply.status == 200
            while part := await reply.read_some():
                meter.feed(part)
        assert (meter.finished, meter.error_seen, meter.pending) == (True, False, b"")
        assert meter.usage is not None
        assert meter.usage.input_tokens > 0
        assert meter.usage.output_tokens > 0
        assert meter.text_bytes > 0 or backend is local_model  # which may end at once

    run(scenario())


@every_provider
@every_dialect
def test_a_whole_answer_has_its_usage(backend: Backend, speech: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            provider = translated(opened.provider, ["chat"], Target())
            reply = await provider.open(call(speech, "Say one word."))
            answer = orjson.loads(await reply.read())
        dialect = BY_ROUTE[f"/v1/{speech}"]
        assert getattr(dialect.usage_in(answer), "output_tokens", 0) > 0
        assert "".join(dialect.texts_in(answer)) or backend is local_model

    run(scenario())


@every_provider
@every_dialect
def test_letting_go_reaches_the_provider(backend: Backend, speech: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            provider = translated(opened.provider, ["chat"], Target())
            limit = {"messages": "max_tokens", "responses": "max_output_tokens"}[speech]
            said = "Write a novel. #weir:runaway,delay_ms=5"
            reply = await provider.open(call(speech, said, stream=True, **{limit: 1_000}))
            await reply.read_some()
            reply.close()
            assert await fault_of(reply.read()) is UpstreamFault.BROKEN

    run(scenario())
