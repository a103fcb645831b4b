"""A server that sends exactly the bytes a test gives it, and counts what it saw."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.providers.http1_client import Http1Client, PoolLimits
from gateway.providers.http_client import Origin
from gateway.providers.port import Timeouts, UpstreamReply

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
QUICK = Timeouts(connect_s=5, first_byte_s=5, idle_s=5, total_s=10)


@dataclass
class Connection:
    """One accepted connection and its place in the order of arrival."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass
class RawServer:
    """What the server saw. `answer(connection, head, body)` is called for every request."""

    answer: Callable[[Connection, bytes, bytes], Awaitable[None]]
    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    accepted: int = 0
    ended: int = 0
    by_connection: list[int] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = Connection(self.accepted, reader, writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                self.by_connection.append(connection.number)
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = b"" if b"x-keep-body" in head else await reader.readexactly(length)
                await self.answer(connection, head, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended += 1
            writer.close()


@asynccontextmanager
async def raw_server(
    answer: Callable[[Connection, bytes, bytes], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[RawServer]:
    served = RawServer(answer)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0, ssl=tls)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()


def sends(*pieces: bytes) -> Callable[[Connection, bytes, bytes], Awaitable[None]]:
    """An answer of these bytes, each written by itself."""

    async def answer(connection: Connection, head: bytes, body: bytes) -> None:
        for piece in pieces:
            connection.writer.write(piece)
            await connection.writer.drain()

    return answer


def sends_and_closes(*pieces: bytes) -> Callable[[Connection, bytes, bytes], Awaitable[None]]:
    send = sends(*pieces)

    async def answer(connection: Connection, head: bytes, body: bytes) -> None:
        await send(connection, head, body)
        connection.writer.close()

    return answer


async def never(connection: Connection, head: bytes, body: bytes) -> None:
    """No answer: wait for the client to go."""
    await connection.reader.read()


@asynccontextmanager
async def client_of(
    server: RawServer, limits: PoolLimits | None = None
) -> AsyncIterator[Http1Client]:
    client = Http1Client(Origin("http", "127.0.0.1", server.port), limits)
    try:
        yield client
    finally:
        await client.aclose()


async def post(
    client: Http1Client,
    body: bytes = b"{}",
    timeouts: Timeouts = QUICK,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> UpstreamReply:
    return await client.request(b"POST", b"/v1/x", headers, body, timeouts)
