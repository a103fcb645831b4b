"""How large a run's budget has to be, workflow by workflow, from the runs there were.

The statistics are in `budgets/advice.py`; which runs count is in the query `run_costs`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from budgets.advice import DEFAULT_SHARE, MAX_SHARE, MIN_SHARE, advise, runs_needed
from gateway.budget_board import Query

DAY_MS = 86_400_000
IDLE_MS = 30 * 60_000
"""A run without a request for so long has ended."""
MAX_RUNS = 5_000
"""The latest runs of a workflow that count: they are the likest to those to come."""
DEFAULT_DAYS, MAX_DAYS = 30, 366
LEFT_OUT = ("unfinished", "stopped", "failed", "began_before", "older")


class AdviceFault(ValueError):
    """A question that cannot be asked; `key` is the part at fault."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key


@dataclass(frozen=True, slots=True)
class AdviceQuestion:
    """Which workflow (`TEAM/NAME`; None for each), how far back, and the share to be stopped."""

    workflow: str | None = None
    days: int = DEFAULT_DAYS
    stop_share: Fraction = DEFAULT_SHARE


def read_question(workflow: str | None, days: str | None, stop_share: str | None) -> AdviceQuestion:
    """The question as a person writes it; raise AdviceFault for what is none."""
    if workflow is not None and not all(workflow.partition("/")):
        raise AdviceFault("workflow", f"expected TEAM/NAME, got {workflow[:200]!r}")
    return AdviceQuestion(
        workflow,
        DEFAULT_DAYS if days is None else _days(days),
        DEFAULT_SHARE if stop_share is None else _share(stop_share),
    )


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= MAX_DAYS):
        raise AdviceFault(
            "days", f"expected a whole number from 1 to {MAX_DAYS}, got {text[:40]!r}"
        )
    return int(text)


def _share(text: str) -> Fraction:
    whole, _, digits = text.partition(".")
    if whole in ("", "0") and digits.isascii() and digits.isdigit() and len(digits) <= 4:
        share = Fraction(int(digits), 10 ** len(digits))
        if MIN_SHARE <= share <= MAX_SHARE:
            return share
    raise AdviceFault(
        "stop_share",
        f"expected a share of runs such as 0.02, from {float(MIN_SHARE)} to {float(MAX_SHARE)} in "
        f"four decimals, got {text[:40]!r}",
    )


async def advice_report(
    question: AdviceQuestion, open_runs: Collection[str], run_query: Query, now_ms: int
) -> dict[str, Any]:
    """The advice for each workflow that has runs, with what it rests on; amounts in nano-USD.

    `open_runs` are the runs (`TEAM/NAME`) with a request under way.
    """
    rows = await run_query(
        "run_costs",
        {
            "from_ms": now_ms - question.days * DAY_MS,
            "to_ms": now_ms + 1,
            "idle_since_ms": now_ms - IDLE_MS,
            "open_runs": sorted(open_runs),
            "workflow": question.workflow,
            "max_runs": MAX_RUNS,
        },
    )
    return {
        "days": question.days,
        "stop_share": float(question.stop_share),
        "runs_needed": runs_needed(question.stop_share),
        "idle_minutes": IDLE_MS // 60_000,
        "workflows": [_advised(row, question.stop_share) for row in rows],
    }


def _advised(row: Mapping[str, Any], share: Fraction) -> dict[str, Any]:
    costs: Sequence[int] = row["costs_nano"]
    return {
        "workflow": row["workflow"],
        "single_requests": row["single_requests"],
        **asdict(advise(costs, row["needs_nano"], share)),
        "left_out": {reason: row[reason] for reason in LEFT_OUT},
    }
