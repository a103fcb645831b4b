"""Numbers as people read them: dollars, shares, counts, durations and times."""

from datetime import UTC, datetime
from decimal import Decimal

from budgets.money import NANO_PER_USD, format_usd
from budgets.scopes import Unit

_SIGNIFICANT_DIGITS = 3


def usd_exact(amount_nano: int) -> str:
    """Every nano-dollar: `$0.000012300`."""
    sign = "-" if amount_nano < 0 else ""
    return f"{sign}${format_usd(abs(amount_nano))}"


def usd_short(amount_nano: int) -> str:
    """For a card or a headline: `$1,234.50`, or three significant digits below one dollar."""
    sign = "-" if amount_nano < 0 else ""
    amount = Decimal(abs(amount_nano)) / NANO_PER_USD
    if amount == 0:
        return "$0.00"
    if amount >= 1:
        return f"{sign}${amount:,.2f}"
    places = max(2, min(9, _SIGNIFICANT_DIGITS - 1 - amount.adjusted()))
    return f"{sign}${amount:.{places}f}"


def amount_exact(amount: int, unit: Unit) -> str:
    """`$0.000012300`, or `1,200 tokens`."""
    return usd_exact(amount) if unit is Unit.USD else f"{count(amount)} {unit.value}"


def amount_short(amount: int, unit: Unit) -> str:
    """`$1.50`, or `1,200`."""
    return usd_short(amount) if unit is Unit.USD else count(amount)


def usd_float(amount_nano: int) -> float:
    """Dollars for the length of a bar; the exact amount travels beside it."""
    return amount_nano / NANO_PER_USD


def percent(share: float | None) -> str:
    """A share as a percentage, `—` where there is nothing to divide by."""
    if share is None:
        return "—"
    if 0 < abs(share) < 0.001:
        return "<0.1 %"
    return f"{share * 100:.1f} %"


def share_of(part: float, whole: float) -> float | None:
    """`part / whole`, or None where the whole is zero."""
    return part / whole if whole else None


def count(number: int) -> str:
    """`1,234,567`."""
    return f"{number:,}"


def milliseconds(duration_ms: float) -> str:
    """`0.42 ms`, `350 ms` or `12.3 s`."""
    if duration_ms < 10:
        return f"{duration_ms:.2f} ms"
    if duration_ms < 10_000:
        return f"{duration_ms:,.0f} ms"
    return f"{duration_ms / 1000:,.1f} s"


def utc_time(at_ms: int) -> str:
    """`2026-11-21 07:35:02 UTC`."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def utc_iso(at_ms: int) -> str:
    """`2026-11-21T07:35:02Z`, for the `datetime` attribute of a page."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
