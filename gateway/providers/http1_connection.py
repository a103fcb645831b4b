"""One HTTP/1.1 connection: writes requests, parses responses, keeps every time limit.

The loop calls the connection; it parses, buffers a little, and wakes the one task that waits on the
reply. One timer per connection serves every limit: it is set to the nearest deadline, deadlines
that move away cost an attribute, and only when it fires is the true one looked up. A request on a
connection that is already open so sets no timer of its own.
"""

import asyncio
import socket
from collections.abc import Mapping
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.providers.http1_reply import Http1Reply
from gateway.providers.http_client import Origin
from gateway.providers.port import Timeouts, UpstreamFault
from gateway.providers.tcp_state import TcpState

# Unread body bytes above which the server is made to wait.
PAUSE_READING_BYTES = 256 * 1024
# The most that a head, a trailer, or the framing between two pieces of body may take.
MAX_HEAD_BYTES = 64 * 1024
# Bodies up to this size leave together with the head in one write.
ONE_WRITE_BYTES = 128 * 1024
# A timer may fire this much early: loops keep time in milliseconds.
TIMER_SLACK_S = 0.001

_SILENCE: Mapping[UpstreamFault, str] = {
    UpstreamFault.FIRST_BYTE_TIMEOUT: "no response began in time",
    UpstreamFault.IDLE_TIMEOUT: "the response fell silent",
    UpstreamFault.TOTAL_TIMEOUT: "the call took too long",
}


class ConnectionOwner(Protocol):
    """The pool, as a connection sees it."""

    max_idle_s: float

    def give_back(self, connection: "Http1Connection") -> None:
        """The exchange is over and the connection can serve another."""

    def forget(self, connection: "Http1Connection") -> None:
        """The connection must not be given out any more."""

    def lost(self, connection: "Http1Connection") -> None:
        """The connection is gone; its place is free."""


class _SurplusError(Exception):
    """Bytes of another message after the response: the connection cannot be trusted."""


class _TooLongError(Exception):
    """More header bytes than any response needs."""


class Http1Connection(asyncio.Protocol):
    """One connection: idle, or busy with exactly one exchange, or gone."""

    def __init__(
        self, owner: ConnectionOwner, loop: asyncio.AbstractEventLoop, origin: Origin
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._origin = origin
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._reply: Http1Reply | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_due = self._total_due = self._idle_s = self._seen_at = 0.0
        self._idle_due = float("inf")
        self._header_bytes = self._framing_bytes = 0
        self._complete = self._framed = self._keep_alive = False
        self._request_sent = True
        self._reading_paused = self._writing_paused = False
        self._unseen = False
        self.is_lost = False
        self.is_reused = False

    # What the pool asks.

    @property
    def usable(self) -> bool:
        """Whether a request may be sent: open, and not idle for longer than allowed."""
        return not self._transport.is_closing() and self._loop.time() < self._idle_due

    def abort(self) -> None:
        """Cut the connection now; nothing unsent is sent."""
        self._transport.abort()

    async def exchange(
        self, head: bytes, body: bytes, timeouts: Timeouts, total_due: float
    ) -> Http1Reply:
        """Send a request and wait for the response's head; raise UpstreamError.

        It is `connect` where it is certain that the server has seen no byte of the request.
        `total_due` is a time of the loop's clock. A task cancelled here takes the connection along.
        """
        is_open = self._tcp.look()
        reply = self._reply = Http1Reply(self._loop, self)
        self._headers = []
        self._header_bytes = self._framing_bytes = 0
        self._complete = self._framed = False
        self._total_due = total_due
        self._head_due = self._loop.time() + timeouts.first_byte_s
        self._idle_s = timeouts.idle_s
        self._idle_due = float("inf")
        self._arm(min(self._head_due, total_due))
        self._unseen = False
        try:
            if not is_open:
                self.fail(UpstreamFault.CONNECT, "the server had closed the kept connection")
            elif len(body) <= ONE_WRITE_BYTES:
                self._transport.write(head + body)
            else:
                await self._write_in_slices(reply, head, body)
            while reply.status == 0:
                reply.raise_fault()
                await reply.wait()
            return reply
        finally:
            if reply.status == 0:
                reply.close()

    async def _write_in_slices(self, reply: Http1Reply, head: bytes, body: bytes) -> None:
        """Send a large body no faster than the server takes it, until an early answer comes."""
        self._request_sent = False
        self._transport.write(head)
        view = memoryview(body)
        for start in range(0, len(view), ONE_WRITE_BYTES):
            self._transport.write(view[start : start + ONE_WRITE_BYTES])
            while self._writing_paused and reply.status == 0 and not reply.failed:
                await reply.wait()
            if reply.status or reply.failed:
                return  # the connection is not reused: the server would take the rest for a request
        self._request_sent = True

    # What the reply asks.

    def resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
            self._seen_at = self._loop.time()  # the silence meanwhile was ours
            self._arm(self._deadline()[0])

    def fail(self, kind: UpstreamFault, message: str) -> None:
        """End the exchange with a fault and cut the connection."""
        reply = self._reply
        self._reply = None
        self._transport.abort()
        if reply is not None:
            reply.end((kind, f"{self._origin}: {message}"))

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tcp = TcpState(sock)
        self._parser = HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        reply = self._reply
        if reply is None:
            self._drop()  # nobody asked: the next response would be the wrong one
            return
        unread_before = reply.unread_bytes
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self._complete:
                self.fail(UpstreamFault.BROKEN, f"not HTTP/1.1: {error.__context__ or error}")
                return
            self._keep_alive = False  # the response is whole, what follows it is not ours
        if self._complete:
            self._finish(reply)
            return
        if reply.unread_bytes == unread_before:
            self._framing_bytes += len(data)
            if self._framing_bytes > MAX_HEAD_BYTES:
                self.fail(UpstreamFault.BROKEN, "more header bytes than any response needs")
                return
        else:
            self._framing_bytes = 0
            if reply.unread_bytes > PAUSE_READING_BYTES and not self._reading_paused:
                self._reading_paused = True
                self._transport.pause_reading()
        if reply.status:
            self._seen_at = self._loop.time()
            reply.wake()

    def eof_received(self) -> None:
        """The server sends no more. Over TLS `connection_lost` comes after the socket is gone."""
        self._note_what_arrived()

    def connection_lost(self, error: Exception | None) -> None:
        """The end of a body that lasts until the close, or a break.

        A reused connection that ends without one byte of response was most likely closed by the
        server while idle. Where the kernel knows that nothing of the request had arrived, the fault
        is `connect`, and the client sends it again. Otherwise the server may have read it, and a
        POST may cost money: the layer above decides with the whole picture. A reset tells nothing,
        unless it followed a close: only then the error is a broken pipe.
        """
        self.is_lost = True
        if self._timer is not None:
            self._timer.cancel()
        if error is None or isinstance(error, BrokenPipeError):
            self._note_what_arrived()
        self._tcp.let_go()
        reply = self._reply
        self._reply = None
        if reply is not None:
            if reply.status and not self._framed and error is None:
                reply.end(None)
            else:
                how = type(error).__name__ if error is not None else "closed by the server"
                when = "within the response" if reply.status else "before a response began"
                kind = UpstreamFault.CONNECT if self._unseen else UpstreamFault.BROKEN
                reply.end((kind, f"{self._origin}: connection lost {when}: {how}"))
        del self._parser  # it holds this object's methods
        self._owner.lost(self)

    def _note_what_arrived(self) -> None:
        """Note whether the server certainly saw no byte of the request; none of it came back."""
        reply = self._reply
        if reply is not None and not reply.status and not self._framing_bytes:
            nothing = self._tcp.nothing_arrived()
            if nothing is not None:
                self._unseen = nothing

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._reply is not None:
            self._reply.wake()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._complete:
            raise _SurplusError("bytes after the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > MAX_HEAD_BYTES:
            raise _TooLongError("more header bytes than any response needs")
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._framed = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        headers = self._headers
        self._headers = []  # of the final response after an interim one, or trailers
        if status < 200:
            self._framed = False
            return
        reply = self._reply
        if reply is not None:
            reply.headers = headers
            reply.status = status
            self._keep_alive = self._parser.should_keep_alive()
            self._seen_at = self._loop.time()
            self._arm(self._deadline()[0])

    def on_body(self, part: bytes) -> None:
        reply = self._reply
        if reply is not None:
            reply.add(part)

    def on_message_complete(self) -> None:
        reply = self._reply
        if reply is not None and reply.status:  # an interim response ends nothing
            self._complete = True

    # The rest is its own business.

    def _finish(self, reply: Http1Reply) -> None:
        """The response is whole: free the connection for the next request, or close it."""
        self._reply = None
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        if self._keep_alive and self._request_sent and not self._transport.is_closing():
            self.is_reused = True
            self._idle_due = self._loop.time() + self._max_idle_s(reply)
            self._arm(self._idle_due)
            self._owner.give_back(self)
        else:
            self._transport.abort()
        reply.end(None)

    def _max_idle_s(self, reply: Http1Reply) -> float:
        """The pool's limit, or less where the server announces that it closes earlier."""
        for name, value in reply.headers:
            if name == b"keep-alive":
                for item in value.replace(b" ", b"").lower().split(b","):
                    if item.startswith(b"timeout=") and item[8:].isdigit():
                        # Half, at most a second less: leave before the server does.
                        announced_s = int(item[8:])
                        return min(self._owner.max_idle_s, max(announced_s - 1.0, announced_s / 2))
        return self._owner.max_idle_s

    def _drop(self) -> None:
        self._owner.forget(self)
        self._transport.abort()

    def _deadline(self) -> tuple[float, UpstreamFault | None]:
        """When the connection's patience ends, and the fault that is then; None while idle."""
        reply = self._reply
        if reply is None:
            return self._idle_due, None
        phase_due, fault = self._head_due, UpstreamFault.FIRST_BYTE_TIMEOUT
        if self._reading_paused:
            phase_due = float("inf")
        elif reply.status:
            phase_due, fault = self._seen_at + self._idle_s, UpstreamFault.IDLE_TIMEOUT
        if self._total_due <= phase_due:
            return self._total_due, UpstreamFault.TOTAL_TIMEOUT
        return phase_due, fault

    def _arm(self, due: float) -> None:
        """Have the timer fire no later than `due`; earlier does no harm."""
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        due, fault = self._deadline()
        if due - self._loop.time() > TIMER_SLACK_S:
            if due != float("inf"):
                self._arm(due)
        elif fault is None:
            self._drop()
        else:
            self.fail(fault, _SILENCE[fault])
