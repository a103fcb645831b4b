"""What the provider tests share: every kind of provider behind one door, running for one test.

The HTTP ones talk to a real server on this machine. The server answers from the same scripts as the
scripted provider, so a test says what shall happen in the message that it sends.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson
import uvloop
from aiohttp import web

from gateway.providers.aiohttp_client import AiohttpClient
from gateway.providers.build import build_provider
from gateway.providers.config import AnthropicHttpSection, LiteLLMSection, LocalModelSection
from gateway.providers.http1_client import Http1Client
from gateway.providers.http_client import parse_base_url
from gateway.providers.http_provider import HttpProvider, HttpSettings
from gateway.providers.litellm_bridge import LiteLLMProvider
from gateway.providers.local_model import LocalModelProvider
from gateway.providers.port import Provider, Timeouts, UpstreamCall, UpstreamError, UpstreamFault
from gateway.providers.script import Script
from gateway.providers.scripted import BillLine, ScriptedProvider
from gateway.translated import target_of, translated

T = TypeVar("T")
DEADLINE_S = 20.0
PATIENT = Timeouts(connect_s=5, first_byte_s=60, idle_s=60, total_s=120)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run on the event loop that the gateway runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; fail with `what` when it does not in time."""
    due = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < due, f"never happened: {what}"
        await asyncio.sleep(0.005)


def chat(
    message: str, *, stream: bool = False, timeouts: Timeouts = PATIENT, **fields: object
) -> UpstreamCall:
    body = {"model": "m", "messages": [{"role": "user", "content": message}], "stream": stream}
    headers = ((b"x-request-id", b"call-1"),)
    return UpstreamCall("/chat/completions", orjson.dumps(body | fields), headers, timeouts)


@dataclass(frozen=True, slots=True)
class Opened:
    """A started provider, and the bill of whoever answers; the local model writes none."""

    provider: Provider
    bill: Callable[[], list[BillLine]] | None


class ScriptedServer:
    """The scripted provider over HTTP: breaks are cut connections, hang-ups cut the answer."""

    def __init__(self) -> None:
        self.scripted = ScriptedProvider("origin", Script())
        self.requests: list[web.BaseRequest] = []
        self.port = 0

    def bill(self) -> list[BillLine]:
        return list(self.scripted.bill)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        call = UpstreamCall(
            request.path.removeprefix("/v1"),
            await request.content.read(),  # of any size
            request.raw_headers,
            PATIENT,
            request.method.encode(),
        )
        reply = await self.scripted.open(call)
        headers = {name.decode().title(): value.decode() for name, value in reply.headers}
        response = web.StreamResponse(status=reply.status, headers=headers)
        try:
            await response.prepare(request)
            while part := await reply.read_some():
                await response.write(part)
        except UpstreamError:
            if request.transport is not None:
                request.transport.abort()
        finally:
            reply.close()
        return response


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    served = ScriptedServer()
    await served.scripted.start()
    server = web.Server(served.answer, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.port = runner.addresses[0][1]
    try:
        yield served
    finally:
        await runner.cleanup()


@asynccontextmanager
async def direct(_: Path) -> AsyncIterator[Opened]:
    async with scripted_server() as server:
        settings = HttpSettings(
            parse_base_url(f"http://127.0.0.1:{server.port}/v1/"), api_key="sk-secret"
        )
        client = Http1Client(settings.base_url.origin)
        async with started(HttpProvider("direct", settings, client)) as provider:
            yield Opened(provider, server.bill)


@asynccontextmanager
async def proxied(_: Path) -> AsyncIterator[Opened]:
    """The origin exists for the proxy only: the server plays the proxy."""
    async with scripted_server() as server:
        settings = HttpSettings(parse_base_url("http://models.invalid/v1"))
        client = AiohttpClient(settings.base_url.origin, f"http://127.0.0.1:{server.port}")
        async with started(HttpProvider("proxied", settings, client)) as provider:
            yield Opened(provider, server.bill)


@asynccontextmanager
async def anthropic(data_dir: Path) -> AsyncIterator[Opened]:
    """Asked for chat completions: each call and its answer are translated twice on the way."""
    async with scripted_server() as server:
        section = AnthropicHttpSection(
            kind="anthropic_http",
            base_url=f"http://127.0.0.1:{server.port}/v1",
            drop_unsupported=True,
        )
        own = build_provider("anthropic", section, data_dir, {"ANTHROPIC_API_KEY": "sk-ant"})
        async with started(translated(own, section.dialects, target_of(section))) as provider:
            yield Opened(provider, server.bill)


@asynccontextmanager
async def litellm_openai(data_dir: Path) -> AsyncIterator[Opened]:
    """litellm before a server of OpenAI's dialect."""
    async with scripted_server() as server:
        address = f"http://127.0.0.1:{server.port}/v1"
        async with litellm_at("openai", address, data_dir) as provider:
            yield Opened(provider, server.bill)


@asynccontextmanager
async def litellm_anthropic(data_dir: Path) -> AsyncIterator[Opened]:
    """litellm before a server of another dialect."""
    async with scripted_server() as server:
        address = f"http://127.0.0.1:{server.port}"
        async with litellm_at("anthropic", address, data_dir) as provider:
            yield Opened(provider, server.bill)


@asynccontextmanager
async def litellm_at(vendor: str, api_base: str, data_dir: Path) -> AsyncIterator[LiteLLMProvider]:
    section = LiteLLMSection(
        kind="litellm",
        vendor=vendor,
        api_key_env="BRIDGE_KEY",
        api_base=api_base,
        drop_unsupported=True,
    )
    provider = build_provider("bridge", section, data_dir, {"BRIDGE_KEY": "sk-bridge"})
    assert isinstance(provider, LiteLLMProvider)
    async with started(provider):
        assert await provider.wait_ready()
        yield provider


@asynccontextmanager
async def scripted(_: Path) -> AsyncIterator[Opened]:
    async with started(ScriptedProvider("scripted", Script())) as provider:
        yield Opened(provider, lambda: list(provider.bill))


@asynccontextmanager
async def local_model(data_dir: Path) -> AsyncIterator[Opened]:
    section = LocalModelSection(kind="local_model", model="smollm2", context_tokens=2048)
    provider = build_provider("local", section, data_dir, os.environ)
    assert isinstance(provider, LocalModelProvider)
    async with started(provider):
        assert await provider.wait_ready(60), provider.trouble
        yield Opened(provider, None)


P = TypeVar("P", bound=Provider)


@asynccontextmanager
async def started(provider: P) -> AsyncIterator[P]:
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()


async def fault_of(work: Awaitable[object]) -> UpstreamFault:
    """The kind of the UpstreamError that the work must end with."""
    try:
        unexpected = await work
    except UpstreamError as error:
        return error.kind
    raise AssertionError(f"no UpstreamError but {unexpected!r}")
