"""The six figures on top of the page, each with its change against the period before."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from dashboards.amounts import count, percent, share_of, usd_exact, usd_short
from dashboards.tables import Row

Tone = Literal["", "good", "bad"]


@dataclass(frozen=True, slots=True)
class Card:
    """A label, its value as people say it, the exact value, and what it is compared with."""

    id: str
    label: str
    value: str
    exact: str
    note: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of one period. Money in nano-USD; `requests` reached a provider, `refused` did not.

    Saved and frontier cost cover the requests that have a frontier price.
    """

    requests: int
    refused: int
    killed: int
    cost_nano: int
    frontier_cost_nano: int
    saved_nano: int

    @property
    def admitted(self) -> int:
        return self.requests + self.refused


def totals_of(rows: Sequence[Row]) -> Totals:
    """The one row of the `totals` query."""
    row = rows[0]
    return Totals(**{field.name: int(row[field.name]) for field in fields(Totals)})


def _change(now: float, before: float, compared_with: str) -> str:
    """`+12.0 % against the 7 days before`; silent about nothing at all."""
    if not before:
        return f"nothing in the {compared_with}" if now else ""
    change = now / before - 1
    return f"{change * 100:+.1f} % against the {compared_with}"


def _per_request_nano(totals: Totals) -> int:
    return round(share_of(totals.cost_nano, totals.requests) or 0)


def small_share(tier_rows: Sequence[Row], small_tier: str) -> float | None:
    """Requests of the cheapest tier as a share of those that reached a tier."""
    total = sum(int(row["requests"]) for row in tier_rows)
    small = sum(int(row["requests"]) for row in tier_rows if row["tier"] == small_tier)
    return share_of(small, total)


def cards_of(
    now: Totals, before: Totals, small: float | None, small_tier: str, compared_with: str
) -> tuple[Card, ...]:
    """Spend, savings, requests, stopped requests, cost per request and the cheap tier's share."""
    saved_share = share_of(now.saved_nano, now.frontier_cost_nano)
    stopped = now.refused + now.killed
    per_request = _per_request_nano(now)
    return (
        Card(
            "spend",
            "Spend",
            usd_short(now.cost_nano),
            usd_exact(now.cost_nano),
            _change(now.cost_nano, before.cost_nano, compared_with),
        ),
        Card(
            "saved",
            "Saved vs frontier",
            usd_short(now.saved_nano),
            usd_exact(now.saved_nano),
            f"{percent(saved_share)} of {usd_short(now.frontier_cost_nano)}, modelled",
            "bad" if now.saved_nano < 0 else "good" if now.saved_nano else "",
        ),
        Card(
            "requests",
            "Requests",
            count(now.admitted),
            count(now.admitted),
            _change(now.admitted, before.admitted, compared_with),
        ),
        Card(
            "stopped",
            "Refused or killed",
            count(stopped),
            count(stopped),
            f"{count(now.refused)} refused, {count(now.killed)} killed",
        ),
        Card(
            "per-request",
            "Cost per request",
            usd_short(per_request),
            usd_exact(per_request),
            _change(per_request, _per_request_nano(before), compared_with),
        ),
        Card(
            "small-share",
            f"Share of tier “{small_tier}”",
            percent(small),
            percent(small),
            f"of {count(now.requests)} requests sent to a model",
        ),
    )
