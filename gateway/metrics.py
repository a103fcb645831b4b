"""What `/metrics` tells: every metric with its meaning, and its values from what was read.

Labels are names of the configuration, of budgets, or of closed lists. Scopes are told for the
largest of a budget only. docs/metrics.md lists the same metrics.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from budgets.ledger import Account, HoldState
from budgets.money import NANO_PER_USD
from budgets.scopes import Unit
from budgets.units import unit_of
from budgets.usage import RECORDED_CLASSES
from gateway.budget_gauges import Standing, Standings
from gateway.ledger_watch import LedgerState
from gateway.tally import Histogram, LedgerOutcome, Tally
from routing.health import BreakerState

if TYPE_CHECKING:
    from telemetry.collector import CollectorState


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name, kind (`counter`, `gauge` or `histogram`), labels and meaning."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()


_UNITS = {Unit.USD: "dollars", Unit.TOKENS: "tokens", Unit.REQUESTS: "requests"}
_BUDGET_AMOUNTS = (
    ("limit", "A budget's limit", ("budget",)),
    ("posted", "Spent in the budget's window", ("budget",)),
    ("held", "Held by open requests", ("budget",)),
    ("scope_posted", "Spent by the 20 largest scopes of a wide budget", ("budget", "scope")),
    ("scope_held", "Held by the same", ("budget", "scope")),
)
METRICS: tuple[Metric, ...] = (
    Metric(
        "weir_info", "gauge", "Always 1; version, and where the ledger is.", ("version", "ledger")
    ),
    Metric(
        "weir_requests_total",
        "counter",
        "Requests on record, by how they ended.",
        ("ending", "status_class", "model", "tier"),
    ),
    Metric(
        "weir_refusals_total",
        "counter",
        "Requests that got an error of the gateway's own, by its code.",
        ("code",),
    ),
    Metric(
        "weir_retries_total",
        "counter",
        "Attempts after one that failed, by the provider asked.",
        ("provider", "how", "cause"),
    ),
    Metric("weir_tokens_total", "counter", "Tokens used.", ("class", "model", "tier")),
    Metric(
        "weir_cost_usd_total", "counter", "Dollars posted for settled requests.", ("model", "tier")
    ),
    Metric("weir_requests_in_flight", "gauge", "Requests that are being answered."),
    Metric("weir_tasks", "gauge", "Tasks of the event loops."),
    Metric(
        "weir_added_latency_seconds",
        "histogram",
        "From a request's arrival to its being sent to a provider.",
    ),
    Metric(
        "weir_first_byte_seconds",
        "histogram",
        "From a request's arrival to the first byte of its answer.",
    ),
    Metric("weir_ledger_up", "gauge", "1 while the ledger takes requests, else 0."),
    Metric("weir_ledger_state", "gauge", "1 for the state the ledger is in, else 0.", ("state",)),
    Metric(
        "weir_ledger_errors_total",
        "counter",
        "Errors of the ledger, by what became of each and why.",
        ("outcome", "cause"),
    ),
    Metric(
        "weir_ledger_posted_usd", "gauge", "Dollars ever posted, by all gateways of the ledger."
    ),
    Metric("weir_ledger_held_usd", "gauge", "Dollars held by open requests, of all gateways."),
    Metric("weir_ledger_open_holds", "gauge", "Requests with money held, of all gateways."),
    Metric("weir_ledger_pending_endings", "gauge", "Endings that Redis is still to be told of."),
    Metric(
        "weir_ledger_rejected_endings", "gauge", "Endings that Redis contradicts, for a person."
    ),
    Metric("weir_overruns_total", "counter", "Requests that cost more than was held for them."),
    Metric("weir_overrun_usd_total", "counter", "Dollars spent beyond what was held."),
    Metric(
        "weir_expired_holds_total",
        "counter",
        "Holds ended because their lease ran out.",
        ("outcome",),
    ),
    Metric("weir_expired_usd_total", "counter", "Dollars posted at the ceiling of expired holds."),
    Metric(
        "weir_corrected_usd_total",
        "counter",
        "Dollars by which the truth about expired holds differed.",
        ("direction",),
    ),
    Metric("weir_budgets", "gauge", "Budgets in effect."),
    Metric("weir_budget_scopes", "gauge", "Scopes with an account in a wide budget.", ("budget",)),
    *[
        Metric(f"weir_budget_{amount}_{unit}", "gauge", f"{meaning}, in {words}.", labels)
        for unit, words in _UNITS.items()
        for amount, meaning, labels in _BUDGET_AMOUNTS
    ],
    Metric(
        "weir_overflowed_ids_total",
        "counter",
        "Names of clients that were charged to a shared id, because there were too many.",
        ("kind",),
    ),
    Metric("weir_alerts_total", "counter", "Budget alerts ever given."),
    Metric("weir_alert_deliveries", "gauge", "Budget alerts by what became of them.", ("state",)),
    Metric("weir_collector_up", "gauge", "1 while events are collected, else 0."),
    Metric("weir_collector_waiting_rows", "gauge", "Events that wait, at least."),
    Metric("weir_collector_behind_seconds", "gauge", "Time since no event was waiting."),
    Metric("weir_collector_rows_total", "counter", "Events collected."),
    Metric("weir_collector_failures", "gauge", "Failed batches in a row."),
    Metric(
        "weir_provider_ready", "gauge", "1 where a provider can be asked, else 0.", ("provider",)
    ),
    Metric(
        "weir_breaker_state",
        "gauge",
        "1 for the state of the breaker of a deployment, else 0.",
        ("provider", "model", "upstream_model", "state"),
    ),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found at one moment.

    None for what cannot be known while the ledger is away, and what another process knows.
    """

    version: str
    ledger: str
    tally: Tally
    in_flight: int
    tasks: int
    state: LedgerState
    total: Account | None
    open_holds: int | None
    owed: tuple[int, int] | None
    standings: Standings | None
    alerts: Mapping[str, int] | None
    overflowed: Mapping[str, int]
    collector: "CollectorState | None"
    providers: Mapping[str, bool]
    breakers: Mapping[tuple[str, str, str], BreakerState]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric; `labels` in the order of the metric's own. Histograms are whole."""

    name: str
    labels: tuple[str, ...]
    value: float | Histogram


def samples(reading: Reading) -> Iterator[Sample]:
    """Every value, in no order."""
    yield Sample("weir_info", (reading.version, reading.ledger), 1)
    yield from _requests(reading.tally)
    yield Sample("weir_requests_in_flight", (), reading.in_flight)
    yield Sample("weir_tasks", (), reading.tasks)
    yield from _ledger(reading)
    if reading.standings is not None:
        yield from _budgets(reading.standings)
    for kind, number in reading.overflowed.items():
        yield Sample("weir_overflowed_ids_total", (kind,), number)
    if reading.alerts is not None:
        yield Sample("weir_alerts_total", (), sum(reading.alerts.values()))
        for state, number in reading.alerts.items():
            yield Sample("weir_alert_deliveries", (state,), number)
    if reading.collector is not None:
        yield from _collector(reading.collector)
    for provider, ready in reading.providers.items():
        yield Sample("weir_provider_ready", (provider,), int(ready))
    for place, breaker in reading.breakers.items():
        for state in BreakerState:
            yield Sample("weir_breaker_state", (*place, state), int(state is breaker))


def _requests(tally: Tally) -> Iterator[Sample]:
    for (model, tier), count in tally.by_model.items():
        for (ending, status), number in count.endings.items():
            status_class = f"{status}xx" if status else "none"
            yield Sample("weir_requests_total", (ending, status_class, model, tier), number)
        if count.cost_nano or any(count.tokens):
            for name, tokens in zip(RECORDED_CLASSES, count.tokens, strict=True):
                yield Sample("weir_tokens_total", (name, model, tier), tokens)
            yield Sample("weir_cost_usd_total", (model, tier), _usd(count.cost_nano))
    for code, number in tally.refusals.items():
        yield Sample("weir_refusals_total", (code,), number)
    for retry, number in tally.retries.items():
        yield Sample("weir_retries_total", retry, number)
    yield Sample("weir_added_latency_seconds", (), tally.added)
    yield Sample("weir_first_byte_seconds", (), tally.first_byte)
    yield Sample("weir_overruns_total", (), tally.overruns)
    yield Sample("weir_overrun_usd_total", (), _usd(tally.overrun_nano))
    for state, outcome in (
        (HoldState.EXPIRED_FREED, "freed"),
        (HoldState.EXPIRED_CHARGED, "charged"),
    ):
        yield Sample("weir_expired_holds_total", (outcome,), tally.expired.get(state, 0))
    yield Sample("weir_expired_usd_total", (), _usd(tally.expired_nano))
    yield Sample("weir_corrected_usd_total", ("up",), _usd(tally.corrected_up_nano))
    yield Sample("weir_corrected_usd_total", ("down",), _usd(tally.corrected_down_nano))
    for became, cause in product(LedgerOutcome, LedgerState):
        if cause is not LedgerState.OK:
            number = tally.ledger_errors.get((became, cause), 0)
            yield Sample("weir_ledger_errors_total", (became, cause), number)


def _ledger(reading: Reading) -> Iterator[Sample]:
    yield Sample("weir_ledger_up", (), int(reading.state is LedgerState.OK))
    for state in LedgerState:
        yield Sample("weir_ledger_state", (state,), int(state is reading.state))
    if reading.total is not None:
        yield Sample("weir_ledger_posted_usd", (), _usd(reading.total.posted_nano))
        yield Sample("weir_ledger_held_usd", (), _usd(reading.total.held_nano))
    if reading.open_holds is not None:
        yield Sample("weir_ledger_open_holds", (), reading.open_holds)
    if reading.owed is not None:
        owed, rejected = reading.owed
        yield Sample("weir_ledger_pending_endings", (), owed)
        yield Sample("weir_ledger_rejected_endings", (), rejected)


def _budgets(standings: Standings) -> Iterator[Sample]:
    yield Sample("weir_budgets", (), standings.in_effect)
    for budget, limit_nano in standings.limits_nano.items():
        unit = unit_of(budget)
        yield Sample(f"weir_budget_limit_{unit}", (budget,), _in_unit(limit_nano, unit))
    for budget, number in standings.scopes.items():
        yield Sample("weir_budget_scopes", (budget,), number)
    for one in standings.named:
        yield from _amounts("weir_budget", (one.budget,), one)
    for one in standings.largest:
        yield from _amounts("weir_budget_scope", (one.budget, one.scope), one)


def _amounts(name: str, labels: tuple[str, ...], one: Standing) -> Iterator[Sample]:
    unit = unit_of(one.budget)
    yield Sample(f"{name}_posted_{unit}", labels, _in_unit(one.account.posted_nano, unit))
    yield Sample(f"{name}_held_{unit}", labels, _in_unit(one.account.held_nano, unit))


def _collector(state: "CollectorState") -> Iterator[Sample]:
    yield Sample("weir_collector_up", (), int(state.running))
    yield Sample("weir_collector_waiting_rows", (), state.waiting_rows)
    yield Sample("weir_collector_behind_seconds", (), state.behind_ms / 1000)
    yield Sample("weir_collector_rows_total", (), state.collected_rows)
    yield Sample("weir_collector_failures", (), state.failures_in_a_row)


def _in_unit(amount: int, unit: Unit) -> float:
    return _usd(amount) if unit is Unit.USD else amount


def _usd(amount_nano: int) -> float:
    """Dollars; a double tells every nano-USD up to $9 M apart."""
    return amount_nano / NANO_PER_USD


def by_metric(found: Iterator[Sample]) -> Sequence[tuple[Metric, list[Sample]]]:
    """The samples under their metrics, in the order of `METRICS`."""
    sorted_samples: dict[str, list[Sample]] = {metric.name: [] for metric in METRICS}
    for sample in found:
        sorted_samples[sample.name].append(sample)
    return [(metric, sorted_samples[metric.name]) for metric in METRICS]
