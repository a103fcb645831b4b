"""A minimal asyncio HTTP/1.1 client for one origin: a pool of connections and the request head.

It does what a gateway needs and no more (GET and POST, whole request bodies, no redirects, no
cookies, no decompression), because the upstream client is the dearest part of a gateway's request.
"""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.providers.http1_connection import Http1Connection
from gateway.providers.http_client import Origin
from gateway.providers.port import Timeouts, UpstreamError, UpstreamFault, UpstreamReply


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many connections and waiting calls an origin may have, and how long one may lie idle."""

    max_connections: int = 1000
    max_waiters: int = 2000
    max_idle_s: float = 15.0


def client_tls(ca_file: str | None = None) -> ssl.SSLContext:
    """A verifying context for HTTP/1.1; `ca_file` replaces the system's authorities."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(slots=True)
class _Wait:
    """What a call without a connection waits for: its turn in line, or a handshake."""

    in_line: bool = False


class _Pool:
    """The connections of one origin: last in, first out, so that surplus ones age and close.

    `_places` counts connections that are open or being opened. A place that becomes free while
    calls wait passes to the first of them.
    """

    def __init__(self, origin: Origin, limits: PoolLimits, tls: ssl.SSLContext | None) -> None:
        self.max_idle_s = limits.max_idle_s
        self._origin = origin
        self._limits = limits
        self._tls = tls
        self._idle: list[Http1Connection] = []
        self._open: set[Http1Connection] = set()
        self._places = 0
        self._waiters: deque[asyncio.Future[Http1Connection | None]] = deque()
        self.closed = False

    # What the connections call.

    def give_back(self, connection: Http1Connection) -> None:
        if not self._hand_over(connection):
            self._idle.append(connection)

    def forget(self, connection: Http1Connection) -> None:
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def lost(self, connection: Http1Connection) -> None:
        if connection in self._open:
            self._open.remove(connection)
            self.forget(connection)
            self._free_place()

    # What the client calls.

    def take_idle(self) -> Http1Connection | None:
        """An idle connection that is still good, without waiting."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        return None

    async def take(self, wait: _Wait, *, fresh: bool = False) -> Http1Connection:
        """A connection, new or handed over; raise UpstreamError or OSError.

        `wait` tells at any moment what it waits for. With `fresh` none is taken that lay idle.
        """
        if self.closed:
            raise self._closed_error()
        while True:
            connection = None if fresh else self.take_idle()
            if connection is not None:
                return connection
            if self._idle and self._places >= self._limits.max_connections:
                self._idle.pop(0).abort()  # its place comes to the line at once
            if self._places < self._limits.max_connections:
                self._places += 1
                return await self._connect()
            wait.in_line = True
            handed = await self._wait_turn()
            wait.in_line = False
            if handed is None:
                return await self._connect()
            if handed.usable:
                return handed

    def close(self) -> None:
        self.closed = True
        for connection in tuple(self._open):
            connection.fail(UpstreamFault.BROKEN, "the gateway is stopping")
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_exception(self._closed_error())

    def _closed_error(self) -> UpstreamError:
        return UpstreamError(UpstreamFault.CONNECT, f"{self._origin}: the client is closed")

    async def _connect(self) -> Http1Connection:
        """Open a connection in the place that the caller holds; the place is freed on failure."""
        loop = asyncio.get_running_loop()
        connection = None
        try:
            _, connection = await loop.create_connection(
                lambda: Http1Connection(self, loop, self._origin),
                self._origin.host,
                self._origin.port,
                ssl=self._tls,
                server_hostname=self._origin.host if self._tls is not None else None,
            )
        finally:
            if connection is None or connection.is_lost or self.closed:
                self._free_place()
            else:
                self._open.add(connection)
        if connection.is_lost:
            raise ConnectionResetError("closed as soon as it was open")
        if self.closed:
            connection.abort()
            raise self._closed_error()
        return connection

    async def _wait_turn(self) -> Http1Connection | None:
        """Wait for a connection, or (None) for a place to open one in."""
        if len(self._waiters) >= self._limits.max_waiters:
            raise UpstreamError(
                UpstreamFault.BUSY,
                f"{self._origin}: {self._limits.max_connections} connections are busy"
                f" and {self._limits.max_waiters} calls wait already",
            )
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Http1Connection | None] = loop.create_future()
        self._waiters.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # It came in the same instant: pass it on.
                handed = turn.result()
                if handed is None:
                    self._free_place()
                elif handed.usable:
                    self.give_back(handed)
            else:
                with contextlib.suppress(ValueError):
                    self._waiters.remove(turn)
            raise

    def _hand_over(self, connection: Http1Connection | None) -> bool:
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False

    def _free_place(self) -> None:
        if not self._hand_over(None):
            self._places -= 1


class Http1Client:
    """Requests to one origin over kept connections (`HttpClient`)."""

    def __init__(
        self,
        origin: Origin,
        limits: PoolLimits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare, without connecting. `tls` is for https; None means the system's trust."""
        if origin.scheme == "https" and tls is None:
            tls = client_tls()
        self._origin = origin
        self._pool = _Pool(origin, limits or PoolLimits(), tls)
        self._constant_head = (
            b" HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity" % origin.authority.encode()
        )

    def __repr__(self) -> str:
        return f"Http1Client({self._origin})"

    async def request(
        self,
        method: bytes,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        timeouts: Timeouts,
    ) -> UpstreamReply:
        """Send one request and wait for the response's head; raise UpstreamError.

        A request that met a kept connection's end, and of which the server certainly saw nothing,
        is sent once more on a new one. Raise ValueError for a target or header that would break out
        of its line.
        """
        head = self._head(method, target, headers, body)
        total_due = asyncio.get_running_loop().time() + timeouts.total_s
        connection = self._pool.take_idle()
        if connection is None:
            connection = await self._connection(timeouts, total_due)
        try:
            return await connection.exchange(head, body, timeouts, total_due)
        except UpstreamError as error:
            if error.reached_provider or not connection.is_reused:
                raise
        connection = await self._connection(timeouts, total_due, fresh=True)
        return await connection.exchange(head, body, timeouts, total_due)

    async def aclose(self) -> None:
        """Cut every connection; later requests fail with `connect`."""
        self._pool.close()
        await asyncio.sleep(0)  # the cut connections say goodbye to the loop

    async def _connection(
        self, timeouts: Timeouts, total_due: float, *, fresh: bool = False
    ) -> Http1Connection:
        wait = _Wait()
        left_s = total_due - asyncio.get_running_loop().time()
        limit_s = min(timeouts.connect_s, left_s)
        try:
            async with asyncio.timeout(limit_s):
                return await self._pool.take(wait, fresh=fresh)
        except TimeoutError as error:
            if wait.in_line:
                raise UpstreamError(
                    UpstreamFault.BUSY,
                    f"{self._origin}: no connection was free for {limit_s:.3g} s",
                ) from error
            raise UpstreamError(
                UpstreamFault.CONNECT, f"{self._origin}: no connection within {limit_s:.3g} s"
            ) from error
        except OSError as error:  # refused, unreachable, unknown host, TLS
            why = error.strerror or str(error) or type(error).__name__
            raise UpstreamError(
                UpstreamFault.CONNECT, f"{self._origin}: cannot connect: {why}"
            ) from error

    def _head(
        self,
        method: bytes,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
    ) -> bytes:
        lines = [method + b" " + target + self._constant_head]
        lines += [b"%b: %b" % header for header in headers]
        if body or method != b"GET":
            lines.append(b"content-length: %d" % len(body))
        head = b"\r\n".join(lines)
        breaks = len(lines) + 1  # the constant part holds two
        if head.count(b"\r") != breaks or head.count(b"\n") != breaks or b" " in target:
            raise ValueError("a header or the target holds a line break or a space out of place")
        return head + b"\r\n\r\n"
