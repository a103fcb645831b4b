"""What the direct client makes of the bytes of a response, in whatever pieces they come."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.http1_client import PoolLimits
from gateway.providers.http1_connection import (
    MAX_HEAD_BYTES,
    PAUSE_READING_BYTES,
    Http1Connection,
)
from gateway.providers.http1_reply import Http1Reply
from gateway.providers.http_client import Origin
from gateway.providers.port import UpstreamError, UpstreamFault
from tests.contracts.upstreams import eventually, fault_of, run
from tests.unit.gateway.providers.raw_server import (
    QUICK,
    Connection,
    client_of,
    never,
    post,
    raw_server,
    sends,
    sends_and_closes,
)

REQUEST_HEAD = b"POST /x HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Id: 7\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nX-Id: 7\r\n\r\n"


class Owner:
    """Takes note of what becomes of a connection."""

    max_idle_s = 60.0

    def __init__(self) -> None:
        self.given_back = 0

    def give_back(self, connection: Http1Connection) -> None:
        self.given_back += 1

    def forget(self, connection: Http1Connection) -> None:
        pass

    def lost(self, connection: Http1Connection) -> None:
        pass


def chunked(parts: Iterable[bytes]) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return CHUNKED + framed + b"0\r\nx-trailer: 1\r\n\r\n"


async def received(pieces: Iterable[bytes]) -> tuple[Http1Reply, bytes, int]:
    """Reply, body, and times given back, for exactly these pieces over a real connection."""
    async with raw_server(never) as server:
        loop = asyncio.get_running_loop()
        owner = Owner()
        origin = Origin("http", "127.0.0.1", server.port)
        _, connection = await loop.create_connection(
            lambda: Http1Connection(owner, loop, origin), origin.host, origin.port
        )
        exchange = asyncio.create_task(
            connection.exchange(REQUEST_HEAD, b"", QUICK, loop.time() + 5)
        )
        await asyncio.sleep(0)
        for piece in pieces:
            connection.data_received(piece)
        reply = await exchange
        try:
            return reply, await reply.read(), owner.given_back
        finally:
            connection.abort()


def cut(text: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({place % len(text) for place in places}), len(text)]
    return [text[a:b] for a, b in pairwise(edges) if a < b]


@given(
    parts=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    places=st.lists(st.integers(0, 500), max_size=12),
)
def test_a_chunked_body_is_whole_wherever_the_packets_are_cut(
    parts: list[bytes], places: list[int]
) -> None:
    reply, body, given_back = run(received(cut(chunked(parts), places)))
    assert (reply.status, body, given_back) == (200, b"".join(parts), 1)
    assert list(reply.headers) == [(b"transfer-encoding", b"chunked"), (b"x-id", b"7")]


def test_a_response_is_whole_when_it_comes_byte_by_byte() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    text = early + chunked([b"one", b"two"])
    reply, body, given_back = run(received([bytes([byte]) for byte in text]))
    assert (reply.status, body, given_back) == (200, b"onetwo", 1)
    assert (b"link", b"</x>") not in reply.headers


@pytest.mark.parametrize(
    "interim",
    [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Processing\r\nContent-Length: 0\r\n\r\n"],
)
def test_interim_responses_are_skipped(interim: bytes) -> None:
    reply, body, given_back = run(received([interim + interim, SIZED + b"0123456789"]))
    assert (reply.status, body, given_back) == (200, b"0123456789", 1)


def test_a_response_without_a_body_frees_the_connection_at_once() -> None:
    reply, body, given_back = run(received([b"HTTP/1.1 204 No Content\r\n\r\n"]))
    assert (reply.status, body, given_back) == (204, b"", 1)


def test_a_server_that_will_close_gets_no_second_request() -> None:
    text = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    reply, body, given_back = run(received([text]))
    assert (reply.status, body, given_back) == (200, b"ok", 0)


def test_a_compressed_body_is_passed_as_it_is() -> None:
    text = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"
    reply, body, _ = run(received([text]))
    assert body == b"\x1f\x8b"
    assert (b"content-encoding", b"gzip") in reply.headers


@pytest.mark.parametrize(
    "text",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        CHUNKED + b"zz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: %b\r\n\r\n" % (b"y" * MAX_HEAD_BYTES),
        b"HTTP/1.1 200 OK\r\n" + b"X: yyyyyyyyyyyy\r\n" * 5000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (2 * MAX_HEAD_BYTES),
        CHUNKED + b"0\r\n" + b"X: yyyyyyyyyyyy\r\n" * 5000 + b"\r\n",
    ],
    ids=lambda text: text[:60].decode(),
)
@pytest.mark.parametrize("piece_bytes", [1000, 1_000_000])
def test_what_is_not_http_is_broken(text: bytes, piece_bytes: int) -> None:
    pieces = [text[at : at + piece_bytes] for at in range(0, len(text), piece_bytes)]
    with pytest.raises(UpstreamError) as caught:
        run(received(pieces))
    assert caught.value.kind is UpstreamFault.BROKEN


@pytest.mark.parametrize(
    "text",
    [SIZED + b"01234", CHUNKED + b"5\r\n01", CHUNKED + b"5\r\n01234\r\n", SIZED],
    ids=["sized", "within a chunk", "between chunks", "no body"],
)
def test_a_body_that_ends_early_is_broken_after_what_arrived(text: bytes) -> None:
    async def scenario() -> None:
        async with raw_server(sends_and_closes(text)) as server, client_of(server) as client:
            reply = await post(client)
            assert reply.status == 200
            assert await fault_of(reply.read()) is UpstreamFault.BROKEN
            assert await fault_of(reply.read_some()) is UpstreamFault.BROKEN

    run(scenario())


def test_a_head_that_ends_early_is_broken() -> None:
    async def scenario() -> None:
        answer = sends_and_closes(b"HTTP/1.1 200 OK\r\nX-")
        async with raw_server(answer) as server, client_of(server) as client:
            assert await fault_of(post(client)) is UpstreamFault.BROKEN

    run(scenario())


def test_a_body_without_a_length_lasts_until_the_close() -> None:
    async def scenario() -> None:
        answer = sends_and_closes(UNTIL_CLOSE, b"one", b"two")
        async with raw_server(answer) as server, client_of(server) as client:
            for _ in range(2):
                assert await (await post(client)).read() == b"onetwo"
            assert server.accepted == 2

    run(scenario())


def test_a_body_until_the_close_may_follow_an_interim_response_with_a_length() -> None:
    async def scenario() -> None:
        interim = b"HTTP/1.1 102 Processing\r\nContent-Length: 0\r\n\r\n"
        answer = sends_and_closes(interim, UNTIL_CLOSE, b"one")
        async with raw_server(answer) as server, client_of(server) as client:
            assert await (await post(client)).read() == b"one"

    run(scenario())


def test_the_silence_of_a_server_that_was_made_to_wait_counts_from_the_next_read() -> None:
    read_on = asyncio.Event()
    first_bytes = PAUSE_READING_BYTES + 50_000  # two reads, and the second one pauses

    async def answer(connection: Connection, head: bytes, body: bytes) -> None:
        length = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (first_bytes + 1)
        connection.writer.write(length + b"x" * first_bytes)
        await read_on.wait()
        await asyncio.sleep(0.1)
        connection.writer.write(b"y")

    async def scenario() -> None:
        async with raw_server(answer) as server, client_of(server) as client:
            reply = await post(client, timeouts=replace(QUICK, idle_s=0.3))
            assert isinstance(reply, Http1Reply)
            await eventually(lambda: reply.unread_bytes > PAUSE_READING_BYTES, "reading paused")
            await asyncio.sleep(0.4)
            read_on.set()
            assert len(await reply.read()) == first_bytes + 1

    run(scenario())


def test_a_server_that_is_not_read_from_is_made_to_wait() -> None:
    size_bytes = 64 * 1024 * 1024
    sent_bytes = 0

    async def answer(connection: Connection, head: bytes, body: bytes) -> None:
        nonlocal sent_bytes
        connection.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size_bytes)
        for _ in range(size_bytes // 65536):
            connection.writer.write(b"x" * 65536)
            await connection.writer.drain()
            sent_bytes += 65536

    async def scenario() -> None:
        async with raw_server(answer) as server, client_of(server) as client:
            reply = await post(client, timeouts=replace(QUICK, idle_s=0.2, total_s=60))
            assert isinstance(reply, Http1Reply)
            await eventually(lambda: reply.unread_bytes > PAUSE_READING_BYTES, "reading paused")
            await asyncio.sleep(0.5)  # longer than idle_s: silence of our making is no fault
            assert reply.unread_bytes < 2 * PAUSE_READING_BYTES + 65536
            assert sent_bytes < size_bytes // 2
            read_bytes = 0
            while part := await reply.read_some():
                read_bytes += len(part)
            assert read_bytes == size_bytes
            await (await post(client)).read_some()
            assert server.accepted == 1

    run(scenario())


def test_a_large_body_is_sent_whole_at_the_pace_of_the_server() -> None:
    seen = 0

    async def answer(connection: Connection, head: bytes, body: bytes) -> None:
        nonlocal seen
        seen = len(body)
        await sends(SIZED + b"0123456789")(connection, head, body)

    async def scenario() -> None:
        async with raw_server(answer) as server, client_of(server) as client:
            for _ in range(2):
                assert await (await post(client, b"x" * 9_000_000)).read() == b"0123456789"
                assert seen == 9_000_000
            assert server.accepted == 1

    run(scenario())


def test_an_answer_that_comes_before_the_body_was_sent_is_read_and_the_connection_cut() -> None:
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"

    async def answer(connection: Connection, head: bytes, body: bytes) -> None:
        connection.writer.write(refusal)
        await connection.writer.drain()
        await never(connection, head, body)

    async def scenario() -> None:
        limits = PoolLimits(max_idle_s=600)
        async with raw_server(answer) as server, client_of(server, limits) as client:
            reply = await post(client, b"x" * 40_000_000, headers=((b"x-keep-body", b"1"),))
            assert reply.status == 413
            assert await reply.read() == b"big"
            await eventually(lambda: server.ended == 1, "the connection was cut")

    run(scenario())


def test_a_head_that_drips_is_still_held_to_the_first_byte_limit() -> None:
    async def answer(connection: Connection, head: bytes, body: bytes) -> None:
        connection.writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not connection.reader.at_eof():
            connection.writer.write(b"y")
            await asyncio.sleep(0.01)

    async def scenario() -> None:
        async with raw_server(answer) as server, client_of(server) as client:
            fault = await fault_of(post(client, timeouts=replace(QUICK, first_byte_s=0.2)))
            assert fault is UpstreamFault.FIRST_BYTE_TIMEOUT

    run(scenario())


def test_limits_hold_on_a_reused_connection_whose_timer_was_set_for_longer() -> None:
    async def answer(connection: Connection, head: bytes, body: bytes) -> None:
        await (sends(SIZED + b"0123456789") if body == b"quick" else never)(connection, head, body)

    async def scenario() -> None:
        async with raw_server(answer) as server, client_of(server) as client:
            await (await post(client, b"quick", replace(QUICK, first_byte_s=300))).read()
            async with asyncio.timeout(2):
                fault = await fault_of(post(client, timeouts=replace(QUICK, first_byte_s=0.1)))
            assert fault is UpstreamFault.FIRST_BYTE_TIMEOUT
            assert server.accepted == 1

    run(scenario())
