"""A head that does not end, in bytes or in time, ends its connection; any other is served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn

from gateway.http_protocol import MAX_HEAD_BYTES, LimitedProtocol
from gateway.response import Receive, Scope, Send, read_body, send_whole
from tests.unit.gateway.desks import run

REQUEST = b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Hurried(LimitedProtocol):
    head_s = 0.2


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await send_whole(send, 200, [], await read_body(scope, receive, 1_000))


@asynccontextmanager
async def served(protocol: type[LimitedProtocol] = Hurried) -> AsyncIterator[Streams]:
    """A connection to a server."""
    config = uvicorn.Config(echo, http=protocol, lifespan="off", log_config=None, ws="none", port=0)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        server.force_exit = True
        await server.shutdown()


async def status(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        return (await reader.readline())[9:12]


async def whole_answer(reader: asyncio.StreamReader) -> None:
    assert await status(reader) == b"200"
    async with asyncio.timeout(5):
        await reader.readuntil(b"hi")


def test_requests_pass_one_after_the_other_and_idle_time_between_them_counts_nothing() -> None:
    async def work() -> None:
        async with served() as (reader, writer):
            for _ in range(3):
                writer.write(REQUEST)
                await whole_answer(reader)
                await asyncio.sleep(0.3)

    run(work())


def test_a_head_in_pieces_passes() -> None:
    async def work() -> None:
        async with served() as (reader, writer):
            for _ in range(2):
                for start in range(0, len(REQUEST), 9):
                    writer.write(REQUEST[start : start + 9])
                    await asyncio.sleep(0.005)
                await whole_answer(reader)

    run(work())


@pytest.mark.parametrize("line", [b"x: " + b"x" * 4_000 + b"\r\n", b"x" * 4_000])
def test_a_head_without_end_is_a_431(line: bytes) -> None:
    async def work() -> None:
        async with served(LimitedProtocol) as (reader, writer):
            writer.write(b"POST /x HTTP/1.1\r\n" + (b"" if b":" in line else b"x: "))
            for _ in range(MAX_HEAD_BYTES // len(line) + 1):
                writer.write(line)
                await asyncio.sleep(0)
            assert await status(reader) == b"431"

    run(work())


@pytest.mark.parametrize("begun", [b"", b"POST /x HTTP/1.1\r\nhost: h\r\n"])
def test_a_first_head_that_does_not_come_in_time_ends_the_connection(begun: bytes) -> None:
    async def work() -> None:
        async with served() as (reader, writer):
            writer.write(begun)
            async with asyncio.timeout(5):
                assert await reader.read(1) == b""

    run(work())


def test_a_later_head_that_does_not_come_in_time_ends_the_connection() -> None:
    async def work() -> None:
        async with served() as (reader, writer):
            writer.write(REQUEST)
            await whole_answer(reader)
            writer.write(b"POST /x HT")
            async with asyncio.timeout(5):
                assert await reader.read(1) == b""

    run(work())
