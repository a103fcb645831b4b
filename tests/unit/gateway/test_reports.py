"""What worker processes tell their parent, and what that comes to."""

from dataclasses import replace

import pytest

from budgets.ledger import HoldState, Settlement
from gateway.metrics import samples
from gateway.reports import Report, plain_of, together
from gateway.tally import LedgerOutcome, Tally
from routing.health import BreakerState
from tests.unit.gateway.test_metrics import FULL
from tests.unit.telemetry.events import make_event

MINI, LARGE = ("openai", "mini", "mini-up"), ("openai", "large", "large-up")


def busy(times: int, model: str = "mini") -> Tally:
    """A process that has counted something everywhere."""
    tally = Tally()
    for number in range(times):
        event = make_event(number, model=model, tier="small", first_byte_ms=70.0)
        tally.settled(event, Settlement("h1", HoldState.SETTLED, 11, 4))
        tally.settled(event, Settlement("h2", HoldState.EXPIRED_CHARGED, -3, 0, correction=True))
        tally.settled(event, Settlement("h3", HoldState.EXPIRED_CHARGED, 2, 0, correction=True))
        tally.turned_away(event)
        tally.refused("budget_busy")
        tally.retried("openai", "next", "5xx")
        tally.ended_leases([Settlement("h4", HoldState.EXPIRED_CHARGED, 7, 0)])
        tally.ledger_failed(LedgerOutcome.DENIED, "unreachable")
    return tally


def test_a_report_comes_over_as_it_was_sent() -> None:
    sent = Report(
        busy(3),
        {"run": 2},
        in_flight=4,
        tasks=7,
        waiting=5,
        providers={"openai": True, "local": False},
        breakers={MINI: BreakerState.HALF_OPEN},
    )
    line = sent.to_line()
    assert b"\n" not in line
    got = Report.from_line(line)
    assert plain_of(got.tally) == plain_of(sent.tally)
    assert replace(got, tally=sent.tally) == sent


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"ready", b'{"tally": 1}'])
def test_what_is_no_report_is_an_error_and_not_a_count(line: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Report.from_line(line)


def test_several_processes_have_counted_what_one_would_have() -> None:
    parts = [Report(busy(2)), Report(), Report(busy(5)), Report(busy(1, "large"))]
    whole = together(parts)
    alone = busy(7)
    for model, count in busy(1, "large").by_model.items():
        alone.by_model[model] = count
    one = replace(FULL, tally=whole.tally)
    assert {(s.name, s.labels) for s in samples(one)} >= {
        (s.name, s.labels) for s in samples(replace(FULL, tally=alone))
    }
    assert whole.tally.settlements == 24
    assert whole.tally.overrun_nano == 32
    assert (whole.tally.corrected_up_nano, whole.tally.corrected_down_nano) == (16, 24)
    assert (whole.tally.expired, whole.tally.expired_nano) == ({HoldState.EXPIRED_CHARGED: 8}, 56)
    assert whole.tally.refusals == {"budget_busy": 8}
    assert whole.tally.ledger_errors == {(LedgerOutcome.DENIED, "unreachable"): 8}
    assert sum(whole.tally.added.counts) == 24 == sum(alone.added.counts) + 3
    assert whole.tally.first_byte.sum_ms == 24 * 70.0
    [mini, large] = [whole.tally.by_model[key] for key in sorted(whole.tally.by_model)][::-1]
    assert (mini.cost_nano, large.cost_nano) == (77, 11)
    assert sum(mini.endings.values()) == 28
    # Nothing that was told has changed by being added up.
    assert plain_of(parts[0].tally) == plain_of(busy(2))


def test_a_provider_is_as_ready_as_it_is_to_the_worst_off() -> None:
    whole = together(
        [
            Report(providers={"a": True, "b": True}, breakers={MINI: BreakerState.CLOSED}),
            Report(providers={"a": False}, breakers={MINI: BreakerState.HALF_OPEN}),
            Report(breakers={MINI: BreakerState.OPEN, LARGE: BreakerState.HALF_OPEN}),
        ]
    )
    assert whole.providers == {"a": False, "b": True}
    assert whole.breakers == {MINI: BreakerState.OPEN, LARGE: BreakerState.HALF_OPEN}


def test_of_a_process_that_is_gone_its_counters_remain() -> None:
    gone = Report(busy(2), {"run": 1}, in_flight=3, waiting=4, providers={"a": False}).remains()
    whole = together([gone, Report(busy(1), {"run": 2, "user": 1}, in_flight=1)])
    assert (whole.in_flight, whole.waiting, whole.providers) == (1, 0, {})
    assert whole.overflowed == {"run": 3, "user": 1}
    assert whole.tally.settlements == 9
