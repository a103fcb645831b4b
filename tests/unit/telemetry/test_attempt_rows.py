"""Every attempt of a request is a row, and the rows of a request add up to its cost."""

import orjson

from telemetry.event import Ending, assumed_event, correction_event
from telemetry.queries import QueryBook
from telemetry.warehouse import Row, Warehouse
from tests.unit.telemetry.events import DAY_MS, FIRST_MS, make_event, rows_of

BOOK = QueryBook.load()


def tried(number: int, status: int, fault: str = "") -> dict[str, object]:
    return {
        "attempt": number,
        "model": "m",
        "provider": f"p{number}",
        "upstream_model": "up",
        "status": status,
        "fault": fault,
        "waited_ms": 100.0 * (number - 1),
        "took_ms": 12.5,
    }


def attempts_of(warehouse: Warehouse, request_id: str) -> list[Row]:
    return BOOK.run(warehouse, "attempts_one", request_id=request_id)


def test_a_request_that_was_answered_at_once_is_one_attempt(warehouse: Warehouse) -> None:
    event = make_event(
        1, attempts=1, first_byte_ms=90.0, gateway_ms=2.0, waited_ms=8.0, status=200, cost_nano=70
    )
    warehouse.insert_batch("ledger", rows_of(event))
    [row] = attempts_of(warehouse, event.request_id)
    assert (row["attempt"], row["provider"], row["model"]) == (1, event.provider, event.model)
    assert (row["status"], row["fault"], row["took_ms"]) == (200, "", 80.0)
    assert row["cost_nano"] == 70


def test_of_several_attempts_only_the_last_one_cost_anything(warehouse: Warehouse) -> None:
    listed = [tried(1, 0, "connect"), tried(2, 503), tried(3, 200)]
    text = orjson.dumps(listed).decode()
    event = make_event(1, attempts=3, attempts_json=text, cost_nano=70)
    warehouse.insert_batch("ledger", rows_of(event, make_event(2, attempts=1)))
    rows = attempts_of(warehouse, event.request_id)
    assert [row["cost_nano"] for row in rows] == [0, 0, 70]
    assert [{k: v for k, v in row.items() if k != "cost_nano"} for row in rows] == listed


def test_a_refused_request_has_no_attempt(warehouse: Warehouse) -> None:
    event = make_event(1, kind="refusal", ending=Ending.REFUSED, attempts=0, cost_nano=0)
    warehouse.insert_batch("ledger", rows_of(event))
    assert attempts_of(warehouse, event.request_id) == []


def test_an_attempt_whose_process_died_is_told_at_what_it_is_known_to_cost(
    warehouse: Warehouse,
) -> None:
    true = make_event(1, attempts=1, cost_nano=1_200)
    draft = make_event(1, event_id="draft", cost_nano=0, attempts=0, status=0)
    assumed = assumed_event(draft.to_json(), 5_000, FIRST_MS + DAY_MS)
    warehouse.insert_batch("ledger", [(1, assumed.payload)])
    [row] = attempts_of(warehouse, true.request_id)
    assert (row["fault"], row["cost_nano"]) == ("unknown", 5_000)
    correction = correction_event(true.to_outbox(), 1_200 - 5_000)
    warehouse.insert_batch("ledger", [(2, correction.payload)])
    [row] = attempts_of(warehouse, true.request_id)
    assert (row["fault"], row["cost_nano"]) == ("", 1_200)


def test_events_of_an_earlier_version_have_their_attempts_too(warehouse: Warehouse) -> None:
    event = make_event(1, attempts=2)
    fields = orjson.loads(event.to_json())
    del fields["attempts_json"]
    warehouse.insert_batch("ledger", [(1, orjson.dumps(fields))])
    [row] = attempts_of(warehouse, event.request_id)
    assert row["cost_nano"] == event.cost_nano


def test_all_attempts_add_up_to_what_was_spent(warehouse: Warehouse) -> None:
    listed = orjson.dumps([tried(1, 429), tried(2, 200)]).decode()
    events = [
        make_event(n, attempts=2, attempts_json=listed) if n % 3 else make_event(n, attempts=1)
        for n in range(30)
    ]
    warehouse.insert_batch("ledger", rows_of(*events))
    [row] = warehouse.query("SELECT sum(cost_nano)::BIGINT AS nano, count(*) AS rows FROM attempt")
    assert row == {"nano": sum(event.cost_nano for event in events), "rows": 50}
