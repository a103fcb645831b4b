"""Server-sent events as every dialect's meter reads them: whole, in order, and byte for byte."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from budgets.usage import TokenUsage, UsageExtras, UsageFault
from gateway.dialects.counting import OutputCounter
from gateway.errors import ApiError
from gateway.meter import MAX_EVENT_BYTES, EventSplitter, Sighting

DONE = b"[DONE]"


def data_of(event: bytes) -> bytes | None:
    """The data of an event, its lines joined; None for comments and events without data."""
    start = 0
    if not event.startswith(b"data:"):
        start = event.find(b"\n") + 1 if event.startswith(b"event:") else 0
    if event.startswith(b"data:", start):
        end = event.find(b"\n", start)
        if end >= 0 and not event[end:].strip(b"\r\n"):
            return event[start + 5 : end].strip()
    lines = [
        line[5:].removeprefix(b" ")
        for line in event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if line.startswith(b"data:")
    ]
    return b"\n".join(lines).strip() if lines else None


def object_in(data: bytes) -> dict[str, Any] | None:
    """The JSON object in the data of an event; None for anything else."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        # Half a surrogate pair, where a character was cut in two, is text all the same.
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            return None
    return body if isinstance(body, dict) else None


def named_event(name: str, payload: Mapping[str, Any]) -> bytes:
    """An event of our own."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(payload))


class EventMeter(OutputCounter, ABC):
    """What is the same in every dialect's meter; the events themselves are the dialect's to read.

    `usage` is the provider's last word on the whole stream, `early` what it said of the input
    before. A report that cannot be right is a `fault` and not used.
    """

    __slots__ = (
        "_splitter",
        "early",
        "error_seen",
        "extras",
        "fault",
        "finished",
        "response_id",
        "usage",
    )

    def __init__(self, limit_tokens: int, count: Callable[[str], int]) -> None:
        super().__init__(limit_tokens, count)
        self._splitter = EventSplitter()
        self.usage: TokenUsage | None = None
        self.early: TokenUsage | None = None
        self.fault: UsageFault | None = None
        self.extras = UsageExtras()
        self.response_id = ""
        self.finished = False
        self.error_seen = False

    def feed(self, chunk: bytes) -> list[Sighting]:
        """The events that became whole with this chunk, in order."""
        return list(self.each(chunk))

    def each(self, chunk: bytes) -> Iterator[Sighting]:
        """The same one by one: an event counts from the moment it is taken."""
        return map(self._look, self._splitter.feed(chunk))

    @property
    def pending(self) -> bytes:
        """Bytes after the last whole event."""
        return self._splitter.pending

    @property
    def oversized(self) -> bool:
        """Whether one event has grown beyond what is read as one."""
        return self._splitter.size > MAX_EVENT_BYTES

    @property
    def torn(self) -> bool:
        """Whether a stream that is over here ended too early, where its dialect has an end."""
        return not (self.finished or self.error_seen)

    @abstractmethod
    def fail(self, error: ApiError, request_id: str) -> bytes:
        """The bytes that end the stream here, so that the dialect's SDK raises the error."""

    @abstractmethod
    def _look_into(self, event: bytes, body: Mapping[str, Any]) -> Sighting:
        """Read the JSON object an event carries."""

    def _look(self, event: bytes) -> Sighting:
        data = data_of(event)
        if data is None:
            return Sighting(event)
        if data == DONE:
            self.finished = True
            return Sighting(event, done=True)
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            body = object_in(data)
        return self._look_into(event, body) if type(body) is dict else Sighting(event)

    def _keep(self, usage: TokenUsage | UsageFault) -> None:
        """Keep the latest report; a faulty one is remembered and not used."""
        if isinstance(usage, UsageFault):
            self.fault = usage
        else:
            self.usage = usage
