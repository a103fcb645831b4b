"""The least a Python gateway can do: forward the bytes, count nothing, keep nothing.

The bench compares the gateway with `asgi_aiohttp`, the same HTTP stack without the work.
`asgi_hello` (no upstream at all) and `asgi_raw` (a minimal HTTP/1.1 client) show how much of
the time is the server's and the client's.

    UPSTREAM=http://127.0.0.1:9000 uvicorn --app-dir bench passthrough:asgi_aiohttp
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httptools

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:9000")
URL = UPSTREAM + "/v1/chat/completions"
HOST = urlsplit(UPSTREAM).hostname or "127.0.0.1"
PORT = urlsplit(UPSTREAM).port or 80
HEADERS = {"content-type": "application/json", "authorization": "Bearer sk-x"}
BODY = b'{"id":"x","object":"chat.completion","choices":[{"message":{"content":"%s"}}]}' % (
    b"x" * 480
)

Answer = bytes | AsyncIterator[bytes]
App = Callable[[Any, Any, Any], Awaitable[None]]


async def read_body(receive: Any) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def start(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": list(headers)}


def asgi(forward: Callable[[bytes, bool], Awaitable[Answer]]) -> App:
    """Make an ASGI app of `forward(body, stream)`, which gives bytes, or an iterator of them."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await lifespan(receive, send)
            return
        body = await read_body(receive)
        answer = await forward(body, b'"stream":true' in body)
        if isinstance(answer, bytes):
            length = (b"content-length", b"%d" % len(answer))
            await send(start((b"content-type", b"application/json"), length))
            await send({"type": "http.response.body", "body": answer})
            return
        await send(start((b"content-type", b"text/event-stream")))
        async for part in answer:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


@asgi
async def asgi_hello(body: bytes, stream: bool) -> Answer:
    return BODY


sessions: list[aiohttp.ClientSession] = []


@asgi
async def asgi_aiohttp(body: bytes, stream: bool) -> Answer:
    if not sessions:
        connector = aiohttp.TCPConnector(limit=0)
        sessions.append(aiohttp.ClientSession(connector=connector, auto_decompress=False))
    response = await sessions[0].post(URL, data=body, headers=HEADERS)
    return response.content.iter_any() if stream else await response.read()


REQUEST_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\n"
    b"authorization: Bearer sk-x\r\ncontent-length: %%d\r\n\r\n"
) % HOST.encode()


class Upstream(asyncio.Protocol):
    """One keep-alive connection that carries one request at a time."""

    def __init__(self) -> None:
        self.alive = True
        self.done = False
        self.parts: list[bytes] = []
        self.waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        self.wake()

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)
        if self.parts or self.done:
            self.wake()

    def on_body(self, part: bytes) -> None:
        self.parts.append(part)

    def on_message_complete(self) -> None:
        self.done = True

    def request(self, body: bytes) -> None:
        self.parts, self.done = [], False
        self.parser = httptools.HttpResponseParser(self)
        self.transport.write(REQUEST_HEAD % len(body) + body)

    async def more(self) -> bytes:
        """Give the body bytes that came since the last call; none at the end."""
        while not self.parts and not self.done and self.alive:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        parts, self.parts = self.parts, []
        return b"".join(parts)


idle: list[Upstream] = []


async def connection() -> Upstream:
    while idle:
        upstream = idle.pop()
        if upstream.alive:
            return upstream
    return (await asyncio.get_running_loop().create_connection(Upstream, HOST, PORT))[1]


async def relay(upstream: Upstream) -> AsyncIterator[bytes]:
    while part := await upstream.more():
        yield part
    idle.append(upstream)


@asgi
async def asgi_raw(body: bytes, stream: bool) -> Answer:
    upstream = await connection()
    upstream.request(body)
    if stream:
        return relay(upstream)
    return b"".join([part async for part in relay(upstream)])
