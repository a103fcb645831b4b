"""A reply whose body is known, and the header in which a provider says what it left out."""

from collections.abc import Sequence

DROPPED_HEADER = b"x-weir-dropped"
# More names than fit here are cut off.
MAX_DROPPED_BYTES = 1_024
RawHeaders = Sequence[tuple[bytes, bytes]]


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


def dropped_header(dropped: Sequence[str]) -> RawHeaders:
    """The header that names what was left out; no header where nothing was."""
    if not dropped:
        return []
    names = ",".join(dropped).encode("ascii", "replace")[:MAX_DROPPED_BYTES]
    return [(DROPPED_HEADER, bytes(byte if 32 < byte < 127 else 63 for byte in names))]
