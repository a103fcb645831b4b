"""Counts the tokens of messages for providers that are reached in messages and cannot count.

The count is this gateway's own, with the vocabulary that estimates use, and the answer says so in a
header. A client that asks how full its context is gets an answer instead of an error.
"""

from collections.abc import Awaitable, Callable

import orjson

from gateway.dialects.messages import CountTokens
from gateway.dialects.port import InputParts
from gateway.providers.port import Provider, UpstreamCall, UpstreamReply
from gateway.providers.whole_reply import COUNTED_HEADER, WholeReply

_DIALECT = CountTokens()
_ANSWERED = ((b"content-type", b"application/json"), (COUNTED_HEADER, b"gateway"))


class Counted:
    """A provider whose messages are counted here (`Provider`)."""

    def __init__(
        self, provider: Provider, count_prompt: Callable[[InputParts], Awaitable[int]]
    ) -> None:
        self._provider = provider
        self._count_prompt = count_prompt

    def __repr__(self) -> str:
        return f"Counted({self._provider!r})"

    @property
    def name(self) -> str:
        return self._provider.name

    @property
    def ready(self) -> bool:
        return self._provider.ready

    async def start(self) -> None:
        await self._provider.start()

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        """Count, or send any other call on; raise UpstreamError."""
        path, _, _ = call.path.partition("?")
        if path != _DIALECT.path:
            return await self._provider.open(call)
        tokens = await self._count_prompt(_DIALECT.input_parts(_DIALECT.read(call.body)))
        return WholeReply(200, _ANSWERED, orjson.dumps({"input_tokens": tokens}))

    async def stop(self) -> None:
        await self._provider.stop()
