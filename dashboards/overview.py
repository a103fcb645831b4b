"""Everything the overview page shows, worked out from rows; the template only lays it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dashboards.amounts import count, usd_exact, usd_short, utc_iso, utc_time
from dashboards.cards import Card, cards_of, small_share, totals_of
from dashboards.panels import CHARTS, Panel
from dashboards.periods import LABELS, Period
from dashboards.tables import Row

DEFAULT_SMALL_TIER = "small"
_SHORT_ID = 14
_DAY_S = 86_400
_BEHIND_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class RecentRow:
    """One line of the recent requests, as texts."""

    request_id: str
    short_id: str
    time: str
    time_iso: str
    workflow: str
    tier: str
    model: str
    cost: str
    cost_exact: str
    ending: str
    tone: str
    reason: str


@dataclass(frozen=True, slots=True)
class OverviewRows:
    """The rows the page itself needs; the charts fetch their own."""

    totals: Sequence[Row]
    totals_before: Sequence[Row]
    tier_mix: Sequence[Row]
    recent: Sequence[Row]
    ever: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Overview:
    """The page as values."""

    period: Period
    periods: Mapping[str, str]
    to_ms: int
    from_iso: str
    from_text: str
    to_iso: str
    to_text: str
    freshness: str
    stand_ins: tuple[str, ...]
    cards: tuple[Card, ...]
    empty: bool
    brand_new: bool
    base_url: str
    panels: tuple[Panel, ...]
    recent: tuple[RecentRow, ...]


def days_of(period: Period) -> tuple[str, ...]:
    """Every UTC day the period touches, `YYYY-MM-DD`, so that a day without a request is a gap."""
    first_s = period.from_ms // 1000
    last_s = (period.to_ms - 1) // 1000
    first_s -= first_s % _DAY_S
    return tuple(
        f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}"
        for at_s in range(first_s, last_s + 1, _DAY_S)
    )


def freshness_text(freshness: Mapping[str, object]) -> str:
    """How far the warehouse is behind: `lag_rows` waiting, `last_batch_ms` of the newest batch."""
    lag = freshness.get("lag_rows")
    last_ms = freshness.get("last_batch_ms")
    lag_rows = lag if isinstance(lag, int) else 0
    if not isinstance(last_ms, int) or last_ms <= 0:
        return "Nothing collected since the gateway started."
    waiting = f" {count(lag_rows)} events are waiting." if lag_rows else ""
    behind = " The collector is behind." if lag_rows > _BEHIND_ROWS else ""
    return f"Collected up to {utc_time(last_ms)}.{waiting}{behind}"


def ending_tone(ending: str) -> str:
    """The CSS class of an ending: like the colours of the endings chart."""
    if ending == "completed":
        return "good"
    if ending in ("refused", "killed", "deadline_hit"):
        return "warn"
    return "muted" if ending == "client_gone" else "bad"


def _recent_row(row: Row) -> RecentRow:
    request_id = str(row["request_id"])
    admitted_ms = int(row["admitted_ms"])
    cost_nano = int(row["cost_nano"])
    ending = str(row["ending"])
    return RecentRow(
        request_id=request_id,
        short_id=request_id if len(request_id) <= _SHORT_ID else f"{request_id[:_SHORT_ID]}…",
        time=f"{datetime.fromtimestamp(admitted_ms / 1000, UTC):%d %b %H:%M:%S}",
        time_iso=utc_iso(admitted_ms),
        workflow=str(row["workflow"]) or "—",
        tier=str(row["tier"]) or "—",
        model=str(row["model"]) or "—",
        cost=usd_short(cost_nano),
        cost_exact=usd_exact(cost_nano),
        ending=ending.replace("_", " "),
        tone=ending_tone(ending),
        reason=str(row["reason"]) or "—",
    )


def overview_of(
    period: Period,
    rows: OverviewRows,
    freshness: Mapping[str, object],
    base_url: str,
    tiers: tuple[str, ...],
    stand_ins: tuple[str, ...],
) -> Overview:
    """The overview page for one period; one without requests shows only what the ledger knows."""
    now = totals_of(rows.totals)
    empty = not rows.recent
    small_tier = tiers[0] if tiers else DEFAULT_SMALL_TIER
    return Overview(
        period=period,
        periods=LABELS,
        to_ms=period.to_ms,
        from_iso=utc_iso(period.from_ms),
        from_text=utc_time(period.from_ms),
        to_iso=utc_iso(period.to_ms - 1),
        to_text=utc_time(period.to_ms - 1),
        freshness=freshness_text(freshness),
        stand_ins=stand_ins,
        cards=cards_of(
            now,
            totals_of(rows.totals_before),
            small_share(rows.tier_mix, small_tier),
            small_tier,
            period.compared_with,
        ),
        empty=empty,
        brand_new=not rows.ever,
        base_url=base_url.rstrip("/"),
        panels=tuple(panel for panel in CHARTS if not (empty and panel.query)),
        recent=tuple(_recent_row(row) for row in rows.recent),
    )
