"""The direct client's connections: kept, limited, dropped, and never trusted too far."""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from gateway.providers.http1_client import Http1Client, PoolLimits
from gateway.providers.http_client import Origin, parse_base_url
from gateway.providers.port import UpstreamFault
from tests.contracts.upstreams import eventually, fault_of
from tests.unit.gateway.providers.raw_server import (
    QUICK,
    WHOLE,
    Connection,
    client_of,
    never,
    post,
    raw_server,
    sends,
    sends_and_closes,
)

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def on_loop(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(work)

    return on_loop


def test_a_thousand_calls_in_a_row_use_one_connection(run: Run) -> None:
    async def scenario() -> None:
        async with raw_server(sends(WHOLE)) as server, client_of(server) as client:
            for _ in range(1000):
                assert await (await post(client)).read() == b"hello"
            assert server.accepted == 1

    run(scenario())


def test_two_hundred_calls_at_once_are_all_answered(run: Run) -> None:
    async def scenario() -> None:
        async with raw_server(sends(WHOLE)) as server, client_of(server) as client:

            async def one() -> bytes:
                return await (await post(client)).read()

            assert await asyncio.gather(*(one() for _ in range(200))) == [b"hello"] * 200

    run(scenario())


def test_the_request_is_written_as_http_asks(run: Run) -> None:
    async def scenario() -> None:
        async with raw_server(sends(WHOLE)) as server, client_of(server) as client:
            await (await post(client, b"body", headers=((b"x-a", b"1"),))).read()
            assert server.heads == [
                b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:%d\r\naccept-encoding: identity\r\n"
                b"x-a: 1\r\ncontent-length: 4\r\n\r\n" % server.port
            ]

    run(scenario())


@pytest.mark.parametrize("value", [b"a\r\nevil: 1", b"a\nb", b"a\rb"])
def test_a_header_cannot_break_out_of_its_line(run: Run, value: bytes) -> None:
    async def scenario() -> None:
        async with raw_server(sends(WHOLE)) as server, client_of(server) as client:
            with pytest.raises(ValueError, match="line break"):
                await post(client, headers=((b"x-a", value),))
            assert server.accepted == 0

    run(scenario())


def test_the_connection_used_last_is_used_first(run: Run) -> None:
    async def scenario() -> None:
        async with raw_server(sends(WHOLE)) as server, client_of(server) as client:
            await asyncio.gather(*(post(client) for _ in range(3)))
            used_last = server.by_connection[-1]
            for _ in range(5):
                await (await post(client)).read()
            assert server.accepted == 3
            assert len(set(server.by_connection[3:])) == 1, used_last

    run(scenario())


def test_an_idle_connection_is_closed_after_its_time(run: Run) -> None:
    async def scenario() -> None:
        limits = PoolLimits(max_idle_s=0.05)
        async with raw_server(sends(WHOLE)) as server, client_of(server, limits) as client:
            await (await post(client)).read()
            await eventually(lambda: server.ended == 1, "the idle connection closed")
            await (await post(client)).read()
            assert server.accepted == 2

    run(scenario())


def test_a_server_that_announces_its_patience_is_left_before_it_ends(run: Run) -> None:
    async def scenario() -> None:
        head = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=9\r\nContent-Length: 0\r\n\r\n"
        async with raw_server(sends(head)) as server, client_of(server) as client:
            started = time.monotonic()
            await (await post(client)).read()
            await eventually(lambda: server.ended == 1, "the idle connection closed")
            assert 0.4 < time.monotonic() - started < 1.0

    run(scenario())


def test_a_connection_that_the_server_closed_while_idle_is_not_used(run: Run) -> None:
    async def scenario() -> None:
        async with raw_server(sends_and_closes(WHOLE)) as server, client_of(server) as client:
            for _ in range(20):
                assert await (await post(client)).read() == b"hello"
                await eventually(lambda: server.ended == server.accepted, "the server closed")
                await asyncio.sleep(0)  # the loop hears of it
                await asyncio.sleep(0)

    run(scenario())


def test_a_request_that_was_read_and_died_with_its_connection_is_never_sent_again(run: Run) -> None:
    async def answer(connection: Connection, head: bytes, body: bytes) -> None:
        if len(server_heads) == 1:
            await sends(WHOLE)(connection, head, body)
        else:
            connection.writer.close()

    server_heads: list[bytes] = []

    async def scenario() -> None:
        async with raw_server(answer) as server, client_of(server) as client:
            nonlocal server_heads
            server_heads = server.heads
            await (await post(client)).read()
            assert await fault_of(post(client)) is UpstreamFault.BROKEN
            assert len(server.heads) == 2
            assert server.accepted == 1

    run(scenario())


@pytest.mark.parametrize("surplus", [b"garbage", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"])
@pytest.mark.parametrize("together", [True, False])
def test_bytes_after_a_response_cost_the_connection(
    run: Run, surplus: bytes, together: bool
) -> None:
    was_read = asyncio.Event()

    async def answer(connection: Connection, head: bytes, body: bytes) -> None:
        if together:
            connection.writer.write(WHOLE + surplus)
        else:
            connection.writer.write(WHOLE)
            await was_read.wait()
            connection.writer.write(surplus)

    async def scenario() -> None:
        limits = PoolLimits(max_idle_s=600)
        async with raw_server(answer) as server, client_of(server, limits) as client:
            assert await (await post(client)).read() == b"hello"
            was_read.set()
            await eventually(lambda: server.ended == 1, "the connection was dropped")
            assert await (await post(client)).read() == b"hello"

    run(scenario())


def test_an_overdue_connection_is_not_used_when_the_loop_was_too_busy_to_close_it(
    run: Run,
) -> None:
    async def scenario() -> None:
        limits = PoolLimits(max_idle_s=0.05)
        async with raw_server(sends(WHOLE)) as server, client_of(server, limits) as client:
            await (await post(client)).read()
            time.sleep(0.1)  # the loop stands still, its timers with it
            await (await post(client)).read()
            assert server.accepted == 2

    run(scenario())


def test_no_more_connections_than_allowed_are_opened(run: Run) -> None:
    async def scenario() -> None:
        limits = PoolLimits(max_connections=3)
        async with raw_server(sends(WHOLE)) as server, client_of(server, limits) as client:
            replies = await asyncio.gather(*(post(client) for _ in range(50)))
            assert [await reply.read() for reply in replies] == [b"hello"] * 50
            assert server.accepted == 3

    run(scenario())


def test_a_call_waits_for_a_connection_no_longer_than_for_connecting(run: Run) -> None:
    async def scenario() -> None:
        limits = PoolLimits(max_connections=1, max_waiters=1)
        async with raw_server(never) as server, client_of(server, limits) as client:
            first = asyncio.create_task(post(client))
            await eventually(lambda: len(server.heads) == 1, "the first call was sent")
            hurried = replace(QUICK, connect_s=0.1)
            second = asyncio.create_task(fault_of(post(client, timeouts=hurried)))
            await asyncio.sleep(0)
            assert await fault_of(post(client)) is UpstreamFault.BUSY  # no room to wait
            assert await second is UpstreamFault.BUSY
            third = asyncio.create_task(fault_of(post(client)))  # there is room again
            await eventually(lambda: third.done() or server.accepted == 1, "it waits")
            first.cancel()
            await eventually(lambda: server.accepted == 2, "the third call has its connection")
            await client.aclose()
            assert await third is UpstreamFault.BROKEN

    run(scenario())


def test_a_place_freed_by_a_cancelled_call_serves_the_next_in_line(run: Run) -> None:
    async def answer(connection: Connection, head: bytes, body: bytes) -> None:
        await (never if body == b"hang" else sends(WHOLE))(connection, head, body)

    async def scenario() -> None:
        limits = PoolLimits(max_connections=1)
        async with raw_server(answer) as server, client_of(server, limits) as client:
            hanging = asyncio.create_task(post(client, b"hang"))
            await eventually(lambda: len(server.heads) == 1, "the first call was sent")
            waiting = [asyncio.create_task(post(client)) for _ in range(4)]
            await asyncio.sleep(0.01)
            waiting[0].cancel()
            hanging.cancel()
            replies = await asyncio.gather(*waiting[1:])
            assert [await reply.read() for reply in replies] == [b"hello"] * 3
            assert server.accepted == 2

    run(scenario())


def test_a_refused_connection_is_a_connect_fault(run: Run) -> None:
    async def scenario() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            client = Http1Client(Origin("http", "127.0.0.1", unused.getsockname()[1]))
            assert await fault_of(post(client)) is UpstreamFault.CONNECT

    run(scenario())


def test_an_unknown_host_is_a_connect_fault(run: Run) -> None:
    async def scenario() -> None:
        client = Http1Client(Origin("http", "models.invalid", 80))
        assert await fault_of(post(client)) is UpstreamFault.CONNECT

    run(scenario())


def test_a_closed_client_connects_no_more(run: Run) -> None:
    async def scenario() -> None:
        async with raw_server(never) as server, client_of(server) as client:
            open_call = asyncio.create_task(fault_of(post(client)))
            await eventually(lambda: len(server.heads) == 1, "the call was sent")
            await client.aclose()
            assert await open_call is UpstreamFault.BROKEN
            assert await fault_of(post(client)) is UpstreamFault.CONNECT

    run(scenario())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h/v1/", "http://h"),
        ("https://h:443", "https://h"),
        ("https://h:8443/a/b", "https://h:8443"),
        ("http://[::1]:9/v1", "http://[::1]:9"),
    ],
)
def test_an_origin_names_the_port_only_where_it_must(url: str, shown: str) -> None:
    assert str(parse_base_url(url).origin) == shown


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("ftp://h", "http://"),
        ("http://", "no host"),
        ("http://u:p@h", "api_key_env"),
        ("http://h/v1?x=1", "path"),
        ("http://h/a b", "spaces"),
        ("http://h:99999", "not a URL"),
    ],
)
def test_a_base_url_that_cannot_work_is_refused_with_a_reason(url: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_base_url(url)
