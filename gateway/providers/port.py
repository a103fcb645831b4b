"""What the gateway asks of a provider: open one call, hand over its bytes, let go of it.

    UpstreamError            nothing usable came; `kind` says how far the call got
     |- connect              no connection: the provider never saw the request
     |- busy                 all connections of ours are in use: neither did it see this one
     |- first_byte_timeout   the request was sent, no response began in time
     |- idle_timeout         the response began and then fell silent
     |- total_timeout        the whole call took too long
     |- broken               the connection or its framing broke

Library errors are mapped to these at this border and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from budgets.value import value

RawHeaders = Sequence[tuple[bytes, bytes]]


class UpstreamFault(StrEnum):
    CONNECT = "connect"
    BUSY = "busy"
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    BROKEN = "broken"


class UpstreamError(Exception):
    """A call that brought no (whole) response. The message never holds a secret."""

    def __init__(self, kind: UpstreamFault, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    @property
    def reached_provider(self) -> bool:
        """Whether the provider may have seen, and billed, the request."""
        return self.kind not in (UpstreamFault.CONNECT, UpstreamFault.BUSY)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of one call in seconds; `total_s` covers the whole response."""

    connect_s: float = 5.0
    first_byte_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 600.0


@value
class UpstreamCall:
    """One request as the provider shall see it; `path` starts after the provider's base URL."""

    path: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    timeouts: Timeouts


class UpstreamReply(Protocol):
    """A response whose head has arrived. Exactly one of `close` or the end of the body ends it."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> RawHeaders:
        """Names in lower case, in the provider's order."""

    async def read_some(self) -> bytes:
        """The next bytes of the body as they arrive, `b""` at its end; raise UpstreamError."""

    async def read(self) -> bytes:
        """The (rest of the) body; raise UpstreamError."""

    def close(self) -> None:
        """Let go: the connection returns to the pool after a whole body and is cut otherwise."""


class Provider(Protocol):
    """One upstream. `start` and `stop` frame its life inside the gateway's own."""

    @property
    def name(self) -> str: ...

    @property
    def ready(self) -> bool:
        """Whether calls can be expected to succeed now (a local model has loaded)."""

    async def start(self) -> None: ...

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        """Send the call and wait for the response's head; raise UpstreamError."""

    async def stop(self) -> None: ...
