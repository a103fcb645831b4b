"""The same small client over aiohttp, for networks where a proxy stands before the provider.

aiohttp is imported when the first request is made: a gateway without a proxy never pays for it.
"""

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gateway.providers.http_client import MAX_READ_BYTES, Origin
from gateway.providers.port import Timeouts, UpstreamError, UpstreamFault, UpstreamReply

if TYPE_CHECKING:
    import aiohttp

READ_BUFFER_BYTES = 128 * 1024


class AiohttpReply:
    """A response read through aiohttp (`UpstreamReply`)."""

    def __init__(
        self, response: "aiohttp.ClientResponse", where: str, idle_s: float, total_due: float
    ) -> None:
        self._response = response
        self._where = where
        self._idle_s = idle_s
        self._total_due = total_due
        self._closed = False
        self._headers = tuple((name.lower(), value) for name, value in response.raw_headers)

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._headers

    async def read_some(self) -> bytes:
        """The next bytes of the body as they arrive, `b""` at its end; raise UpstreamError."""
        import aiohttp  # noqa: PLC0415

        if self._closed:
            raise UpstreamError(UpstreamFault.BROKEN, f"{self._where}: closed before its end")
        idle_due = asyncio.get_running_loop().time() + self._idle_s
        try:
            async with asyncio.timeout_at(min(idle_due, self._total_due)):
                return await self._response.content.readany()
        except TimeoutError as error:
            self.close()
            if self._total_due <= idle_due:
                raise UpstreamError(
                    UpstreamFault.TOTAL_TIMEOUT, f"{self._where}: the call took too long"
                ) from error
            raise UpstreamError(
                UpstreamFault.IDLE_TIMEOUT, f"{self._where}: the response fell silent"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            self.close()
            raise UpstreamError(
                UpstreamFault.BROKEN, f"{self._where}: {type(error).__name__} within the response"
            ) from error

    async def read(self) -> bytes:
        """The (rest of the) body; raise UpstreamError, also for one over `MAX_READ_BYTES`."""
        gathered = bytearray()
        while part := await self.read_some():
            gathered += part
            if len(gathered) > MAX_READ_BYTES:
                self.close()
                raise UpstreamError(
                    UpstreamFault.BROKEN, f"the response is longer than {MAX_READ_BYTES} bytes"
                )
        return bytes(gathered)

    def close(self) -> None:
        """Let go; aiohttp keeps the connection of a whole body and cuts any other."""
        self._closed = not self._response.content.at_eof()
        self._response.close()


class AiohttpClient:
    """Requests to one origin through a proxy (`HttpClient`)."""

    def __init__(
        self,
        origin: Origin,
        proxy: str | None,
        max_connections: int = 1000,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare, without connecting; `proxy` is an http URL, possibly with name and password."""
        self._origin = origin
        self._proxy = proxy
        self._max_connections = max_connections
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"AiohttpClient({self._origin})"

    async def request(
        self,
        method: bytes,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        timeouts: Timeouts,
    ) -> UpstreamReply:
        """Send one request and wait for the response's head; raise UpstreamError."""
        import aiohttp  # noqa: PLC0415
        from yarl import URL  # noqa: PLC0415

        session = self._open_session()
        total_due = asyncio.get_running_loop().time() + timeouts.total_s
        # aiohttp tells a failed connection from a slow one by its own error type.
        limits = aiohttp.ClientTimeout(
            total=None, connect=timeouts.connect_s, sock_connect=timeouts.connect_s
        )
        text_headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in headers
        ]
        text_headers.append(("accept-encoding", "identity"))
        head_s = timeouts.connect_s + timeouts.first_byte_s
        try:
            async with asyncio.timeout(min(head_s, timeouts.total_s)):
                response = await session.request(
                    method.decode(),
                    URL(str(self._origin) + target.decode(), encoded=True),
                    headers=text_headers,
                    data=body or None,
                    proxy=self._proxy,
                    allow_redirects=False,
                    timeout=limits,
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise self._error(UpstreamFault.CONNECT, error) from error
        except aiohttp.ClientHttpProxyError as error:
            raise UpstreamError(
                UpstreamFault.CONNECT, f"{self._origin}: the proxy answered {error.status}"
            ) from error
        except TimeoutError as error:
            if timeouts.total_s <= head_s:
                raise self._error(UpstreamFault.TOTAL_TIMEOUT, error) from error
            raise self._error(UpstreamFault.FIRST_BYTE_TIMEOUT, error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._error(UpstreamFault.BROKEN, error) from error
        return AiohttpReply(response, str(self._origin), timeouts.idle_s, total_due)

    async def aclose(self) -> None:
        """Cut every connection; later requests fail with `connect`."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> "aiohttp.ClientSession":
        import aiohttp  # noqa: PLC0415

        if self._closed:
            raise UpstreamError(UpstreamFault.CONNECT, f"{self._origin}: the client is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._max_connections, ssl=self._tls if self._tls is not None else True
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("user-agent", "accept", "accept-encoding", "content-type"),
                read_bufsize=READ_BUFFER_BYTES,
            )
        return self._session

    def _error(self, kind: UpstreamFault, error: Exception) -> UpstreamError:
        # The message of an aiohttp error may hold the proxy's password, its type cannot.
        return UpstreamError(kind, f"{self._origin}: {type(error).__name__}")
