"""Counts the tokens of messages for providers that are reached in messages and cannot count.

The count is this gateway's own, with the vocabulary that estimates use, and the answer says so in a
header. A client that asks how full its context is gets an answer instead of an error.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import orjson

from gateway.dialects.messages import CountTokens
from gateway.dialects.port import InputParts
from gateway.providers.before import Before
from gateway.providers.port import Provider, UpstreamCall, UpstreamReply
from gateway.providers.whole_reply import COUNTED_HEADER, WholeReply

_DIALECT = CountTokens()
_ANSWERED = ((b"content-type", b"application/json"), (COUNTED_HEADER, b"gateway"))


class Counted(Before):
    """A provider whose messages are counted here (`Provider`)."""

    def __init__(
        self, provider: Provider, count_prompt: Callable[[InputParts], Awaitable[int]]
    ) -> None:
        super().__init__(provider)
        self._count_prompt = count_prompt

    def __repr__(self) -> str:
        return f"Counted({self.provider!r})"

    def open(self, call: UpstreamCall) -> Coroutine[Any, Any, UpstreamReply]:
        """Count, or send any other call on; raise UpstreamError."""
        path, _, _ = call.path.partition("?")
        return self._count(call) if path == _DIALECT.path else self.provider.open(call)

    async def _count(self, call: UpstreamCall) -> UpstreamReply:
        tokens = await self._count_prompt(_DIALECT.input_parts(_DIALECT.read(call.body)))
        return WholeReply(200, _ANSWERED, orjson.dumps({"input_tokens": tokens}))
