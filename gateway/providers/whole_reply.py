"""Replies read whole or known from the start, and how a provider says what it left out."""

from collections.abc import Iterable

from gateway.providers.port import RawHeaders, UpstreamReply

DROPPED_HEADER = b"x-weir-dropped"
COUNTED_HEADER = b"x-weir-counted-by"
# More names than fit here are cut off.
MAX_DROPPED_BYTES = 1_024


class WholeReply:
    """A reply whose body is known (`UpstreamReply`)."""

    def __init__(self, status: int, headers: RawHeaders, body: bytes) -> None:
        self._status = status
        self._headers = headers
        self._body = body

    @property
    def status(self) -> int:
        return self._status

    @property
    def headers(self) -> RawHeaders:
        return self._headers

    async def read_some(self) -> bytes:
        """All of it, then `b""`."""
        body, self._body = self._body, b""
        return body

    async def read(self) -> bytes:
        """All of it."""
        return await self.read_some()

    def close(self) -> None:
        """Nothing to let go."""


async def rest_of(reply: UpstreamReply) -> bytes:
    """What is left of a body, piece by piece; raise UpstreamError."""
    parts = []
    while part := await reply.read_some():
        parts.append(part)
    return b"".join(parts)


def dropped_header(dropped: Iterable[str]) -> RawHeaders:
    """The header that names what was left out; no header where nothing was."""
    names = _listed(dropped)
    return [(DROPPED_HEADER, names)] if names else []


def dropped_comment(dropped: Iterable[str]) -> bytes:
    """The same inside a stream, as a comment, which clients pass over; empty where nothing was."""
    names = _listed(dropped)
    return b": %b: %b\n\n" % (DROPPED_HEADER, names) if names else b""


def _listed(dropped: Iterable[str]) -> bytes:
    names = ",".join(dropped).encode("ascii", "replace")[:MAX_DROPPED_BYTES]
    return bytes(byte if 32 < byte < 127 else 63 for byte in names)
