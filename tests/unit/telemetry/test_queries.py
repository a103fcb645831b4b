"""Every question that ships, against figures worked out in Python."""

from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from itertools import groupby
from random import Random

import pytest

from telemetry.event import (
    Ending,
    EventKind,
    TelemetryEvent,
    UsageSource,
    assumed_event,
    correction_event,
)
from telemetry.queries import QueryBook, QueryError, parse_query
from telemetry.warehouse import Warehouse
from tests.unit.telemetry.events import DAY_MS, FIRST_DAY, FIRST_MS, make_event, rows_of

BOOK = QueryBook.load()
PERIOD = {"from_ms": FIRST_MS, "to_ms": FIRST_MS + 30 * DAY_MS}
NAMES = {
    "attempts_one",
    "endings",
    "latency",
    "request_one",
    "requests_recent",
    "run_costs",
    "savings_by_day",
    "spend_by_day",
    "spend_by_model",
    "spend_by_scope",
    "spend_by_team",
    "spend_by_workflow",
    "tier_mix",
    "totals",
}


def many_events(count: int = 400) -> list[TelemetryEvent]:
    """Requests over three days, some refused, some killed, some without a frontier price."""
    random = Random(7)
    events = []
    for number in range(count):
        event = make_event(number, admitted_ms=FIRST_MS + random.randrange(3 * DAY_MS))
        event.ended_ms = event.admitted_ms + random.randrange(5_000)
        event.frontier_cost_nano = random.choice([0, 900_000, 5_000_000])
        event.ending = random.choice([Ending.COMPLETED, Ending.COMPLETED, Ending.KILLED])
        if random.random() < 0.1:
            event.kind, event.ending = EventKind.REFUSAL, Ending.REFUSED
            event.cost_nano = event.input_cost_nano = event.output_cost_nano = 0
        events.append(event)
    return events


@pytest.fixture
def events(warehouse: Warehouse) -> list[TelemetryEvent]:
    made = many_events()
    warehouse.insert_batch("ledger", rows_of(*made))
    return made


def sums(
    events: list[TelemetryEvent], key: Callable[[TelemetryEvent], object]
) -> dict[object, tuple[int, int]]:
    """Requests that were not refused, and nano-USD, by key."""
    ordered = sorted(events, key=lambda event: str(key(event)))
    return {
        name: (
            sum(event.kind is not EventKind.REFUSAL for event in group),
            sum(event.cost_nano for event in group),
        )
        for name, group in ((name, list(group)) for name, group in groupby(ordered, key))
    }


def day_of(event: TelemetryEvent) -> date:
    return date.fromisoformat(FIRST_DAY) + timedelta(days=(event.admitted_ms - FIRST_MS) // DAY_MS)


def answered(events: list[TelemetryEvent]) -> list[TelemetryEvent]:
    return [event for event in events if event.kind is not EventKind.REFUSAL]


def test_the_book_holds_the_questions_the_dashboards_ask() -> None:
    assert set(BOOK.queries) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_question_has_an_answer_before_the_first_event(
    warehouse: Warehouse, name: str
) -> None:
    asked = {**PERIOD, "limit": 10, "request_id": "none", "kind": "key", "unit": "usd"}
    asked |= {"idle_since_ms": 0, "open_runs": [], "workflow": None, "max_runs": 10}
    query = BOOK.queries[name]
    rows = BOOK.run(warehouse, name, **{key: asked[key] for key in query.parameters})
    assert len(rows) == (1 if name == "totals" else 0)


@pytest.mark.parametrize(
    ("name", "columns", "key", "refused_count"),
    [
        ("spend_by_workflow", ("workflow",), lambda e: (e.workflow,), True),
        ("spend_by_team", ("org", "team"), lambda e: (e.org, e.team), True),
        ("spend_by_day", ("day", "workflow"), lambda e: (day_of(e), e.workflow), True),
        ("spend_by_model", ("provider", "model"), lambda e: (e.provider, e.model), False),
        ("tier_mix", ("day", "tier"), lambda e: (day_of(e), e.tier), False),
    ],
)
def test_spend_is_summed_exactly(
    warehouse: Warehouse,
    events: list[TelemetryEvent],
    name: str,
    columns: tuple[str, ...],
    key: Callable[[TelemetryEvent], object],
    refused_count: bool,
) -> None:
    counted = events if refused_count else answered(events)
    rows = BOOK.run(warehouse, name, **PERIOD)
    found = {
        tuple(row[column] for column in columns): (row["requests"], row["cost_nano"])
        for row in rows
    }
    assert found == sums(counted, key)
    assert len(rows) == len(found)
    assert all(type(row["cost_nano"]) is int for row in rows)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("org", lambda e: e.org),
        ("team", lambda e: e.team),
        ("key", lambda e: e.key_id),
        ("workflow", lambda e: f"{e.team}/{e.workflow}"),
        ("run", lambda e: f"{e.team}/{e.run_id}"),
        ("model", lambda e: e.model),
        ("tag", lambda e: f"{e.team}/env=test"),
        ("user", lambda e: f"{e.team}/{e.user_id}"),
    ],
)
def test_spend_by_scope_names_scopes_as_budgets_do(
    warehouse: Warehouse,
    events: list[TelemetryEvent],
    kind: str,
    key: Callable[[TelemetryEvent], str],
) -> None:
    rows = BOOK.run(warehouse, "spend_by_scope", kind=kind, unit="usd", **PERIOD)
    found = {row["scope_id"]: (row["requests"], row["spent"]) for row in rows}
    assert found == sums(answered(events), key)
    firsts = {row["scope_id"]: row["first_ms"] for row in rows}
    for name, first_ms in firsts.items():
        own = [event.admitted_ms for event in answered(events) if key(event) == name]
        assert first_ms == min(own)


def test_a_run_spends_what_the_runs_it_opened_spend(warehouse: Warehouse) -> None:
    child = make_event(1, run_id="child", parent_runs_json='["mid","top"]', team="lab")
    top = make_event(2, run_id="top", team="lab")
    warehouse.insert_batch("ledger", rows_of(child, top))
    rows = BOOK.run(warehouse, "spend_by_scope", kind="run", unit="usd", **PERIOD)
    assert {row["scope_id"]: (row["requests"], row["spent"]) for row in rows} == {
        "lab/child": (1, child.cost_nano),
        "lab/mid": (1, child.cost_nano),
        "lab/top": (2, child.cost_nano + top.cost_nano),
    }


def test_spend_by_scope_counts_tokens_and_requests(warehouse: Warehouse) -> None:
    free = make_event(1, cost_nano=0, team="lab", fresh_tokens=7, cached_tokens=0)
    unbilled = make_event(2, cost_nano=0, team="lab", usage_source=UsageSource.NONE)
    warehouse.insert_batch("ledger", rows_of(free, unbilled))

    def spent(unit: str) -> list[tuple[int, int]]:
        rows = BOOK.run(warehouse, "spend_by_scope", kind="team", unit=unit, **PERIOD)
        return [(row["requests"], row["spent"]) for row in rows]

    assert spent("usd") == []
    assert spent("requests") == [(1, 1)]
    [(requests, tokens)] = spent("tokens")
    assert (requests, tokens) == (2, (7 + 50 + 1) + (102 + 2 + 50 + 2))


def test_totals_add_up_to_the_events(warehouse: Warehouse, events: list[TelemetryEvent]) -> None:
    [totals] = BOOK.run(warehouse, "totals", **PERIOD)
    requests = answered(events)
    compared = [event for event in requests if event.frontier_cost_nano > 0]
    assert totals["requests"] == len(requests)
    assert totals["refused"] == len(events) - len(requests)
    assert totals["killed"] == sum(event.ending is Ending.KILLED for event in events)
    assert totals["runs"] == len({event.run_id for event in events})
    assert totals["cost_nano"] == sum(event.cost_nano for event in events)
    assert totals["fresh_tokens"] == sum(event.fresh_tokens for event in events)
    assert totals["reasoning_tokens"] == sum(event.reasoning_tokens for event in events)
    assert totals["saved_nano"] == sum(
        event.frontier_cost_nano - event.cost_nano for event in compared
    )


def test_savings_leave_out_requests_without_a_frontier_price(
    warehouse: Warehouse, events: list[TelemetryEvent]
) -> None:
    rows = BOOK.run(warehouse, "savings_by_day", **PERIOD)
    assert [row["day"] for row in rows] == sorted({day_of(event) for event in answered(events)})
    for row in rows:
        of_day = [event for event in answered(events) if day_of(event) == row["day"]]
        compared = [event for event in of_day if event.frontier_cost_nano > 0]
        frontier_nano = sum(event.frontier_cost_nano for event in compared)
        compared_nano = sum(event.cost_nano for event in compared)
        assert row["compared_requests"] == len(compared)
        assert row["uncompared_requests"] == len(of_day) - len(compared)
        assert row["cost_nano"] == sum(event.cost_nano for event in of_day)
        assert row["frontier_cost_nano"] == frontier_nano
        assert row["saved_nano"] == frontier_nano - compared_nano


def test_endings_and_latency_count_every_request(
    warehouse: Warehouse, events: list[TelemetryEvent]
) -> None:
    endings = BOOK.run(warehouse, "endings", **PERIOD)
    assert {row["ending"]: row["requests"] for row in endings} == Counter(
        str(event.ending) for event in events
    )
    latency = BOOK.run(warehouse, "latency", **PERIOD)
    assert sum(row["requests"] for row in latency) == len(answered(events))
    assert {row["gateway_p95_ms"] for row in latency} == {0.75}
    assert {row["first_byte_p50_ms"] for row in latency} == {120.5}


def test_the_latest_requests_come_first(warehouse: Warehouse, events: list[TelemetryEvent]) -> None:
    rows = BOOK.run(warehouse, "requests_recent", **PERIOD, limit=5)
    latest = sorted(events, key=lambda event: event.admitted_ms, reverse=True)[:5]
    assert [row["request_id"] for row in rows] == [event.request_id for event in latest]
    assert rows[0]["reason"] == latest[0].reason


def test_a_period_includes_its_start_and_not_its_end(warehouse: Warehouse) -> None:
    warehouse.insert_batch("ledger", rows_of(make_event(0), make_event(1), make_event(2)))
    from_ms, to_ms = FIRST_MS, make_event(2).admitted_ms
    [totals] = BOOK.run(warehouse, "totals", from_ms=from_ms, to_ms=to_ms)
    assert totals["requests"] == 2


def test_a_request_whose_process_died_is_one_row_at_its_true_cost(warehouse: Warehouse) -> None:
    true = make_event(1, cost_nano=1_200, input_cost_nano=1_000, output_cost_nano=200)
    draft = make_event(
        1, event_id="draft", cost_nano=0, input_cost_nano=0, output_cost_nano=0, output_tokens=0
    )
    assumed = assumed_event(draft.to_json(), 5_000, FIRST_MS + 2 * DAY_MS)
    warehouse.insert_batch("ledger", [(1, assumed.payload)])
    [row] = BOOK.run(warehouse, "request_one", request_id=true.request_id)
    assert (row["basis"], row["cost_nano"]) == ("assumed", 5_000)

    correction = correction_event(true.to_outbox(), 1_200 - 5_000)
    warehouse.insert_batch("ledger", [(2, correction.payload)])
    [row] = BOOK.run(warehouse, "request_one", request_id=true.request_id)
    assert (row["basis"], row["cost_nano"]) == ("corrected", 1_200)
    assert row["input_cost_nano"] + row["output_cost_nano"] == 1_200
    assert row["output_tokens"] == true.output_tokens
    [totals] = BOOK.run(warehouse, "totals", **PERIOD)
    assert (totals["requests"], totals["cost_nano"]) == (1, 1_200)


def test_the_views_agree_with_each_other_and_with_the_ledger_days(
    warehouse: Warehouse, events: list[TelemetryEvent]
) -> None:
    cost_nano = sum(event.cost_nano for event in events)
    for view in ("cost_by_workflow_day", "cost_by_model_day", "cost_by_team_day", "run_cost"):
        [row] = warehouse.query(
            f"SELECT sum(cost_nano)::BIGINT AS nano, sum(requests)::BIGINT AS requests FROM {view}"
        )
        assert row == {"nano": cost_nano, "requests": len(answered(events))}, view
    [row] = warehouse.query(
        "SELECT sum(cost_nano)::BIGINT AS nano, sum(entries)::BIGINT AS entries FROM posting_day"
    )
    assert row == {"nano": cost_nano, "entries": len(answered(events))}


def test_a_wrong_question_is_refused_with_what_is_right(warehouse: Warehouse) -> None:
    with pytest.raises(QueryError, match=r"no query 'spend'; there are attempts_one"):
        BOOK.run(warehouse, "spend")
    with pytest.raises(QueryError, match=r"totals takes from_ms, to_ms; got from_ms"):
        BOOK.run(warehouse, "totals", from_ms=1)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("-- grain: one row\n-- parameters: a\nSELECT $a", "lacks a line '-- question"),
        ("-- question: ?\n-- grain: g\n-- parameters: a, b\nSELECT $a", "declares"),
    ],
)
def test_a_query_file_whose_header_is_wrong_is_refused(text: str, error: str) -> None:
    with pytest.raises(QueryError, match=error):
        parse_query("broken", text)
