"""What each worker process has seen, told to its parent and put together for `/metrics`.

A worker says it once a second in one line. What one had seen that is gone stays counted (but for
its last second where it was killed), so the sums of a host never fall while its parent lives.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from budgets.ledger import HoldState
from gateway.tally import Histogram, LedgerOutcome, ModelCount, Tally
from routing.health import BreakerState

Plain = Mapping[str, Any]
SUMS = (
    "settlements",
    "overruns",
    "overrun_nano",
    "corrected_up_nano",
    "corrected_down_nano",
    "expired_nano",
)
_WORST = (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED)


@dataclass(slots=True)
class Report:
    """A process: its counters, and how it is now."""

    tally: Tally = field(default_factory=Tally)
    overflowed: Mapping[str, int] = field(default_factory=dict)
    in_flight: int = 0
    waiting: int = 0
    tasks: int = 0
    providers: Mapping[str, bool] = field(default_factory=dict)
    breakers: Mapping[tuple[str, str, str], BreakerState] = field(default_factory=dict)

    def remains(self) -> "Report":
        """What is still true of a process that is gone: its counters."""
        return Report(self.tally, self.overflowed)

    def to_line(self) -> bytes:
        return orjson.dumps(
            {
                "tally": plain_of(self.tally),
                "overflowed": self.overflowed,
                "in_flight": self.in_flight,
                "waiting": self.waiting,
                "tasks": self.tasks,
                "providers": self.providers,
                "breakers": [[*model, state.value] for model, state in self.breakers.items()],
            }
        )

    @classmethod
    def from_line(cls, line: bytes) -> "Report":
        """Read a line back; raise ValueError, KeyError or TypeError for what is none."""
        told = orjson.loads(line)
        tally = Tally()
        add_plain(tally, told["tally"])
        breakers = {
            (provider, model, upstream_model): BreakerState(state)
            for provider, model, upstream_model, state in told["breakers"]
        }
        return cls(
            tally,
            told["overflowed"],
            told["in_flight"],
            told["waiting"],
            told["tasks"],
            told["providers"],
            breakers,
        )


def together(reports: Iterable[Report]) -> Report:
    """Several processes as one: counters added up, a provider ready where it is to all of them."""
    whole = Report()
    overflowed = Counter[str]()
    providers: dict[str, bool] = {}
    breakers: dict[tuple[str, str, str], BreakerState] = {}
    for one in reports:
        add_plain(whole.tally, plain_of(one.tally))
        overflowed.update(one.overflowed)
        whole.in_flight += one.in_flight
        whole.waiting += one.waiting
        whole.tasks += one.tasks
        for name, ready in one.providers.items():
            providers[name] = ready and providers.get(name, True)
        for model, state in one.breakers.items():
            breakers[model] = min(state, breakers.get(model, state), key=_WORST.index)
    whole.overflowed, whole.providers, whole.breakers = dict(overflowed), providers, breakers
    return whole


def plain_of(tally: Tally) -> Plain:
    """The counters as JSON has them."""
    return {
        "models": [
            [
                *model,
                [[*ending, number] for ending, number in count.endings.items()],
                count.tokens,
                count.cost_nano,
            ]
            for model, count in tally.by_model.items()
        ],
        "refusals": tally.refusals,
        "retries": [[*retry, number] for retry, number in tally.retries.items()],
        "added": [tally.added.counts, tally.added.sum_ms],
        "first_byte": [tally.first_byte.counts, tally.first_byte.sum_ms],
        "sums": [getattr(tally, name) for name in SUMS],
        "expired": {state.value: number for state, number in tally.expired.items()},
        "errors": [[*error, number] for error, number in tally.ledger_errors.items()],
    }


def add_plain(tally: Tally, plain: Plain) -> None:
    """Count what another process has counted."""
    for model, tier, endings, tokens, cost_nano in plain["models"]:
        count = tally.by_model.setdefault((model, tier), ModelCount())
        for ending, status, number in endings:
            key = (ending, status)
            count.endings[key] = count.endings.get(key, 0) + number
        count.tokens = [own + other for own, other in zip(count.tokens, tokens, strict=True)]
        count.cost_nano += cost_nano
    for code, number in plain["refusals"].items():
        tally.refusals[code] = tally.refusals.get(code, 0) + number
    for provider, how, cause, number in plain["retries"]:
        retry = (provider, how, cause)
        tally.retries[retry] = tally.retries.get(retry, 0) + number
    _add_histogram(tally.added, *plain["added"])
    _add_histogram(tally.first_byte, *plain["first_byte"])
    for name, number in zip(SUMS, plain["sums"], strict=True):
        setattr(tally, name, getattr(tally, name) + number)
    for text, number in plain["expired"].items():
        state = HoldState(text)
        tally.expired[state] = tally.expired.get(state, 0) + number
    for outcome, cause, number in plain["errors"]:
        error = (LedgerOutcome(outcome), cause)
        tally.ledger_errors[error] = tally.ledger_errors.get(error, 0) + number


def _add_histogram(histogram: Histogram, counts: Iterable[int], sum_ms: float) -> None:
    histogram.counts = [own + other for own, other in zip(histogram.counts, counts, strict=True)]
    histogram.sum_ms += sum_ms
