"""A provider that is asked in a dialect it does not speak.

`Translated` stands before any provider and turns requests and answers of one dialect, whole and
streamed; all others pass untouched. What a request says and the provider's dialect cannot carry is
answered with 400, or left out and named in the header `x-weir-dropped`. What an answer says and the
caller's dialect cannot is named there as well, or in a stream by a comment before its end.
"""

import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import orjson

from gateway.dialects.events import DONE, data_of, object_in
from gateway.dialects.translation.chat_pieces import InterleavedCalls
from gateway.dialects.translation.index import needed
from gateway.dialects.translation.port import Asked, Target, Translation
from gateway.errors import ApiError
from gateway.meter import MAX_EVENT_BYTES, EventSplitter
from gateway.providers.before import Before
from gateway.providers.config import ProviderSection
from gateway.providers.port import (
    Provider,
    RawHeaders,
    UpstreamCall,
    UpstreamError,
    UpstreamFault,
    UpstreamReply,
)
from gateway.providers.whole_reply import (
    DROPPED_HEADER,
    WholeReply,
    dropped_comment,
    dropped_header,
    rest_of,
)

_JSON = (b"content-type", b"application/json")
_EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
# Of the body as the provider sent it, and what is written anew.
_NOT_PASSED = frozenset(
    {b"content-encoding", b"content-length", b"content-type", b"etag", DROPPED_HEADER}
)
# What one vendor's clients say to their own API.
_VENDOR_PREFIXES = (b"anthropic-", b"openai-")


class _TranslatedReply:
    """An answer in the caller's words (`UpstreamReply`); closing it closes the provider's."""

    def __init__(self, reply: UpstreamReply, translation: Translation, asked: Asked) -> None:
        self._reply = reply
        self._translation = translation
        self._asked = asked
        self._splitter = EventSplitter()
        self._is_stream = reply.status < 300 and _is_event_stream(reply.headers)
        self._ended = False

    @property
    def status(self) -> int:
        return self._reply.status

    @property
    def headers(self) -> RawHeaders:
        """The provider's; those of a whole answer that was read say what was left out of it."""
        theirs = self._reply.headers
        kept = [pair for pair in theirs if pair[0] not in _NOT_PASSED]
        kept.append(_EVENT_STREAM if self._is_stream else _JSON)
        # Another translation may stand behind this one; one header tells of both.
        dropped = [
            told.decode("ascii", "replace") for name, told in theirs if name == DROPPED_HEADER
        ]
        dropped += self._asked.dropped
        if not self._is_stream:
            dropped += self._asked.writer.omissions.names
        return [*kept, *dropped_header(dropped)]

    async def read_some(self) -> bytes:
        """The next events, or the whole answer; `b""` at its end; raise UpstreamError."""
        if self._ended:
            return b""
        if not self._is_stream:
            body = await self._reply.read()
            self._ended = True
            return self._whole(body)
        while part := await self._reply.read_some():
            if out := self._events(part):
                return out
        self._ended = True
        last, writer = self._events(b"\n\n"), self._asked.writer
        return last + dropped_comment(writer.omissions.names) + writer.end()

    async def read(self) -> bytes:
        """The (rest of the) answer; raise UpstreamError."""
        return await rest_of(self)

    def close(self) -> None:
        """Let go of the provider's answer."""
        self._reply.close()

    def _whole(self, body: bytes) -> bytes:
        if self._reply.status >= 300:
            return self._translation.error_body(self._reply.status, body)
        answer = object_in(body)
        if answer is None:
            raise self._broken("the answer is no JSON object")
        try:
            return orjson.dumps(self._asked.writer.whole(answer))
        except InterleavedCalls as error:
            raise self._broken(str(error)) from error

    def _events(self, part: bytes) -> bytes:
        out = []
        for event in self._splitter.feed(part):
            data = data_of(event)
            if data is None and event.startswith(b":"):
                out.append(event)  # a sign of life while the model thinks, or our own word
            body = None if data is None or data == DONE else object_in(data)
            if body is not None:
                try:
                    out.append(self._asked.writer.event(body))
                except InterleavedCalls as error:
                    raise self._broken(str(error)) from error
        if self._splitter.size > MAX_EVENT_BYTES:
            raise self._broken(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        return b"".join(out)

    def _broken(self, why: str) -> UpstreamError:
        self._reply.close()
        return UpstreamError(UpstreamFault.BROKEN, f"{self._translation.goal}: {why}")


class Translated(Before):
    """A provider behind a translation of one dialect (`Provider`)."""

    def __init__(
        self,
        provider: Provider,
        translation: Translation,
        target: Target,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(provider)
        self._translation = translation
        self._target = target
        self._now_s = now_s

    def __repr__(self) -> str:
        return f"Translated({self.provider!r}, {self._translation.source!r})"

    def open(self, call: UpstreamCall) -> Coroutine[Any, Any, UpstreamReply]:
        """Send the call, in other words where it needs them; raise UpstreamError."""
        path, _, _ = call.path.partition("?")
        if path != self._translation.source:
            return self.provider.open(call)
        return self._open_translated(call)

    async def _open_translated(self, call: UpstreamCall) -> UpstreamReply:
        try:
            asked = self._translation.ask(call.body, self._target, int(self._now_s()))
        except ApiError as error:
            headers = [*error.headers(), (b"x-should-retry", b"false")]
            return WholeReply(error.status, headers, self._translation.refusal_body(error))
        passed = [pair for pair in call.headers if not pair[0].lower().startswith(_VENDOR_PREFIXES)]
        reply = await self.provider.open(
            UpstreamCall(asked.path, asked.body, tuple(passed), call.timeouts)
        )
        return _TranslatedReply(reply, self._translation, asked)


def translated(provider: Provider, spoken: Iterable[str], target: Target) -> Provider:
    """The provider behind every translation that it needs; `spoken` is what it speaks itself."""
    for translation in needed(spoken):
        provider = Translated(provider, translation, target)
    return provider


def bare(provider: Provider | None) -> Provider | None:
    """The provider itself, without what stands before it."""
    while isinstance(provider, Before):
        provider = provider.provider
    return provider


def target_of(section: ProviderSection) -> Target:
    """What a provider's section says of its own dialect."""
    return Target(
        section.output_limit_field,
        section.reasoning_effort,
        section.reasoning_field,
        section.drop_unsupported,
    )


def _is_event_stream(headers: RawHeaders) -> bool:
    return any(
        name == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in headers
    )
