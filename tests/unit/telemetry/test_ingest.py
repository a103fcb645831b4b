"""Rows into the warehouse: whole, once, and never stopped by one that is no event."""

from dataclasses import fields
from random import Random

import orjson
import pytest

from telemetry.event import EventKind, TelemetryEvent
from telemetry.warehouse import Warehouse
from tests.unit.telemetry.events import make_event, rows_of

SOURCE = "ledger"


def stored_ids(warehouse: Warehouse) -> list[str]:
    return [row["event_id"] for row in warehouse.query("SELECT event_id FROM event ORDER BY 1")]


def quarantined(warehouse: Warehouse) -> list[int]:
    return [row["seq"] for row in warehouse.query("SELECT seq FROM quarantine ORDER BY seq")]


def changed(event: TelemetryEvent, **fields_changed: object) -> bytes:
    return orjson.dumps({**orjson.loads(event.to_json()), **fields_changed})


def test_an_event_comes_back_as_it_was(warehouse: Warehouse) -> None:
    event = make_event(
        1,
        cost_nano=9_007_199_254_740_993,
        output_cost_nano=-5,
        reason='quotes " and \\ and\nlines, Zürich, 日本, 🦆, \x00',
        difficulty=1 / 3,
        kind=EventKind.CORRECTION,
    )
    assert warehouse.insert_batch(SOURCE, rows_of(event)) == 1
    [row] = warehouse.query("SELECT * FROM event")
    assert row == {field.name: getattr(event, field.name) for field in fields(event)}


def test_a_measure_may_be_unknown(warehouse: Warehouse) -> None:
    warehouse.insert_batch(SOURCE, rows_of(make_event(1, first_byte_ms=float("nan"))))
    assert warehouse.query("SELECT first_byte_ms FROM event") == [{"first_byte_ms": None}]
    assert quarantined(warehouse) == []


def test_offering_rows_again_changes_nothing(warehouse: Warehouse) -> None:
    rows = rows_of(*map(make_event, range(20)))
    assert warehouse.insert_batch(SOURCE, rows[:12]) == 12
    assert warehouse.insert_batch(SOURCE, rows[:12]) == 12
    assert warehouse.insert_batch(SOURCE, rows[5:]) == 20
    assert warehouse.insert_batch(SOURCE, []) == 20
    assert stored_ids(warehouse) == [f"event-{number:06d}" for number in range(20)]


def test_after_a_rewind_events_are_recognised_by_their_ids(warehouse: Warehouse) -> None:
    rows = rows_of(*map(make_event, range(10)))
    warehouse.insert_batch(SOURCE, rows[:6])
    warehouse.rewind(SOURCE)
    assert warehouse.last_seq(SOURCE) == 0
    assert warehouse.insert_batch(SOURCE, rows) == 10
    assert stored_ids(warehouse) == [f"event-{number:06d}" for number in range(10)]
    assert quarantined(warehouse) == []


def test_an_event_twice_in_a_batch_is_stored_once(warehouse: Warehouse) -> None:
    warehouse.insert_batch(SOURCE, rows_of(make_event(1), make_event(2), make_event(1)))
    assert stored_ids(warehouse) == ["event-000001", "event-000002"]
    assert quarantined(warehouse) == []


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", "holds 0 events"),
        (b"{", "malformed json"),
        (b"null", "no value for event_id"),
        (b"[]", "expected object"),
        (b"\xff\xfe", "can't decode"),
        (b'{"event_id":"x"}', "does not have key"),
        (make_event(7).to_json() + b"," + make_event(8).to_json(), "holds 2 events"),
        (make_event(7).to_json()[:-9], "malformed json"),
        (changed(make_event(7), cost_nano=None), "no value for cost_nano"),
        (changed(make_event(7), cost_nano="many"), "cast"),
        (changed(make_event(7), cost_nano=2**64 - 1), "cast"),
    ],
)
def test_what_is_no_event_goes_to_quarantine_and_the_rest_goes_in(
    warehouse: Warehouse, payload: bytes, error: str
) -> None:
    rows = [(1, make_event(1).to_json()), (2, payload), (5, make_event(3).to_json())]
    assert warehouse.insert_batch(SOURCE, rows) == 5
    assert stored_ids(warehouse) == ["event-000001", "event-000003"]
    [found] = warehouse.query("SELECT seq, payload, error FROM quarantine")
    assert (found["seq"], found["payload"]) == (2, payload)
    assert error in found["error"].lower()


def test_an_event_of_an_earlier_version_is_stored_with_what_it_lacks(warehouse: Warehouse) -> None:
    old = orjson.loads(make_event(1, waited_ms=5.0).to_json())
    del old["waited_ms"]
    rows = [
        *rows_of(make_event(2, waited_ms=7.5)),
        (2, orjson.dumps(old)),
        (3, b'{"event_id":"x"}'),
    ]
    assert warehouse.insert_batch(SOURCE, rows) == 3
    found = warehouse.query("SELECT event_id, waited_ms FROM event ORDER BY event_id")
    assert [tuple(row.values()) for row in found] == [("event-000001", 0.0), ("event-000002", 7.5)]
    assert quarantined(warehouse) == [3]


def test_quarantine_keeps_a_row_once(warehouse: Warehouse) -> None:
    rows = [*rows_of(make_event(1)), (2, b"{broken")]
    warehouse.insert_batch(SOURCE, rows)
    warehouse.rewind(SOURCE)
    warehouse.insert_batch(SOURCE, rows)
    assert quarantined(warehouse) == [2]
    assert stored_ids(warehouse) == ["event-000001"]


def test_an_event_that_an_earlier_version_left_in_the_outbox_is_stored(
    warehouse: Warehouse,
) -> None:
    fields = orjson.loads(make_event(1).to_json())
    old = orjson.dumps({name: fields[name] for name in fields if name != "user_id"})
    warehouse.insert_batch(SOURCE, [(1, old), (2, make_event(2).to_json())])
    rows = warehouse.query("SELECT event_id, user_id FROM event ORDER BY event_id")
    assert [row["user_id"] for row in rows] == ["unnamed", "unnamed"]
    assert quarantined(warehouse) == []


def test_sources_do_not_disturb_each_other(warehouse: Warehouse) -> None:
    warehouse.insert_batch("one", rows_of(make_event(1), make_event(2)))
    warehouse.insert_batch("two", rows_of(make_event(3)))
    assert (warehouse.last_seq("one"), warehouse.last_seq("two")) == (2, 1)
    assert len(stored_ids(warehouse)) == 3


@pytest.mark.parametrize("seed", range(20))
def test_however_rows_are_cut_into_batches_each_is_stored_once(
    warehouse: Warehouse, seed: int
) -> None:
    random = Random(seed)
    events = [make_event(number) for number in range(random.randint(1, 40))]
    rows = rows_of(*events)
    bad = {row[0] for row in rows if random.random() < 0.1}
    rows = [(seq, b"{" if seq in bad else payload) for seq, payload in rows]
    while warehouse.last_seq(SOURCE) < len(rows):
        done = warehouse.last_seq(SOURCE)
        start = random.randint(0, done)
        warehouse.insert_batch(SOURCE, rows[start : done + random.randint(1, 12)])
        if random.random() < 0.1:
            warehouse.rewind(SOURCE)
    expected = [
        event.event_id for event, (seq, _) in zip(events, rows, strict=True) if seq not in bad
    ]
    assert stored_ids(warehouse) == expected
    assert quarantined(warehouse) == sorted(bad)
