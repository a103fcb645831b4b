"""What goes through litellm, what never does, and what its errors become."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from budgets.usage import usage_from_anthropic, usage_from_openai
from gateway.dialects.chat import ChatMeter
from gateway.providers.litellm_bridge import LiteLLMProvider, LiteLLMSettings, load_litellm
from gateway.providers.litellm_contents import Losses, RequestFault
from gateway.providers.litellm_errors import error_body, fault_kind, told_by
from gateway.providers.litellm_request import arguments_of
from gateway.providers.port import UpstreamCall, UpstreamFault
from tests.clients.canned_server import JSON, STREAM, Canned, canned_server
from tests.contracts.upstreams import PATIENT, chat, fault_of, run, started
from tests.unit.gateway.dialects.captures import FINDINGS, capture


@pytest.fixture
def canned() -> Iterator[Canned]:
    with canned_server() as server:
        yield server


def bridge(vendor: str, api_base: str | None, **keys: Any) -> LiteLLMProvider:
    return LiteLLMProvider("b", LiteLLMSettings(vendor, "sk-secret", api_base, **keys))


def answered(
    provider: LiteLLMProvider, call: UpstreamCall
) -> tuple[int, bytes, dict[bytes, bytes]]:
    """Status, body and headers of one call."""

    async def scenario() -> tuple[int, bytes, dict[bytes, bytes]]:
        async with started(provider):
            assert await provider.wait_ready()
            reply = await provider.open(call)
            return reply.status, await reply.read(), dict(reply.headers)

    return run(scenario())


GEMINI = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"text": "Hello."}]},
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 12,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 5,
        "cachedContentTokenCount": 4,
        "totalTokenCount": 20,
    },
    "modelVersion": "gemini-x",
    "responseId": "r-1",
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_of_another_dialect_is_answered_in_ours(canned: Canned, stream: bool) -> None:
    whole = orjson.dumps(GEMINI)
    canned.say(200, STREAM if stream else JSON, b"data: " + whole + b"\n\n" if stream else whole)
    status, body, _ = answered(bridge("gemini", canned.base_url), chat("Hi", stream=stream))
    assert status == 200
    if stream:
        assert body.endswith(b"data: [DONE]\n\n")
        chunks = [orjson.loads(one[6:]) for one in body.split(b"\n\n")[:-2]]
        usage = chunks[-1]["usage"]
        texts = [choice["delta"].get("content") for c in chunks for choice in c["choices"]]
        assert "".join(filter(None, texts)) == "Hello."
    else:
        answer = orjson.loads(body)
        usage = answer["usage"]
        assert answer["choices"][0]["message"]["content"] == "Hello."
        assert answer["choices"][0]["finish_reason"] == "stop"
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (12, 8)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 4
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 5
    assert b"sk-secret" not in canned.asked[0][1]
    assert len(canned.asked) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_cache_writes_keep_their_class(canned: Canned, stream: bool) -> None:
    """As litellm counts them for Claude at Anthropic, Bedrock and Vertex."""
    usage = {
        "input_tokens": 21,
        "cache_creation_input_tokens": 1_111,
        "cache_read_input_tokens": 188_086,
        "cache_creation": {"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 111},
        "output_tokens": 393,
    }
    text = {"type": "text", "text": "Noted."}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude"}
    whole = {**message, "content": [text], "stop_reason": "end_turn", "usage": usage}
    if stream:
        canned.say(200, STREAM, capture("messages/cache"))
    else:
        canned.say(200, JSON, orjson.dumps(whole))
    _, body, _ = answered(bridge("anthropic", canned.base_url), chat("Hi", stream=stream))
    if stream:
        meter = ChatMeter(1_000, len)
        meter.feed(body)
        assert meter.usage == FINDINGS["messages/cache"].usage
    else:
        assert usage_from_openai(orjson.loads(body)["usage"]) == usage_from_anthropic(usage)


def completion(**changes: Any) -> bytes:
    message = {"role": "assistant", "content": "Hello."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    return orjson.dumps({**head, "choices": [choice], **changes})


def test_usage_that_nobody_reported_is_not_made_up(canned: Canned) -> None:
    canned.say(200, JSON, completion())
    status, body, _ = answered(bridge("openai", canned.base_url), chat("Hi"))
    assert (status, orjson.loads(body).get("usage")) == (200, None)


def test_usage_that_nobody_streamed_is_not_made_up(canned: Canned) -> None:
    piece = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    said = [{"index": 0, "delta": {"content": "Hello."}, "finish_reason": None}]
    ended: list[dict[str, Any]] = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    events = [
        b"data: " + orjson.dumps({**piece, "choices": one}) + b"\n\n" for one in (said, ended)
    ]
    canned.say(200, STREAM, *events, b"data: [DONE]\n\n")
    _, body, _ = answered(bridge("openai", canned.base_url), chat("Hi", stream=True))
    assert b"Hello." in body
    assert b'"usage"' not in body


def test_a_stream_without_its_end_is_broken(canned: Canned) -> None:
    piece = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    said = [{"index": 0, "delta": {"content": "Hello."}, "finish_reason": None}]
    canned.say(200, STREAM, b"data: " + orjson.dumps({**piece, "choices": said}) + b"\n\n")

    async def scenario() -> None:
        async with started(bridge("openai", canned.base_url)) as provider:
            assert await provider.wait_ready()
            reply = await provider.open(chat("Hi", stream=True))
            assert await fault_of(reply.read()) is UpstreamFault.BROKEN

    run(scenario())


@pytest.mark.parametrize("status", [429, 500, 503])
def test_nothing_is_tried_twice(canned: Canned, status: int) -> None:
    canned.say(status, JSON, error_body("Full of sk-secret.", "server_error"))
    found, body, _ = answered(bridge("openai", canned.base_url), chat("Hi"))
    assert (found, len(canned.asked)) == (status, 1)
    assert "Full of ***." in orjson.loads(body)["error"]["message"]


def test_no_connection_says_that_nothing_was_sent() -> None:
    async def scenario() -> None:
        for vendor in ("openai", "gemini", "anthropic"):
            async with started(bridge(vendor, "http://127.0.0.1:1")) as provider:
                assert await provider.wait_ready()
                assert await fault_of(provider.open(chat("Hi"))) is UpstreamFault.CONNECT

    run(scenario())


@pytest.mark.parametrize(
    "field", ["api_base", "api_key", "base_url", "mock_response", "fallbacks", "extra_headers"]
)
def test_a_client_cannot_reach_the_settings_of_litellm(canned: Canned, field: str) -> None:
    canned.say(200, JSON, completion())
    call = chat("Hi", **{field: "http://elsewhere.invalid"})
    status, body, headers = answered(bridge("openai", canned.base_url), call)
    assert (status, orjson.loads(body)["error"]["param"]) == (400, field)
    assert headers[b"x-should-retry"] == b"false"
    assert canned.asked == []
    status, _, headers = answered(bridge("openai", canned.base_url, drop_unsupported=True), call)
    assert (status, headers[b"x-weir-dropped"]) == (200, field.encode())
    assert "elsewhere" not in canned.asked[0][1].decode()


@pytest.mark.parametrize("kind", ["function", "mcp"])
def test_tools_reach_the_provider_and_nobody_else(canned: Canned, kind: str) -> None:
    canned.say(200, JSON, completion())
    tool = {"type": kind, "function": {"name": "f", "parameters": {"type": "object"}}}
    tool |= {"server_url": "litellm_proxy", "require_approval": "never"} if kind == "mcp" else {}
    status, _, _ = answered(bridge("openai", canned.base_url), chat("Hi", tools=[tool]))
    body = orjson.loads(canned.asked[0][1])
    assert (status, len(canned.asked), body["tools"]) == (200, 1, [tool])
    assert set(body) == {"messages", "model", "tools"}


def test_what_a_model_does_not_take_is_refused_by_name(canned: Canned) -> None:
    call = chat("Hi", logit_bias={"1": 1})
    status, body, _ = answered(bridge("gemini", canned.base_url), call)
    assert (status, orjson.loads(body)["error"]["param"]) == (400, "logit_bias")


def test_a_provider_is_ready_only_when_litellm_is_loaded() -> None:
    may_load = threading.Event()

    def load() -> Any:
        may_load.wait(20)
        return SimpleNamespace()

    async def scenario() -> None:
        async with started(LiteLLMProvider("b", LiteLLMSettings("openai"), load)) as provider:
            assert not provider.ready
            assert await fault_of(provider.open(chat("Hi"))) is UpstreamFault.CONNECT
            may_load.set()
            assert await provider.wait_ready()
        assert not provider.ready

    run(scenario())


def test_a_library_that_is_missing_leaves_the_provider_unready(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def load() -> Any:
        raise ImportError("no litellm")

    async def scenario() -> None:
        async with started(LiteLLMProvider("b", LiteLLMSettings("openai"), load)) as provider:
            assert not await provider.wait_ready()

    run(scenario())
    assert "no litellm" in caplog.text


def test_everything_but_translation_is_off() -> None:
    litellm = load_litellm()
    assert (litellm.num_retries, litellm.cache, litellm.drop_params) == (0, None, False)
    assert litellm.disable_token_counter
    for name in ("callbacks", "success_callback", "failure_callback"):
        assert getattr(litellm, name) == []


def test_other_paths_are_not_found(canned: Canned) -> None:
    call = UpstreamCall("/embeddings", b"{}", (), PATIENT)
    assert answered(bridge("openai", canned.base_url), call)[0] == 404


@pytest.mark.parametrize("raw", [b"[]", b"{", b'{"model": 1}', b'{"model": "m"}'])
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    with pytest.raises(RequestFault):
        arguments_of(raw, lambda model: None, Losses(may_drop=True))


def test_the_key_is_in_no_repr() -> None:
    provider = bridge("openai", None)
    assert "sk-secret" not in repr(provider)
    assert "sk-secret" not in repr(provider._settings)


def test_an_error_that_nobody_can_place_is_no_response() -> None:
    class APIConnectionError(Exception):
        status_code = 500

    assert told_by(APIConnectionError("KeyError")) is None
    assert fault_kind(APIConnectionError("KeyError")) is UpstreamFault.BROKEN
    assert told_by(ValueError("x")) is None


def test_the_status_of_the_provider_stands_before_that_of_litellm() -> None:
    class VendorError(Exception):
        status_code = 503

    class InternalServerError(Exception):
        status_code = 500

    error = InternalServerError("Full.")
    error.__context__ = VendorError('{"error": {"message": "Full.", "status": "UNAVAILABLE"}}')
    told = told_by(error)
    assert told is not None
    assert (told.status, told.message, told.kind) == (503, "Full.", "UNAVAILABLE")
