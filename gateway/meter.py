"""Reads a stream of server-sent events as it passes and says how much has been generated. No I/O.

The meter never changes a byte. It finds the provider's own usage report, counts what was generated
so far, and says when a stream has used up what was reserved. Counting with the tokenizer is rare: a
text cannot have more tokens than bytes, so nothing is counted before that many bytes have passed.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from budgets.usage import TokenUsage, UsageFault, usage_from_openai
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


class StreamMeter:
    """Counts one chat completion stream against `limit_tokens` of generated output.

    `count` is the tokenizer. The limit covers all choices of the request together.
    """

    __slots__ = (
        "_count",
        "_counted_tokens",
        "_limit_tokens",
        "_next_count_bytes",
        "_splitter",
        "_texts",
        "_watch_bytes",
        "_watch_tokens",
        "error_seen",
        "fault",
        "finished",
        "text_bytes",
        "text_events",
        "usage",
    )

    def __init__(self, limit_tokens: int, count: Callable[[str], int]) -> None:
        self._limit_tokens = limit_tokens
        self._count = count
        self._splitter = EventSplitter()
        self._texts: list[str] = []
        self._counted_tokens = 0
        self._next_count_bytes = limit_tokens
        self._watch_tokens: int | None = None
        self._watch_bytes = 0
        self.text_events = 0
        self.text_bytes = 0
        self.usage: TokenUsage | None = None
        self.fault: UsageFault | None = None
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

    def _look(self, event: bytes) -> Sighting:
        data = _data_of(event)
        if data is None:
            return Sighting(event)
        if data == b"[DONE]":
            self.finished = True
            return Sighting(event, done=True)
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            return Sighting(event)
        if not isinstance(body, dict):
            return Sighting(event)
        return self._look_into(event, body)

    def _look_into(self, event: bytes, body: Mapping[str, Any]) -> Sighting:
        if body.get("error") is not None:
            self.error_seen = True
        choices = body.get("choices")
        report = body.get("usage")
        if report is not None:
            self._read_usage(report)
        if isinstance(choices, list) and choices:
            for choice in choices:
                if isinstance(choice, dict):
                    self._look_at_choice(choice)
            return Sighting(event)
        return Sighting(event, only_usage=report is not None)

    def _read_usage(self, report: object) -> None:
        """Keep the latest report; a faulty one is remembered and not used."""
        usage = usage_from_openai(report)
        if isinstance(usage, UsageFault):
            self.fault = usage
        else:
            self.usage = usage

    def _look_at_choice(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        seen = 0
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            seen += self._take(delta.get(name))
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            for call in calls:
                function = call.get("function") if isinstance(call, dict) else None
                if isinstance(function, dict):
                    seen += self._take(function.get("name")) + self._take(function.get("arguments"))
        if seen:
            self.text_events += 1

    def _take(self, text: object) -> int:
        if not isinstance(text, str) or not text:
            return 0
        self._texts.append(text)
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        self.text_bytes += size
        return size

    def output_tokens(self) -> int:
        """Tokens generated so far: the events, where each seems to be one, or else counted now."""
        if self._piecewise():
            return self.text_events
        return max(self._count_now(), self.text_events)

    def _piecewise(self) -> bool:
        events = self.text_events
        return events >= FEWEST_PIECES and self.text_bytes <= SHORT_PIECE_BYTES * events

    def _count_now(self) -> int:
        """Tokens of the text so far in the meter's own vocabulary."""
        if self._texts:
            self._counted_tokens += self._count("".join(self._texts))
            self._texts.clear()
        return self._counted_tokens

    def allow(self, limit_tokens: int, watch_tokens: int | None) -> None:
        """Have another limit from now on, and say so when the watermark is reached (None: never).

        Neither is below what was allowed before.
        """
        self._limit_tokens = limit_tokens
        self._next_count_bytes = max(self._next_count_bytes, limit_tokens)
        self._watch_tokens = watch_tokens
        self._watch_bytes = self.text_bytes if watch_tokens is None else watch_tokens

    def at_watermark(self) -> bool:
        """Whether so much was generated, counted generously, that more should be held."""
        watch = self._watch_tokens
        if watch is None:
            return False
        if self.text_events < watch and self.text_bytes < self._watch_bytes:
            return False
        generated = self._count_now() * 100 // COUNT_FACTOR_PERCENT
        self._watch_bytes = self.text_bytes + max(1, watch - generated)
        return max(generated, self.text_events) >= watch

    def over_limit(self) -> bool:
        """Whether more was generated than reserved; counts only where it can be so."""
        if self.text_events > self._limit_tokens:
            return True
        if self.text_bytes < self._next_count_bytes:
            return False
        if self._piecewise():
            return False
        at_least = self._count_now() * COUNT_FACTOR_PERCENT // 100
        left = self._limit_tokens - at_least
        self._next_count_bytes = self.text_bytes + max(1, left)
        return left < 0


def _data_of(event: bytes) -> bytes | None:
    """The data of an event, its lines joined; None for comments and events without data."""
    if event.startswith(b"data:"):
        line, _, rest = event.partition(b"\n")
        if not rest.strip(b"\r\n"):
            return line[5:].strip()
    lines = [
        line[5:].removeprefix(b" ")
        for line in event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if line.startswith(b"data:")
    ]
    return b"\n".join(lines).strip() if lines else None
