"""Every metric: told, well formed, and nothing told twice."""

from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from budgets.ledger import Account, HoldState, Settlement
from gateway.budget_gauges import Standing, Standings
from gateway.ledger_watch import LedgerState
from gateway.metrics import METRICS, Reading, by_metric, samples
from gateway.metrics_text import metrics_text
from gateway.tally import LedgerOutcome, Tally
from routing.health import BreakerState
from telemetry.collector import CollectorState
from tests.unit.telemetry.events import make_event

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
ODD = 'key:"a\\b/\nmonth'
ONE = Standing("key:a/month", "key:a", Account(3, 2, 1))
EACH = Standing("key:*/day", "key:b", Account(1_000_000_001, 0))
OTHERS = [
    Standing(f"user:lab/*/day/{unit}", "user:lab/ana", Account(1_200, 3))
    for unit in ("tokens", "requests")
]
LIMITS = {"key:a/month": 9, ODD: 1, **{one.budget: 5_000 for one in OTHERS}}


def full_tally() -> Tally:
    tally = Tally()
    for number in range(6):
        cost = 9_007_199_254 + number
        tally.settled(make_event(number), Settlement("h", HoldState.SETTLED, cost, 3))
    tally.refused("budget_exceeded")
    tally.retried("openai", "again", "429")
    tally.ended_leases([Settlement("h", HoldState.EXPIRED_CHARGED, 5, 0)])
    tally.ledger_failed(LedgerOutcome.DENIED, LedgerState.LOST)
    return tally


FULL = Reading(
    version="1.2.3",
    ledger="redis",
    tally=full_tally(),
    in_flight=2,
    tasks=9,
    state=LedgerState.OK,
    total=Account(10, 20),
    open_holds=2,
    owed=(1, 0),
    standings=Standings(2, LIMITS, [ONE, *OTHERS], {"key:*/day": 1}, [EACH, *OTHERS]),
    alerts={"logged": 2, "pending": 1},
    overflowed={"run": 7},
    collector=CollectorState(True, 9, 8, 7, 6_000, 5, 4.0, 3, "at /home/secret"),
    providers={"openai": True, "local": False},
    breakers={("openai", "gpt-5", "gpt-5"): BreakerState.OPEN},
)


def test_every_metric_has_a_value_and_every_value_a_metric() -> None:
    for metric, found in by_metric(samples(FULL)):
        assert found, f"{metric.name} is told by nothing"
        labels = [sample.labels for sample in found]
        assert len(set(labels)) == len(labels), metric.name
        assert {len(one) for one in labels} == {len(metric.labels)}, metric.name
        assert metric.kind in ("counter", "gauge", "histogram")
        assert metric.name.startswith("weir_") and metric.meaning.endswith(".")
        assert metric.name.endswith("_total") == (metric.kind == "counter")


@pytest.mark.parametrize("accept", ["", "text/plain", OPENMETRICS, "*/*", "\xff;,"])
def test_the_text_is_read_back_as_it_was_told_in_both_formats(accept: str) -> None:
    body, content_type = metrics_text(FULL, accept)
    opened = "openmetrics" in accept
    assert content_type.startswith("application/openmetrics" if opened else "text/plain")
    parse = openmetrics_families if opened else text_string_to_metric_families
    families = {family.name: family for family in parse(body.decode())}
    told = {m.name.removesuffix("_total") for m in METRICS}
    assert told <= {name.removesuffix("_total") for name in families}
    value = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert value["weir_budget_limit_usd", ODD] == 1e-9
    assert value["weir_budget_scope_posted_usd", "key:*/day", "key:b"] == 1.000000001
    assert value["weir_budget_limit_tokens", "user:lab/*/day/tokens"] == 5_000
    assert value["weir_budget_held_requests", "user:lab/*/day/requests"] == 3
    assert value["weir_added_latency_seconds_bucket", "+Inf"] == 6
    assert value["weir_collector_behind_seconds",] == 6
    cost = sum(nano for name, *_, nano in ((*key, v) for key, v in value.items()) if name == COST)
    assert round(cost * 10**9) == sum(c.cost_nano for c in FULL.tally.by_model.values())
    assert b"secret" not in body


COST = "weir_cost_usd_total"


def test_what_cannot_be_known_while_the_ledger_is_away_is_left_out_and_not_told_as_zero() -> None:
    away = replace(
        FULL,
        state=LedgerState.LOST,
        total=None,
        open_holds=None,
        owed=None,
        standings=None,
        alerts=None,
    )
    found = {metric.name: told for metric, told in by_metric(samples(away))}
    assert [sample.value for sample in found["weir_ledger_up"]] == [0]
    states = {sample.labels[0]: sample.value for sample in found["weir_ledger_state"]}
    assert states == {state: int(state == "lost") for state in LedgerState}
    for name in ("weir_ledger_posted_usd", "weir_ledger_open_holds", "weir_budget_posted_usd"):
        assert found[name] == []
    assert found["weir_cost_usd_total"]
