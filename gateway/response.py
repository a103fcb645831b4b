"""The one place that talks to the client: it sends each response whole, or a stream to its end.

ASGI's `send` never says that a client has gone, so a stream is watched: the watcher hears the
disconnect and lets go of the upstream, which wakes the relay.
"""

import asyncio
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    MutableMapping,
)
from typing import Any, TypeVar

from gateway.dialects.openai_style import OPENAI
from gateway.dialects.port import Voice
from gateway.errors import ApiError, body_too_large, body_too_slow
from gateway.providers.port import RawHeaders
from gateway.providers.whole_reply import COUNTED_HEADER, DROPPED_HEADER

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

DRAIN_FACTOR = 8
# Who may read an answer across origins, and what Weir says of it, is not for the provider to say;
# only what a translated request could not carry, and who counted, comes with the answer.
OURS_TO_SAY = (b"x-weir-", b"access-control-")
SAID_ON_THE_WAY = frozenset({DROPPED_HEADER, COUNTED_HEADER})
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
        b"set-cookie",
        b"server",
        b"date",
    }
)


T = TypeVar("T")


class ClientGone(Exception):
    """The client hung up before its request was whole, or before its answer began."""


async def read_body_within(
    scope: Scope, receive: Receive, limit_bytes: int, limit_s: float
) -> bytes:
    """The same as `read_body`; raise ApiError (408) where it has not come in time.

    Nearly every body is here before it is asked for, and a timer costs 8 µs. So the reading is
    begun by hand, and a timer is set only where there is something to wait for.
    """
    reading = read_body(scope, receive, limit_bytes)
    try:
        awaited = reading.send(None)
    except StopIteration as done:
        body: bytes = done.value
        return body
    try:
        async with asyncio.timeout(limit_s):
            return await _Begun(reading, awaited)
    except TimeoutError:
        raise body_too_slow(limit_s) from None


class _Begun:
    """A coroutine that was begun by hand, and what it waits for: awaiting it goes on from there."""

    __slots__ = ("_awaited", "_work")

    def __init__(self, work: Coroutine[Any, Any, bytes], awaited: object) -> None:
        self._work = work
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, bytes]:
        try:
            yield self._awaited
            return (yield from self._work.__await__())
        finally:
            self._work.close()


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """The request's body; raise ApiError (413) above the limit and ClientGone on a hang-up.

    A body that is too large is still read (up to a bound) and thrown away: a client that is writing
    does not read its answer.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit_bytes:
            raise body_too_large(limit_bytes)
        return body
    parts = [body]
    size = len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size <= limit_bytes:
            parts.append(part)
        elif size > limit_bytes * DRAIN_FACTOR:
            break
    if size > limit_bytes:
        raise body_too_large(limit_bytes)
    return b"".join(parts)


def relayed_headers(
    upstream: RawHeaders, own: Iterable[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """The provider's headers that are for the client, then ours."""
    headers = [
        pair
        for pair in upstream
        if pair[0] not in HOP_BY_HOP
        and (not pair[0].startswith(OURS_TO_SAY) or pair[0] in SAID_ON_THE_WAY)
    ]
    headers.extend(own)
    return headers


async def send_whole(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """One response with a known length."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(
    send: Send,
    error: ApiError,
    own: Iterable[tuple[bytes, bytes]] = (),
    voice: Voice = OPENAI,
    request_id: str = "",
) -> None:
    """An error in the shape that the caller's SDK reads."""
    headers = [*voice.error_headers(error, request_id), *own]
    await send_whole(send, error.status, headers, voice.error_body(error, request_id))


class Answer:
    """One response under way: `send`, and whether its head has gone out."""

    __slots__ = ("_request_id", "_send", "_voice", "begun")

    def __init__(self, send: Send, voice: Voice = OPENAI, request_id: str = "") -> None:
        self._send = send
        self._voice = voice
        self._request_id = request_id
        self.begun = False

    async def __call__(self, message: Message) -> None:
        self.begun = True
        await self._send(message)

    async def fail(self, error: ApiError, own: Iterable[tuple[bytes, bytes]]) -> None:
        """Tell the client: as the whole response, or at the end of a stream that had begun."""
        if self.begun:
            await end_stream(self._send, self._voice.error_event(error, self._request_id))
        else:
            await send_error(self._send, error, own, self._voice, self._request_id)


async def start_stream(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def send_part(send: Send, part: bytes) -> None:
    """A piece of a stream; returns when the client's connection takes more."""
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def end_stream(send: Send, tail: bytes) -> None:
    await send({"type": "http.response.body", "body": tail, "more_body": False})


class HangUpWatch:
    """Calls `on_gone` when the client hangs up; leave it before the response ends."""

    __slots__ = ("_on_gone", "_receive", "_task", "gone")

    def __init__(self, receive: Receive, on_gone: Callable[[], object]) -> None:
        self._receive = receive
        self._on_gone = on_gone
        self._task: asyncio.Task[None] | None = None
        self.gone = False

    def __enter__(self) -> "HangUpWatch":
        self._task = asyncio.get_running_loop().create_task(self._watch())
        return self

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
        self.gone = True
        self._on_gone()


async def unless_gone(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """The result of `work`; raise ClientGone, the work cancelled, where the client goes first."""
    task = asyncio.get_running_loop().create_task(work)
    with HangUpWatch(receive, task.cancel) as watch:
        try:
            return await task
        except asyncio.CancelledError:
            if watch.gone:
                raise ClientGone from None
            raise
