"""Every panel of the dashboard: the question, the rows that answer it, the figure, the definition.

A panel's id is its name in `/dashboard/data/{id}.json` and `.csv`. Its rows come from the query of
the same registry entry, or from the ledger where the query is None.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from dashboards import breakdowns, figures
from dashboards.amounts import count, percent, share_of, usd_short
from dashboards.frame import Figure, Frame
from dashboards.tables import Row, cell

Draw: TypeAlias = Callable[[Sequence[Row], Frame], Figure]
Answer: TypeAlias = Callable[[Sequence[Row]], str]
Shape: TypeAlias = Callable[[Sequence[Row]], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One question and how it is answered.

    `query` is None for the ledger's budgets, `draw` for a plain table. `shape` turns the query's
    rows into those that are drawn, shown and downloaded.
    """

    id: str
    title: str
    question: str
    query: str | None
    draw: Draw | None
    answer: Answer
    definition: str
    wide: bool = False
    shape: Shape | None = None


def _sum(rows: Sequence[Row], column: str) -> int:
    return sum(int(row[column] or 0) for row in rows)


def _largest(column: str) -> Answer:
    def answer(rows: Sequence[Row]) -> str:
        first = max(rows, key=lambda row: int(row["cost_nano"]))
        share = share_of(int(first["cost_nano"]), _sum(rows, "cost_nano"))
        name = str(first[column]) or "(none)"
        return f"{name}: {usd_short(int(first['cost_nano']))}, {percent(share)} of spend"

    return answer


def _dearest_day(rows: Sequence[Row]) -> str:
    by_day: dict[str, int] = {}
    for row in rows:
        by_day[str(row["day"])] = by_day.get(str(row["day"]), 0) + int(row["cost_nano"])
    day = max(by_day, key=lambda name: by_day[name])
    return (
        f"{usd_short(sum(by_day.values()))} in total; dearest day {day}: {usd_short(by_day[day])}"
    )


def _saved(rows: Sequence[Row]) -> str:
    frontier_nano = _sum(rows, "frontier_cost_nano")
    saved_nano = _sum(rows, "saved_nano")
    verb = "saved" if saved_nano >= 0 else "lost"
    share = share_of(abs(saved_nano), frontier_nano)
    return (
        f"{usd_short(abs(saved_nano))} {verb}, {percent(share)} of {usd_short(frontier_nano)} "
        "frontier-only"
    )


def _mix(rows: Sequence[Row]) -> str:
    by_tier: dict[str, int] = {}
    for row in rows:
        tier = str(row["tier"])
        by_tier[tier] = by_tier.get(tier, 0) + int(row["requests"])
    total = sum(by_tier.values())
    ranked = sorted(by_tier.items(), key=lambda item: -item[1])
    return ", ".join(f"{tier} {percent(share_of(number, total))}" for tier, number in ranked[:3])


def _tightest(rows: Sequence[Row]) -> str:
    first = breakdowns.tightest(rows)[0]
    share = percent(breakdowns.budget_share(first))
    return f"{first['scope']} has used {share} of its {first['window']} limit"


def _tokens(rows: Sequence[Row]) -> str:
    return f"{count(_sum(rows, 'tokens'))} tokens"


def _completed(rows: Sequence[Row]) -> str:
    total = _sum(rows, "requests")
    done = _sum([row for row in rows if row["ending"] == "completed"], "requests")
    return f"{percent(share_of(done, total))} of {count(total)} requests completed"


def _slowest(rows: Sequence[Row]) -> str:
    last = max(rows, key=lambda row: float(row["first_byte_p95_ms"] or 0))
    wait = cell("first_byte_p95_ms", last["first_byte_p95_ms"])
    return f"slowest at the 95th percentile: {last['model']}, {wait}"


def _recent(rows: Sequence[Row]) -> str:
    return f"{count(len(rows))} newest requests"


_PANELS = (
    Panel(
        id="spend_by_day",
        title="Spend by day",
        question="When was the money spent, and by which workflow?",
        query="spend_by_day",
        draw=figures.spend_by_day,
        answer=_dearest_day,
        definition=(
            "Sum of posted cost, one row a UTC day and workflow, by the time the request was "
            "admitted. Includes assumed costs and corrections. The seven dearest workflows have a "
            "colour of their own."
        ),
        wide=True,
    ),
    Panel(
        id="savings",
        title="Savings against frontier only",
        question="What did routing save?",
        query="savings_by_day",
        draw=figures.savings,
        answer=_saved,
        definition=(
            "Saved = cost of the same tokens at the price of the frontier model minus the posted "
            "cost, one row a UTC day, over requests that have a frontier price. Modelled: another "
            "model would have used somewhat different tokens."
        ),
    ),
    Panel(
        id="tier_mix",
        title="Tier mix by day",
        question="How much of the work runs on cheap tiers?",
        query="tier_mix",
        draw=figures.tier_mix,
        answer=_mix,
        definition=(
            "Requests of a tier divided by all requests of the UTC day; one row a day and tier. "
            "Refused requests reached no tier and are left out."
        ),
    ),
    Panel(
        id="budgets",
        title="Budgets",
        question="Which limit is reached next?",
        query=None,
        draw=breakdowns.budgets,
        answer=_tightest,
        definition=(
            "Spent (posted) and, in grey, held for running requests, as a share of the limit, one "
            "row a budget in its current window, straight from the ledger and whatever the period "
            "above. Green below 80 %, orange from 80 %, red from 100 %. The fifteen tightest."
        ),
        wide=True,
    ),
    Panel(
        id="spend_by_workflow",
        title="Spend by workflow",
        question="Which workflow costs most?",
        query="spend_by_workflow",
        draw=figures.spend_by_workflow,
        answer=_largest("workflow"),
        definition=(
            "Sum of posted cost, one row a workflow. The chart shows ten bars at most; the table "
            "shows all."
        ),
    ),
    Panel(
        id="spend_by_team",
        title="Spend by team",
        question="Who is spending?",
        query="spend_by_team",
        draw=figures.spend_by_team,
        answer=_largest("team"),
        definition="Sum of posted cost, one row a team of the API key.",
    ),
    Panel(
        id="spend_by_model",
        title="Spend by model",
        question="Which model takes the money?",
        query="spend_by_model",
        draw=figures.spend_by_model,
        answer=_largest("model"),
        definition="Sum of posted cost, one row a model that answered.",
    ),
    Panel(
        id="tokens",
        title="Tokens by class",
        question="What kind of tokens are paid for?",
        query="totals",
        draw=breakdowns.tokens,
        answer=_tokens,
        definition=(
            "Tokens by billing class. The classes are disjoint: cached input is not part of fresh "
            "input, reasoning is not part of output."
        ),
        shape=breakdowns.token_rows,
    ),
    Panel(
        id="endings",
        title="How requests ended",
        question="Do requests finish, and what stops them?",
        query="endings",
        draw=breakdowns.endings,
        answer=_completed,
        definition=(
            "Requests by ending; exactly one applies to each. Refused: stopped before a provider "
            "was called. Killed: cut off while running."
        ),
    ),
    Panel(
        id="latency",
        title="Time to first byte by model",
        question="How long do callers wait?",
        query="latency",
        draw=breakdowns.latency,
        answer=_slowest,
        definition=(
            "Time from admission to the first byte for the caller, exact quantiles, one row a "
            "model. The hover text and the table add what the gateway itself took. Refused "
            "requests are left out."
        ),
    ),
    Panel(
        id="requests_recent",
        title="Recent requests",
        question="What happened just now, and why?",
        query="requests_recent",
        draw=None,
        answer=_recent,
        definition="The newest events of the period, one row an event.",
        wide=True,
    ),
)

PANELS = MappingProxyType({panel.id: panel for panel in _PANELS})
CHARTS = tuple(panel for panel in _PANELS if panel.draw is not None)
