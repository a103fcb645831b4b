"""Counts what an answer generates against what was reserved for it; the same for every dialect.

Counting with the tokenizer is rare: a text cannot have more tokens than bytes, so nothing is
counted before that many bytes have passed.
"""

from collections.abc import Callable

from gateway.meter import COUNT_FACTOR_PERCENT, FEWEST_PIECES, SHORT_PIECE_BYTES


class OutputCounter:
    """Generated text against `limit_tokens`, which covers all choices of a request together.

    `count` is the tokenizer.
    """

    __slots__ = (
        "_count",
        "_counted_tokens",
        "_limit_tokens",
        "_next_count_bytes",
        "_texts",
        "_watch_bytes",
        "_watch_tokens",
        "text_bytes",
        "text_events",
    )

    def __init__(self, limit_tokens: int, count: Callable[[str], int]) -> None:
        self._limit_tokens = limit_tokens
        self._count = count
        self._texts: list[str] = []
        self._counted_tokens = 0
        self._next_count_bytes = limit_tokens
        self._watch_tokens: int | None = None
        self._watch_bytes = 0
        self.text_events = 0
        self.text_bytes = 0

    def take(self, text: object) -> int:
        """Remember a piece of generated text; its size in bytes, 0 for what is no text."""
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
        """Tokens of the text so far in the tokenizer's own vocabulary."""
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
