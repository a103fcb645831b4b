"""The reply of the direct HTTP/1.1 client: what has arrived, and the task that waits for more."""

import asyncio
from typing import Protocol

from gateway.providers.http_client import MAX_READ_BYTES
from gateway.providers.port import UpstreamError, UpstreamFault


class ReplySource(Protocol):
    """The connection, as its reply sees it."""

    def resume_reading(self) -> None:
        """What was unread has been taken."""

    def fail(self, kind: UpstreamFault, message: str) -> None:
        """End the reply with a fault and cut the connection."""


class Http1Reply:
    """A response on its way in (`UpstreamReply`); read by one task at a time."""

    __slots__ = (
        "_fault",
        "_loop",
        "_parts",
        "_source",
        "_waiter",
        "_whole",
        "headers",
        "status",
        "unread_bytes",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, source: ReplySource) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.unread_bytes = 0
        self._loop = loop
        self._source: ReplySource | None = source
        self._parts: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._whole = False
        self._fault: tuple[UpstreamFault, str] | None = None

    async def read_some(self) -> bytes:
        """The next bytes of the body as they arrive, `b""` at its end; raise UpstreamError."""
        while not self._parts:
            if self._whole:
                return b""
            self.raise_fault()
            await self.wait()
        parts = self._parts
        self._parts = []
        self.unread_bytes = 0
        if self._source is not None:
            self._source.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read(self) -> bytes:
        """The (rest of the) body; raise UpstreamError, also for one over `MAX_READ_BYTES`."""
        gathered = []
        size_bytes = 0
        while part := await self.read_some():
            size_bytes += len(part)
            if size_bytes > MAX_READ_BYTES:
                self.close()
                raise UpstreamError(
                    UpstreamFault.BROKEN, f"the response is longer than {MAX_READ_BYTES} bytes"
                )
            gathered.append(part)
        return gathered[0] if len(gathered) == 1 else b"".join(gathered)

    def close(self) -> None:
        """Let go; an unfinished body cuts the connection, so that the provider stops working."""
        self._parts = []
        source = self._source
        if source is not None:
            source.fail(UpstreamFault.BROKEN, "the response was closed before its end")

    async def wait(self) -> None:
        """Until the connection has news. Never called on an ended reply."""
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def raise_fault(self) -> None:
        if self._fault is not None:
            raise UpstreamError(*self._fault)

    @property
    def failed(self) -> bool:
        return self._fault is not None

    def add(self, part: bytes) -> None:
        self._parts.append(part)
        self.unread_bytes += len(part)

    def end(self, fault: tuple[UpstreamFault, str] | None) -> None:
        """No more will come: the body is whole, or `fault` says why it is not."""
        self._source = None
        if fault is None:
            self._whole = True
        else:
            self._fault = fault
        self.wake()
