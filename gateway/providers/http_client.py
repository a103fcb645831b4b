"""What a provider asks of an HTTP client: one origin, one request, one reply.

Two clients keep it: `http1_client` (fast, direct) and `aiohttp_client` (through a proxy).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from gateway.providers.port import Timeouts, UpstreamReply

DEFAULT_PORTS = {"http": 80, "https": 443}

# The largest body that `UpstreamReply.read` gathers; streams are read piece by piece instead.
MAX_READ_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go: scheme, host, and port; equal origins share connections."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """The value of the `host` header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if DEFAULT_PORTS[self.scheme] == self.port else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """A provider's base URL: the origin and the path that every call's path is appended to."""

    origin: Origin
    path: str


def parse_base_url(url: str) -> BaseUrl:
    """Split a base URL; raise ValueError that says what is wrong with it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("must start with http:// or https://")
    if not parts.hostname:
        raise ValueError("names no host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no user name or password; give the key by api_key_env")
    if parts.query or parts.fragment:
        raise ValueError("must end with its path, without '?' and '#'")
    if not url.isascii() or any(character <= " " for character in url):
        raise ValueError("must be ASCII without spaces")
    path = parts.path.rstrip("/")
    return BaseUrl(Origin(parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme]), path)


class HttpClient(Protocol):
    """Sends requests to one origin. Replies are bodies as sent: no redirects, no decompression."""

    async def request(
        self,
        method: bytes,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        timeouts: Timeouts,
    ) -> UpstreamReply:
        """Send one request and wait for the response's head; raise UpstreamError.

        `host`, `content-length` and `accept-encoding` are the client's to set.
        """

    async def aclose(self) -> None:
        """Cut every connection; later requests fail with `connect`."""
