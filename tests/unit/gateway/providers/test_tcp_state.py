"""What `tcp_state` tells the direct client: a request is sent again only where nobody saw it."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pytest
import uvloop

from gateway.providers.http1_client import Http1Client, PoolLimits, client_tls
from gateway.providers.http_client import Origin
from gateway.providers.port import Timeouts, UpstreamFault
from gateway.providers.tcp_state import TcpState
from tests.contracts.upstreams import fault_of
from tests.unit.gateway.providers.certificates import certificate, server_tls
from tests.unit.gateway.providers.raw_server import QUICK, WHOLE

Close = Callable[[socket.socket], None]
Loops = Callable[[], asyncio.AbstractEventLoop]
__all__ = ["certificate"]
LOOPS = pytest.mark.parametrize(
    "loops", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


def close(connection: socket.socket) -> None:
    """As servers close what lay idle; over TLS they say so first."""
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(0)
        with contextlib.suppress(ssl.SSLWantReadError):
            connection.unwrap()
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Server:
    """Answers in threads, so that a test can close its end while the client's loop stands still."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls = tls
        self.port = self._listener.getsockname()[1]
        self._idle: SimpleQueue[socket.socket] = SimpleQueue()
        self.answered = 0
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = self._listener.accept()
                Thread(target=self._answer, args=(taken,), daemon=True).start()

    def _answer(self, taken: socket.socket) -> None:
        """One request a connection; then it lies idle."""
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            taken = self._tls.wrap_socket(taken, server_side=True)
        text = b""
        while not text.endswith(b"\r\n\r\n{}"):
            text += taken.recv(65_536)
        self.answered += 1
        taken.sendall(WHOLE)
        self._idle.put(taken)

    def idle(self) -> socket.socket:
        """The connection that has lain idle for longest; it is not told again."""
        return self._idle.get(timeout=10)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(tls)
    try:
        yield server
    finally:
        server.close()


class Crossing:
    """Time limits that are read between the look at the connection and the write to it.

    Then `act` is called, once: so what the server does crosses with the request, every time.
    """

    connect_s = first_byte_s = 5.0
    total_s = 10.0

    def __init__(self, act: Callable[[], None]) -> None:
        self._acts = [act]

    @property
    def idle_s(self) -> float:
        while self._acts:
            self._acts.pop()()
        return 5.0


async def ask(client: Http1Client, timeouts: Any = QUICK) -> bytes:
    reply = await client.request(b"POST", b"/v1/x", (), b"{}", timeouts)
    return await reply.read()


@LOOPS
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_close_that_crosses_with_a_request_is_answered_by_one_more_on_a_new_connection(
    loops: Loops, certificate: Path, secure: bool
) -> None:
    async def scenario(server: Server) -> None:
        scheme, tls = ("https", client_tls(str(certificate))) if secure else ("http", None)
        client = Http1Client(Origin(scheme, "localhost", server.port), tls=tls)
        for number in range(50):
            assert await ask(client) == b"hello"
            closing = Crossing(lambda: close(server.idle()))
            assert await ask(client, closing) == b"hello"
            assert server.answered == 2 * number + 2
            close(server.idle())
        await client.aclose()

    server_side = server_tls(certificate) if secure else None
    with serving(server_side) as server, asyncio.Runner(loop_factory=loops) as runner:
        runner.run(scenario(server))


@LOOPS
def test_a_request_that_met_a_reset_is_never_sent_again(loops: Loops) -> None:
    """A server may have read it and reset the connection before its kernel acknowledged it."""

    async def scenario(server: Server) -> None:
        client = Http1Client(Origin("http", "localhost", server.port))
        for number in range(50):
            assert await ask(client) == b"hello"
            resetting = Crossing(lambda: reset(server.idle()))
            assert await fault_of(ask(client, resetting)) is UpstreamFault.BROKEN
            assert server.answered == number + 1
        await client.aclose()

    with serving() as server, asyncio.Runner(loop_factory=loops) as runner:
        runner.run(scenario(server))


@LOOPS
def test_a_request_that_the_kernel_of_the_server_took_in_is_never_sent_again(loops: Loops) -> None:
    """The server closes without having read it: it might have, so nobody may try once more."""

    async def scenario(server: Server) -> None:
        client = Http1Client(Origin("http", "localhost", server.port))
        for number in range(50):
            assert await ask(client) == b"hello"
            kept = server.idle()
            asked = asyncio.create_task(fault_of(ask(client)))
            while not _has_arrived(kept):
                await asyncio.sleep(0)
            close(kept)
            assert await asked is UpstreamFault.BROKEN
            assert server.answered == number + 1
        await client.aclose()

    with serving() as server, asyncio.Runner(loop_factory=loops) as runner:
        runner.run(scenario(server))


def _has_arrived(connection: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    return False


def test_where_every_place_is_taken_the_oldest_idle_connection_makes_room() -> None:
    async def scenario(server: Server) -> None:
        client = Http1Client(Origin("http", "localhost", server.port), PoolLimits(3))
        await asyncio.gather(*(ask(client) for _ in range(3)))
        kept = [server.idle() for _ in range(3)]

        def close_all() -> None:
            for connection in kept:
                close(connection)

        assert await ask(client, Crossing(close_all)) == b"hello"
        assert server.answered == 4
        await client.aclose()

    with serving() as server, asyncio.Runner() as runner:
        runner.run(scenario(server))


def test_a_second_close_without_a_look_at_the_request_is_a_connect_fault() -> None:
    async def scenario(server: Server) -> None:
        client = Http1Client(Origin("http", "localhost", server.port))
        assert await ask(client) == b"hello"

        def gone() -> None:
            close(server.idle())
            server.close()

        assert await fault_of(ask(client, Crossing(gone))) is UpstreamFault.CONNECT
        await client.aclose()

    with serving() as server, asyncio.Runner() as runner:
        runner.run(scenario(server))


def test_the_state_of_a_connection_is_told_as_the_kernel_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        state = TcpState(near)
        assert state.look()
        assert state.nothing_arrived() is True
        near.sendall(b"x")
        assert far.recv(1) == b"x"
        assert state.nothing_arrived() is False
        assert state.look()
        far.close()
        assert not state.look()
        near.close()
        other = socket.socket()  # takes the number that became free
        assert state.nothing_arrived() is None
        state.let_go()
        assert other.fileno() >= 0
        assert state.nothing_arrived() is None
        assert state.look()
        other.close()


def test_nothing_is_claimed_of_what_is_no_tcp_connection() -> None:
    near, far = socket.socketpair()
    with near, far:
        for state in (TcpState(near), TcpState(None)):
            far.close()
            assert state.look()
            assert state.nothing_arrived() is None


def test_the_time_limits_of_the_crossing_are_those_of_a_call() -> None:
    assert set(Timeouts.__slots__) <= set(dir(Crossing(lambda: None)))
