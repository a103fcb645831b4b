"""What is the same in the meters of all dialects: events cut from a stream, and the fixed figures.

How generated text is counted is in `dialects/counting.py`, how events are read in
`dialects/events.py`, and what they say in the meter of each dialect.
"""

from budgets.value import value

MAX_EVENT_BYTES = 8 * 1024 * 1024
SEAM_BYTES = 3
# A token of the model may be worth more than one of the meter's vocabulary; an honest stream that
# ends at its limit must not be cut for that.
COUNT_FACTOR_PERCENT = 80
# A provider that sends each token as it comes has events of a few bytes. Its events are then a
# better count of its own tokens than any other model's vocabulary.
SHORT_PIECE_BYTES = 8
FEWEST_PIECES = 4


@value
class Sighting:
    """One whole event of the stream: its bytes, and what kind it is."""

    raw: bytes
    only_usage: bool = False
    done: bool = False


class EventSplitter:
    """Cuts a byte stream into whole server-sent events, whatever the chunks and line ends.

    An event may come in thousands of chunks; each byte of it is looked at once and copied once.
    """

    __slots__ = ("_parts", "_seam", "size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._seam = b""  # the end of what is pending: an event's end may begin there
        self.size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes, each with its blank line."""
        data = chunk
        if self.size:
            seam = self._seam + chunk
            self._parts.append(chunk)
            if b"\n\n" not in seam and (b"\r" not in seam or not _ends_in_mixed(seam)):
                self._seam = seam[-SEAM_BYTES:]
                self.size += len(chunk)
                return []
            data = b"".join(self._parts)
            self._parts = []
            self.size = 0
        events, start = _split_mixed(data) if b"\r" in data else _split_plain(data)
        if start < len(data):
            rest = data[start:]
            self._parts = [rest]
            self._seam = rest[-SEAM_BYTES:]
            self.size = len(rest)
        return events

    @property
    def pending(self) -> bytes:
        """What came after the last whole event; `size` is its length."""
        return b"".join(self._parts)


def _ends_in_mixed(data: bytes) -> bool:
    return b"\r\n\r\n" in data or b"\r\r" in data


def _split_plain(data: bytes) -> tuple[list[bytes], int]:
    """The events of data without carriage returns, and where the rest begins."""
    events = []
    start = 0
    while (end := data.find(b"\n\n", start)) >= 0:
        events.append(data[start : end + 2])
        start = end + 2
    return events, start


def _split_mixed(data: bytes) -> tuple[list[bytes], int]:
    """The same for data with any line ends."""
    events: list[bytes] = []
    start = 0
    while True:
        ends = [
            (at, at + len(mark))
            for mark in (b"\n\n", b"\r\n\r\n", b"\r\r")
            if (at := data.find(mark, start)) >= 0
        ]
        if not ends:
            return events, start
        _, end = min(ends)
        events.append(data[start:end])
        start = end
