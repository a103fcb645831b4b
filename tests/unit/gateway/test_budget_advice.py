"""Advice from a real DuckDB file: which runs count, and whether the ledger would stop as told."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pytest

from budgets.ledger import Hold, Refusal, Reservation
from budgets.scopes import Charge, Window
from gateway.budget_advice import (
    DAY_MS,
    AdviceFault,
    AdviceQuestion,
    advice_report,
    read_question,
)
from gateway.composition import query_of
from telemetry.event import (
    Ending,
    EventKind,
    TelemetryEvent,
    assumed_event,
    event_from_json,
)
from telemetry.warehouse import Warehouse
from tests.unit.gateway.desks import new_ledger, run
from tests.unit.telemetry.events import FIRST_MS, make_event, rows_of

NOW_MS = FIRST_MS + 40 * DAY_MS
HOUR_MS = 3_600_000


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse.open(tmp_path / "weir.duckdb") as opened:
        yield opened


class History:
    """Events with numbers of their own, an hour apart, for a team's workflow."""

    def __init__(self) -> None:
        self.events: list[TelemetryEvent] = []

    def ask(self, run_id: str, cost_nano: int, **changes: Any) -> TelemetryEvent:
        number = len(self.events)
        admitted_ms = NOW_MS - 20 * DAY_MS + number * HOUR_MS // 60
        fields: dict[str, Any] = {
            "team": "lab",
            "workflow": "triage",
            "run_id": run_id,
            "admitted_ms": admitted_ms,
            "ended_ms": changes.get("admitted_ms", admitted_ms) + 1_000,
            "cost_nano": cost_nano,
            "reserved_nano": 2 * cost_nano,
        }
        event = make_event(number, **{**fields, **changes})
        self.events.append(event)
        return event

    def report(self, warehouse: Warehouse, *open_runs: str, **asked: Any) -> dict[str, Any]:
        warehouse.insert_batch("ledger", rows_of(*self.events))
        question = AdviceQuestion(**asked)
        return run(advice_report(question, open_runs, query_of(warehouse), NOW_MS))


def test_every_run_is_counted_or_left_out_for_one_reason(warehouse: Warehouse) -> None:
    past = History()
    for number in range(3):
        # An inferred run begins with a request that stood alone.
        past.ask(f"good-{number}", 100, run_source="request" if number else "header")
        past.ask(f"good-{number}", 50)
    past.ask("run-alone", 70, run_source="request")
    past.ask("still-new", 10)
    past.ask("still-new", 10, admitted_ms=NOW_MS - 60_000)
    past.ask("under-way", 10)
    past.ask("refused", 10)
    refusal = {"kind": EventKind.REFUSAL, "ending": Ending.REFUSED, "reserved_nano": 0}
    past.ask("refused", 0, status=402, error_code="budget_exceeded", **refusal)
    past.ask("cut", 10, ending=Ending.KILLED)
    past.ask("cut", 10)
    past.ask("broke", 10, ending=Ending.UPSTREAM_FAILED)
    past.ask("left", 10, ending=Ending.CLIENT_GONE)
    assumed = assumed_event(past.ask("assumed", 10).to_json(), 20, NOW_MS - DAY_MS)
    past.events[-1] = event_from_json(assumed.payload)
    past.ask("tried-again", 10, ending=Ending.UPSTREAM_FAILED)
    past.ask("tried-again", 10)
    past.ask("long", 10, admitted_ms=NOW_MS - 31 * DAY_MS)
    past.ask("long", 10)
    report = past.report(warehouse, "lab/under-way")
    [row] = report["workflows"]
    assert (row["workflow"], row["runs"], row["single_requests"]) == ("lab/triage", 5, 1)
    assert row["left_out"] == {
        "unfinished": 2,
        "stopped": 2,
        "failed": 3,
        "began_before": 1,
        "older": 0,
    }
    assert (row["missing_runs"], row["cap_nano"], row["median_nano"]) == (44, None, 150)
    assert (report["runs_needed"], report["days"]) == (49, 30)


def test_a_run_needs_what_it_had_posted_and_held_at_once(warehouse: Warehouse) -> None:
    """After one of 100, two at a time: 100 + 30 + 30 are needed, though 140 are spent."""
    past, start_ms = History(), NOW_MS - DAY_MS
    for number in range(49):
        at_ms = start_ms + number * 10_000
        moments = ((0, 1_000, 100, 110), (1_000, 3_000, 20, 30), (2_000, 2_000, 20, 30))
        for begin, end, cost, held in moments:
            changes = {"admitted_ms": at_ms + begin, "ended_ms": at_ms + end}
            past.ask(f"run-{number}", cost, reserved_nano=held, **changes)
    [row] = past.report(warehouse)["workflows"]
    assert (row["median_nano"], row["quantile_nano"], row["cap_nano"]) == (140, 140, 160)
    assert row["stopped"] == {
        "runs": 0,
        "share": 0.0,
        "low": 0.0,
        "high": pytest.approx(0.0727, abs=1e-4),
    }


def test_one_workflow_can_be_asked_for_and_teams_are_apart(warehouse: Warehouse) -> None:
    past = History()
    past.ask("same", 1)
    past.ask("same", 2, team="ops")
    past.ask("other", 4, workflow="notes")
    names = [row["workflow"] for row in past.report(warehouse)["workflows"]]
    assert names == ["lab/notes", "lab/triage", "ops/triage"]
    [row] = past.report(warehouse, workflow="ops/triage")["workflows"]
    assert (row["workflow"], row["median_nano"]) == ("ops/triage", 2)
    assert past.report(warehouse, workflow="ops/nothing")["workflows"] == []
    assert past.report(warehouse, days=1)["workflows"] == []


def test_only_the_latest_runs_count_where_there_are_very_many(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.budget_advice.MAX_RUNS", 60)
    past = History()
    for number in range(100):
        past.ask(f"run-{number}", 1_000 if number < 40 else 10)
    [row] = past.report(warehouse)["workflows"]
    assert (row["runs"], row["left_out"]["older"], row["median_nano"]) == (60, 40, 10)


async def is_stopped(requests: list[TelemetryEvent], cap_nano: int) -> bool:
    """Whether the ledger refuses any request of a run under a cap, replayed as it happened."""
    ledger = new_ledger()
    charge = Charge("run:lab/r|total|0", "run:lab/r", Window.TOTAL, cap_nano, None)
    moves = [(event.admitted_ms, 1, event) for event in requests]
    moves += [(event.ended_ms, 0, event) for event in requests]
    holds: dict[str, Hold] = {}
    for at_ms, _, event in sorted(moves, key=lambda move: move[:2]):
        held = holds.get(event.event_id)
        if held is not None:
            await ledger.settle(held, event.cost_nano, event.to_outbox())
            continue
        terms = Reservation(event.event_id, event.reserved_nano, (charge,), at_ms, 10**9)
        hold = await ledger.reserve(terms)
        if isinstance(hold, Refusal):
            return True
        holds[event.event_id] = await ledger.dispatch(hold, event.to_json())
    return False


@pytest.mark.parametrize("seed", range(4))
def test_the_ledger_stops_exactly_the_past_runs_that_the_advice_says(
    warehouse: Warehouse, seed: int
) -> None:
    random, past = Random(seed), History()
    runs: dict[str, list[TelemetryEvent]] = {}
    for number in range(random.choice([60, 150])):
        at_ms = NOW_MS - 20 * DAY_MS + number * HOUR_MS
        for _ in range(random.randint(1, 8)):
            cost = int(random.lognormvariate(15, 1.5))
            held = cost + random.randrange(1, 3 * 10**6)
            moment = at_ms + random.randrange(50_000)
            end = {"admitted_ms": moment, "ended_ms": moment + random.randrange(1, 20_000)}
            event = past.ask(f"run-{number}", cost, reserved_nano=held, **end)
            runs.setdefault(event.run_id, []).append(event)
    [row] = past.report(warehouse, stop_share=Fraction(5, 100))["workflows"]
    assert row["runs"] == len(runs)

    async def replay() -> int:
        return sum([await is_stopped(requests, row["cap_nano"]) for requests in runs.values()])

    assert run(replay()) == row["stopped"]["runs"] > 0


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (("lab", None, None), "workflow: expected TEAM/NAME, got 'lab'"),
        (("/x", None, None), "workflow: expected TEAM/NAME"),
        ((None, "0", None), "days: expected a whole number from 1 to 366, got '0'"),
        ((None, "1.5", None), "days"),
        ((None, "²", None), "days"),
        ((None, None, "0.6"), "stop_share: expected a share of runs such as 0.02"),
        ((None, None, "2%"), "stop_share"),
        ((None, None, "0.00001"), "stop_share"),
        ((None, None, "-0.1"), "stop_share"),
    ],
)
def test_a_wrong_question_names_the_part_at_fault(
    asked: tuple[str | None, str | None, str | None], error: str
) -> None:
    with pytest.raises(AdviceFault, match=error) as raised:
        read_question(*asked)
    assert raised.value.key == error.partition(":")[0]


def test_a_question_is_read_exactly_and_has_defaults() -> None:
    assert read_question(None, None, None) == AdviceQuestion(None, 30, Fraction(1, 50))
    assert read_question("a/b/c", "366", ".001") == AdviceQuestion("a/b/c", 366, Fraction(1, 1000))
