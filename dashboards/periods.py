"""The stretches of time a page can look at, each with the equally long stretch to compare it with.

Days are UTC, as in the warehouse. `to_ms` is the first millisecond that is no longer inside.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS

DEFAULT_PERIOD = "7d"
LABELS = {
    "24h": "24 hours",
    "7d": "7 days",
    "30d": "30 days",
    "mtd": "Month to date",
}


class PeriodError(ValueError):
    """A period the dashboard does not know; the message lists those it does."""


@dataclass(frozen=True, slots=True)
class Period:
    """`[from_ms, to_ms)` and, for the comparison, `[before_from_ms, before_to_ms)`."""

    key: str
    label: str
    compared_with: str
    from_ms: int
    to_ms: int
    before_from_ms: int
    before_to_ms: int


def _midnight_ms(at_ms: int) -> int:
    return at_ms - at_ms % _DAY_MS


def _shifted(key: str, compared_with: str, from_ms: int, to_ms: int, shift_ms: int) -> Period:
    return Period(
        key=key,
        label=LABELS[key],
        compared_with=compared_with,
        from_ms=from_ms,
        to_ms=to_ms,
        before_from_ms=from_ms - shift_ms,
        before_to_ms=to_ms - shift_ms,
    )


def _month_to_date(now_ms: int, to_ms: int) -> Period:
    today = datetime.fromtimestamp(now_ms / 1000, UTC)
    first = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    before = (first - timedelta(days=1)).replace(day=1)
    from_ms = int(first.timestamp()) * 1000
    before_from_ms = int(before.timestamp()) * 1000
    return Period(
        key="mtd",
        label=LABELS["mtd"],
        compared_with="same part of last month",
        from_ms=from_ms,
        to_ms=to_ms,
        before_from_ms=before_from_ms,
        before_to_ms=min(before_from_ms + to_ms - from_ms, from_ms),
    )


def period_at(key: str, now_ms: int) -> Period:
    """The period named `key` that ends with `now_ms`; raise PeriodError for an unknown name.

    `24h` rolls. `7d` and `30d` are today and the whole days before it, so that no bar of a chart by
    day is cut; they are compared with the same days one period earlier, up to the same time of day.
    """
    to_ms = now_ms + 1
    if key == "24h":
        return _shifted(key, "24 hours before", to_ms - _DAY_MS, to_ms, _DAY_MS)
    if key == "7d":
        return _shifted(
            key, "7 days before", _midnight_ms(now_ms) - 6 * _DAY_MS, to_ms, 7 * _DAY_MS
        )
    if key == "30d":
        return _shifted(
            key, "30 days before", _midnight_ms(now_ms) - 29 * _DAY_MS, to_ms, 30 * _DAY_MS
        )
    if key == "mtd":
        return _month_to_date(now_ms, to_ms)
    raise PeriodError(f"period: expected one of {', '.join(LABELS)}, got {key!r}")
