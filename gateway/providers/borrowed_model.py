"""A local model that another process runs: asked where it is, and then called directly.

The workers of one host share the models of their parent. A child that was restarted has another
address, so a call that finds nobody asks once more; nothing was billed by then.
"""

import asyncio
import contextlib
from urllib.parse import quote

import orjson

from gateway.providers.http1_client import Http1Client, PoolLimits
from gateway.providers.http_client import HttpClient, parse_base_url
from gateway.providers.http_provider import HttpProvider, HttpSettings
from gateway.providers.port import (
    Timeouts,
    UpstreamCall,
    UpstreamError,
    UpstreamFault,
    UpstreamReply,
)

MODELS_PATH = "/internal/models/"
INTERNAL_KEY = b"x-weir-internal"
ASKING = Timeouts(connect_s=2.0, first_byte_s=15.0, idle_s=5.0, total_s=20.0)
AGAIN_S = 1.0


class BorrowedModel:
    """Serves calls from a model of the process behind `lender` (`Provider`)."""

    def __init__(self, name: str, lender: HttpClient, internal_key: str) -> None:
        self._name = name
        self._lender = lender
        self._internal_key = internal_key
        # llama.cpp closes idle connections after 5 s.
        self._limits = PoolLimits(max_connections=256, max_idle_s=4.0)
        self._asking = asyncio.Lock()
        self._upstream: HttpProvider | None = None
        self._finding: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"BorrowedModel({self._name!r})"

    @property
    def name(self) -> str:
        return self._name

    @property
    def ready(self) -> bool:
        """Whether it is known where the model answers."""
        return self._upstream is not None

    async def start(self) -> None:
        """Find the model in the background."""
        self._finding = asyncio.create_task(self._find(), name=f"model-{self._name}")

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        """Send the call, after a short wait for the model if need be; raise UpstreamError."""
        known = self._upstream
        upstream = known or await self._found(None)
        try:
            return await upstream.open(call)
        except UpstreamError as error:
            if known is None or error.kind is not UpstreamFault.CONNECT:
                raise
        return await (await self._found(known)).open(call)

    async def stop(self) -> None:
        """Hang up; the model stays with its owner."""
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.gather(self._finding, return_exceptions=True)
        await self._forget()

    async def _find(self) -> None:
        while self._upstream is None:
            with contextlib.suppress(UpstreamError):
                await self._found(None)
                return
            await asyncio.sleep(AGAIN_S)

    async def _found(self, stale: HttpProvider | None) -> HttpProvider:
        """Where the model is now, if not at `stale`; raise UpstreamError `connect`."""
        async with self._asking:
            if self._upstream is None or self._upstream is stale:
                await self._forget()
                self._upstream = await self._ask()
            return self._upstream

    async def _ask(self) -> HttpProvider:
        target = (MODELS_PATH + quote(self._name, safe="")).encode()
        headers = [(INTERNAL_KEY, self._internal_key.encode())]
        try:
            reply = await self._lender.request(b"GET", target, headers, b"", ASKING)
            answer = orjson.loads(await reply.read())
        except (UpstreamError, ValueError) as error:
            raise UpstreamError(UpstreamFault.CONNECT, f"{self._name}: {error}") from error
        if reply.status != 200:
            why = answer.get("reason", "it is not lent")
            raise UpstreamError(
                UpstreamFault.CONNECT, f"{self._name}: the local model is not ready: {why}"
            )
        base_url = parse_base_url(answer["base_url"])
        settings = HttpSettings(base_url, api_key=answer["api_key"])
        client = Http1Client(base_url.origin, self._limits)
        return HttpProvider(self._name, settings, client)

    async def _forget(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            await upstream.stop()
