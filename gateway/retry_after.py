"""How long a provider wants to be left alone: `retry-after-ms`, or `retry-after` in either form."""

from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 300


def retry_after_ms(headers: Iterable[tuple[bytes, bytes]], now_ms: int) -> int:
    """Milliseconds from now, five minutes at most; nonsense, the past and no wish are 0."""
    wish_ms = 0.0
    for name, value in headers:
        if name == b"retry-after-ms":
            exact_ms = _number(value)
            if exact_ms is not None:
                wish_ms = exact_ms
                break
        elif name == b"retry-after":
            seconds = _number(value)
            wish_ms = _until_date_ms(value, now_ms) if seconds is None else seconds * 1_000
    return round(max(0.0, min(wish_ms, MAX_RETRY_AFTER_S * 1_000)))


def _number(value: bytes) -> float | None:
    """A plain decimal number; None for anything else, such as `nan` or `1e9`."""
    whole, _, part = value.strip().partition(b".")
    if not whole.isdigit() or (part and not part.isdigit()):
        return None
    # Longer than this is far beyond the most that counts, and slow to read.
    return float(value) if len(value) < 20 else float(MAX_RETRY_AFTER_S * 1_000)


def _until_date_ms(value: bytes, now_ms: int) -> float:
    try:
        then = parsedate_to_datetime(value[:64].decode("latin-1"))
    except ValueError:
        return 0.0
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return then.timestamp() * 1_000 - now_ms
