"""https with an authority of one's own, directly and through a proxy's tunnel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.providers.aiohttp_client import AiohttpClient
from gateway.providers.http1_client import Http1Client, client_tls
from gateway.providers.http_client import HttpClient, Origin
from gateway.providers.port import Timeouts, UpstreamFault
from tests.contracts.upstreams import eventually, fault_of, run
from tests.unit.gateway.providers.certificates import certificate, server_tls
from tests.unit.gateway.providers.raw_server import (
    QUICK,
    WHOLE,
    never,
    raw_server,
    sends,
    sends_and_closes,
)

__all__ = ["certificate"]


async def ask(client: HttpClient, body: bytes = b"{}", timeouts: Timeouts = QUICK) -> bytes:
    reply = await client.request(b"POST", b"/v1/x", ((b"x-a", b"1"),), body, timeouts)
    return await reply.read()


def test_https_keeps_its_connection(certificate: Path) -> None:
    async def scenario() -> None:
        async with raw_server(sends(WHOLE), server_tls(certificate)) as server:
            origin = Origin("https", "localhost", server.port)
            client = Http1Client(origin, tls=client_tls(str(certificate)))
            for _ in range(50):
                assert await ask(client, b"x" * 300_000) == b"hello"
            assert server.accepted == 1
            await client.aclose()
            await eventually(lambda: server.ended == 1, "the connection was cut")

    run(scenario())


def test_letting_go_of_an_https_answer_cuts_the_connection(certificate: Path) -> None:
    async def scenario() -> None:
        begin = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
        async with raw_server(sends(begin), server_tls(certificate)) as server:
            origin = Origin("https", "localhost", server.port)
            client = Http1Client(origin, tls=client_tls(str(certificate)))
            reply = await client.request(b"POST", b"/", (), b"", QUICK)
            assert await reply.read_some() == b"abc"
            reply.close()
            await eventually(lambda: server.ended == 1, "the connection was cut")

    run(scenario())


def test_an_https_answer_that_ends_early_is_broken(certificate: Path) -> None:
    async def scenario() -> None:
        begin = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
        async with raw_server(sends_and_closes(begin), server_tls(certificate)) as server:
            origin = Origin("https", "localhost", server.port)
            client = Http1Client(origin, tls=client_tls(str(certificate)))
            reply = await client.request(b"POST", b"/", (), b"", QUICK)
            assert await fault_of(reply.read()) is UpstreamFault.BROKEN

    run(scenario())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_certificate_that_does_not_fit_is_a_connect_fault(certificate: Path, host: str) -> None:
    """Unknown authority for `localhost`, known authority but wrong name for the address."""

    async def scenario() -> None:
        trusted = str(certificate) if host == "127.0.0.1" else None
        async with raw_server(sends(WHOLE), server_tls(certificate)) as server:
            client = Http1Client(Origin("https", host, server.port), tls=client_tls(trusted))
            assert await fault_of(ask(client)) is UpstreamFault.CONNECT
            assert server.heads == []

    run(scenario())


def test_a_port_that_speaks_no_tls_is_a_connect_fault() -> None:
    async def scenario() -> None:
        async with raw_server(sends(WHOLE)) as server:
            client = Http1Client(Origin("https", "localhost", server.port))
            # The server waits for the end of a head that never comes.
            fault = await fault_of(ask(client, timeouts=replace(QUICK, connect_s=0.2)))
            assert fault is UpstreamFault.CONNECT

    run(scenario())


class TunnelProxy:
    """A proxy that knows CONNECT only and leads every tunnel to one port."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.asked: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        if self.target_port == 0:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(self._copy(reader, inner_writer), self._copy(inner_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while part := await reader.read(65536):
                writer.write(part)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def tunnel_to(port: int) -> AsyncIterator[TunnelProxy]:
    proxy = TunnelProxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()


def test_https_goes_through_the_proxys_tunnel(certificate: Path) -> None:
    async def scenario() -> None:
        async with (
            raw_server(sends(WHOLE), server_tls(certificate)) as server,
            tunnel_to(server.port) as proxy,
        ):
            client = AiohttpClient(
                Origin("https", "localhost", 443),
                f"http://user:pass@127.0.0.1:{proxy.port}",
                tls=client_tls(str(certificate)),
            )
            for _ in range(5):
                assert await ask(client) == b"hello"
            assert len(proxy.asked) == 1
            assert proxy.asked[0].startswith(b"CONNECT localhost:443")
            assert b"Basic dXNlcjpwYXNz" in proxy.asked[0]
            assert b"Proxy-Authorization" not in server.heads[0]
            assert b"accept-encoding: identity" in server.heads[0].lower()
            await client.aclose()

    run(scenario())


def test_a_proxy_that_refuses_is_a_connect_fault() -> None:
    async def scenario() -> None:
        async with tunnel_to(0) as proxy:
            client = AiohttpClient(
                Origin("https", "localhost", 443), f"http://127.0.0.1:{proxy.port}"
            )
            assert await fault_of(ask(client)) is UpstreamFault.CONNECT
            await client.aclose()

    run(scenario())


def test_a_proxy_that_is_not_there_is_a_connect_fault_and_keeps_its_password() -> None:
    async def scenario() -> None:
        client = AiohttpClient(Origin("http", "models.invalid", 80), "http://u:hush@127.0.0.1:1")
        with pytest.raises(Exception, match="ClientProxyConnectionError") as caught:
            await ask(client)
        assert "hush" not in str(caught.value) + repr(client)
        await client.aclose()

    run(scenario())


def test_a_whole_call_through_a_proxy_has_its_time_limit() -> None:
    async def scenario() -> None:
        async with raw_server(never) as server:
            origin = Origin("http", "models.invalid", 80)
            client = AiohttpClient(origin, f"http://127.0.0.1:{server.port}")
            limits = replace(QUICK, total_s=0.2)
            fault = await fault_of(client.request(b"POST", b"/", (), b"{}", limits))
            assert fault is UpstreamFault.TOTAL_TIMEOUT
            await client.aclose()
            assert await fault_of(ask(client)) is UpstreamFault.CONNECT

    run(scenario())
