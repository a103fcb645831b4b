"""A provider behind translations: which calls they touch, and what becomes of every ending."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from gateway.dialects.index import BY_ROUTE
from gateway.dialects.translation.port import Target
from gateway.providers.config import OpenAIHttpSection
from gateway.providers.port import Provider, UpstreamCall, UpstreamFault, UpstreamReply
from gateway.providers.script import Script
from gateway.providers.scripted import ScriptedProvider
from gateway.providers.whole_reply import MAX_DROPPED_BYTES, WholeReply, dropped_header
from gateway.response import relayed_headers
from gateway.translated import Translated, bare, target_of, translated
from tests.contracts.upstreams import PATIENT, fault_of, run, started

ASKED: dict[str, dict[str, Any]] = {
    "messages": {"max_tokens": 50},
    "responses": {"max_output_tokens": 50},
}


def call(speech: str, said: str, **fields: Any) -> UpstreamCall:
    message = [{"role": "user", "content": said}]
    body = {"model": "m", "messages" if speech == "messages" else "input": message}
    headers = ((b"x-request-id", b"r-1"), (b"Anthropic-Beta", b"b"), (b"openai-beta", b"b"))
    raw = orjson.dumps({**body, **ASKED[speech], **fields})
    return UpstreamCall(f"/{speech}?beta=true", raw, headers, PATIENT)


class Recorder:
    """Passes calls on, and keeps them (`Provider`)."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.calls: list[UpstreamCall] = []

    @property
    def name(self) -> str:
        return self.provider.name

    @property
    def ready(self) -> bool:
        return self.provider.ready

    async def start(self) -> None:
        await self.provider.start()

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        self.calls.append(call)
        return await self.provider.open(call)

    async def stop(self) -> None:
        await self.provider.stop()


@asynccontextmanager
async def behind(target: Target | None = None) -> AsyncIterator[tuple[Provider, Recorder]]:
    recorder = Recorder(ScriptedProvider("up", Script()))
    async with started(translated(recorder, ["chat"], target or Target())) as provider:
        yield provider, recorder


@pytest.mark.parametrize("speech", ["messages", "responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_metered_as_the_bill_says(speech: str, stream: bool) -> None:
    async def scenario() -> None:
        async with behind() as (provider, recorder):
            reply = await provider.open(
                call(speech, "Hi #weir:chunks=9,cached=1,reasoning=4", stream=stream)
            )
            kind = b"text/event-stream" if stream else b"application/json"
            assert dict(reply.headers)[b"content-type"].startswith(kind)
            answer = await reply.read()
            assert await reply.read_some() == b""
            assert isinstance(recorder.provider, ScriptedProvider)
            bill = recorder.provider.bill[0]
        dialect = BY_ROUTE[f"/v1/{speech}"]
        if stream:
            meter = dialect.meter(1_000, len)
            meter.feed(answer)
            usage, finished = meter.usage, meter.finished
        else:
            found = dialect.usage_in(orjson.loads(answer))
            usage, finished = found if hasattr(found, "fresh") else None, True
        assert finished
        assert usage is not None
        assert (usage.input_tokens, usage.cached) == (bill.prompt_tokens, bill.cached_tokens)
        assert usage.output_tokens == bill.completion_tokens
        assert usage.reasoning == bill.reasoning_tokens == 4

    run(scenario())


def test_headers_of_one_vendor_do_not_go_to_another() -> None:
    async def scenario() -> None:
        async with behind() as (provider, recorder):
            await (await provider.open(call("messages", "Hi"))).read()
            sent = recorder.calls[0]
            assert sent.path == "/chat/completions"
            assert [name for name, _ in sent.headers] == [b"x-request-id"]

    run(scenario())


@pytest.mark.parametrize("speech", ["messages", "responses"])
def test_what_cannot_be_carried_is_refused_before_anything_is_sent(speech: str) -> None:
    async def scenario() -> None:
        async with behind() as (provider, recorder):
            reply = await provider.open(call(speech, "Hi", container="c"))
            assert reply.status == 400
            assert dict(reply.headers)[b"x-should-retry"] == b"false"
            error = orjson.loads(await reply.read())["error"]
            param = error["param"] if speech == "responses" else error["details"]["param"]
            assert param == "container"
            assert recorder.calls == []

    run(scenario())


def test_what_may_be_dropped_is_named_in_a_header_that_clients_see() -> None:
    async def scenario() -> None:
        async with behind(Target(drop_unsupported=True)) as (provider, _):
            reply = await provider.open(call("messages", "Hi", top_k=5, metadata={}))
            headers = dict(relayed_headers(reply.headers, ()))
            assert headers[b"x-weir-dropped"] == b"top_k,metadata"
            assert (await reply.read()).startswith(b"{")

    run(scenario())


def test_an_error_of_the_provider_is_worded_for_the_caller() -> None:
    async def scenario() -> None:
        async with behind() as (provider, _):
            reply = await provider.open(call("messages", "#weir:status=429,retry_after=7"))
            assert (reply.status, dict(reply.headers)[b"retry-after"]) == (429, b"7")
            error = orjson.loads(await reply.read())["error"]
            assert (error["type"], error["details"]) == (
                "rate_limit_error",
                {"error_code": "scripted"},
            )

    run(scenario())


@pytest.mark.parametrize("speech", ["messages", "responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_that_breaks_stays_broken(speech: str, stream: bool) -> None:
    async def scenario() -> None:
        async with behind() as (provider, _):
            reply = await provider.open(
                call(speech, "#weir:chunks=50,break_after=5", stream=stream)
            )
            assert await fault_of(reply.read()) is UpstreamFault.BROKEN

    run(scenario())


def test_letting_go_lets_go_of_the_provider() -> None:
    async def scenario() -> None:
        async with behind() as (provider, recorder):
            reply = await provider.open(call("messages", "#weir:runaway,delay_ms=5", stream=True))
            await reply.read_some()
            reply.close()
            assert await fault_of(reply.read_some()) is UpstreamFault.BROKEN
            assert isinstance(recorder.provider, ScriptedProvider)
            assert recorder.provider.bill[0].served == "cut"

    run(scenario())


class Fixed(Recorder):
    """Answers everything with the same bytes."""

    def __init__(self, body: bytes, kind: bytes) -> None:
        super().__init__(ScriptedProvider("up", Script()))
        self.reply = WholeReply(200, [(b"content-type", kind)], body)

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        return self.reply


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", b"application/json"),
        (b"data: " + b"x" * (9 * 1024 * 1024), b"text/event-stream"),
    ],
)
def test_an_answer_that_cannot_be_read_is_broken(body: bytes, kind: bytes) -> None:
    async def scenario() -> None:
        provider = translated(Fixed(body, kind), ["chat"], Target())
        reply = await provider.open(call("messages", "Hi"))
        assert await fault_of(reply.read()) is UpstreamFault.BROKEN

    run(scenario())


def test_a_provider_that_speaks_everything_stays_as_it_is() -> None:
    provider = ScriptedProvider("up", Script())
    assert translated(provider, ["chat", "messages", "responses"], Target()) is provider
    wrapped = translated(provider, ["messages"], Target())
    assert isinstance(wrapped, Translated)
    assert bare(wrapped) is provider
    assert bare(None) is None
    assert "'/responses'" in repr(wrapped)


def test_the_target_is_what_the_section_says() -> None:
    section = OpenAIHttpSection.model_validate({"kind": "openrouter", "drop_unsupported": True})
    assert target_of(section) == Target("max_tokens", True, "reasoning", True)


def test_names_in_the_header_are_bounded_and_printable() -> None:
    assert dropped_header(()) == []
    name, content = dropped_header(["tools[0]", "a\r\nb c", "\u00e9", "x" * 5_000])[0]
    assert name == b"x-weir-dropped"
    assert content.startswith(b"tools[0],a??b?c,?,xxx")
    assert len(content) == MAX_DROPPED_BYTES


@pytest.mark.parametrize("stream", [False, True])
def test_what_an_answer_says_and_the_caller_cannot_read_is_named(stream: bool) -> None:
    async def scenario() -> None:
        async with behind() as (provider, _):
            reply = await provider.open(call("messages", "Hi", stream=stream))
            body = await reply.read()
            told = dict(reply.headers).get(b"x-weir-dropped", b"")
        if stream:
            assert told == b""
            comment = b": x-weir-dropped: answer.system_fingerprint\n\n"
            assert body.count(comment) == 1
            assert body.index(comment) < body.index(b"event: message_stop")
        else:
            assert told == b"answer.system_fingerprint"

    run(scenario())
