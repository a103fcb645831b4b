"""The audit: silent where the books agree, and able to name whatever was tampered with."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import orjson
import pytest

from budgets.stores.in_sqlite import SqliteLedger
from budgets.stores.sqlite_books import open_books
from telemetry.audit import MAX_SHOWN, AuditReport, audit
from telemetry.event import EventKind
from telemetry.warehouse import Warehouse
from tests.unit.telemetry.events import DAY_MS, FIRST_MS, make_event
from tests.unit.telemetry.ledgers import SHAPER, dispatch, settle

EVENTS = 120
COLLECTED = 90


@dataclass(frozen=True)
class Shop:
    """A ledger and a warehouse that agree; the last events are still in the outbox."""

    ledger: Path
    warehouse: Warehouse

    def audit(self, *, every_entry: bool = True) -> AuditReport:
        with open_books(self.ledger) as books:
            return audit(books, self.warehouse, every_entry=every_entry)

    def change_ledger(self, sql: str, *params: object) -> None:
        with sqlite3.connect(self.ledger) as connection:
            assert connection.execute(sql, params).rowcount == 1
        connection.close()

    def change_warehouse(self, sql: str, *params: object) -> None:
        assert self.warehouse.query(sql, params) == [{"Count": 1}]


async def fill(path: Path) -> None:
    ledger = SqliteLedger(path, SHAPER)
    for number in range(EVENTS):
        event = make_event(number)
        event.admitted_ms = FIRST_MS + number * DAY_MS // 40
        event.ended_ms = event.admitted_ms + 1_500
        if number % 10 == 9:
            event.kind, event.cost_nano = EventKind.REFUSAL, 0
        if number % 30 == 14:
            event.kind, event.cost_nano = EventKind.RUN_KILLED, 0
        if number % 30 == 4:  # its process died; the truth of the first came later
            hold = await dispatch(ledger, event, lease_ms=1_000)
            await ledger.expire(event.ended_ms)
            if number == 4:
                event.ended_ms += DAY_MS
                await ledger.settle(hold, event.cost_nano, event.to_outbox())
        else:
            await settle(ledger, event)
    ledger.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "ledger.sqlite3"
    asyncio.run(fill(path))
    return path


@pytest.fixture
def shop(filled: Path, tmp_path: Path, warehouse: Warehouse) -> Iterator[Shop]:
    ledger = tmp_path / "ledger.sqlite3"
    shutil.copy(filled, ledger)
    with sqlite3.connect(ledger) as connection:
        sql = "SELECT seq, payload FROM outbox ORDER BY seq LIMIT ?"
        rows = connection.execute(sql, (COLLECTED,)).fetchall()
        warehouse.insert_batch("ledger", rows)
        # The last ten of the collected rows wait to be trimmed.
        connection.execute("DELETE FROM outbox WHERE seq <= ?", (rows[-10][0],))
    connection.close()
    yield Shop(ledger, warehouse)


@pytest.mark.parametrize("every_entry", [False, True])
def test_books_that_agree_are_clean(shop: Shop, every_entry: bool) -> None:
    report = shop.audit(every_entry=every_entry)
    assert report.clean, report.to_text()
    assert report.entries == report.events > 100
    assert report.ledger_nano == report.warehouse_nano + report.outbox_nano > 0
    assert report.outbox_nano > 0
    shown = "every entry has its event" if every_entry else "every day adds up"
    assert f"\nCLEAN: {shown}, to the nano-dollar" in report.to_text()


def test_nothing_at_all_is_clean(tmp_path: Path, warehouse: Warehouse) -> None:
    async def create() -> None:
        SqliteLedger(tmp_path / "ledger.sqlite3", SHAPER).close()

    asyncio.run(create())
    assert Shop(tmp_path / "ledger.sqlite3", warehouse).audit().clean


Tamper = Callable[[Shop, str, Random], None]
IN_WAREHOUSE: dict[str, Tamper] = {
    "an event dropped": lambda shop, event_id, random: shop.change_warehouse(
        "DELETE FROM event WHERE event_id = ?", event_id
    ),
    "an event doubled": lambda shop, event_id, random: shop.change_warehouse(
        "INSERT INTO event SELECT * FROM event WHERE event_id = ?", event_id
    ),
    "an amount changed by a nano-dollar or more": lambda shop, event_id, random: (
        shop.change_warehouse(
            "UPDATE event SET cost_nano = cost_nano + ? WHERE event_id = ?",
            random.choice([-1, 1, 1_000_000]),
            event_id,
        )
    ),
    "an event moved to another day": lambda shop, event_id, random: shop.change_warehouse(
        "UPDATE event SET ended_ms = ended_ms + ? WHERE event_id = ?",
        random.choice([-3, 3]) * DAY_MS,
        event_id,
    ),
    "an event made a refusal": lambda shop, event_id, random: shop.change_warehouse(
        "UPDATE event SET kind = 'refusal' WHERE event_id = ?", event_id
    ),
    "an event renamed": lambda shop, event_id, random: shop.change_warehouse(
        "UPDATE event SET event_id = 'stranger' WHERE event_id = ?", event_id
    ),
    "an entry dropped": lambda shop, event_id, random: shop.change_ledger(
        "DELETE FROM entry WHERE event_id = ?", event_id
    ),
    "an entry changed by a nano-dollar": lambda shop, event_id, random: shop.change_ledger(
        "UPDATE entry SET posted_nano = posted_nano + 1 WHERE event_id = ?", event_id
    ),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tampering", IN_WAREHOUSE)
def test_one_change_to_one_event_is_found_and_named(shop: Shop, tampering: str, seed: int) -> None:
    random = Random(f"{tampering}{seed}")
    rows = shop.warehouse.query(
        "SELECT event_id FROM event WHERE kind <> 'refusal' ORDER BY event_id LIMIT 60"
    )
    event_id = random.choice(rows)["event_id"]
    IN_WAREHOUSE[tampering](shop, event_id, random)
    report = shop.audit()
    assert not report.clean
    assert event_id in {difference.event_id for difference in report.differences}
    assert "NOT CLEAN" in report.to_text()
    assert event_id in report.to_text()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tampering", ["dropped", "doubled", "changed", "broken"])
def test_one_change_to_the_outbox_is_found_and_named(shop: Shop, tampering: str, seed: int) -> None:
    with open_books(shop.ledger) as books:
        waiting = [row for row in books.outbox() if b'"kind":"refusal"' not in row.payload]
    place = Random(f"{tampering}{seed}").randrange(10, len(waiting))
    row = waiting[place]
    changed = orjson.loads(row.payload)
    changed["cost_nano"] += 1
    sql, params = {
        "dropped": ("DELETE FROM outbox WHERE seq = ?", ()),
        "doubled": (
            "INSERT INTO outbox(event_id, payload) SELECT event_id, payload FROM outbox "
            "WHERE seq = ?",
            (),
        ),
        "changed": ("UPDATE outbox SET payload = ? WHERE seq = ?", (orjson.dumps(changed),)),
        "broken": ("UPDATE outbox SET payload = ? WHERE seq = ?", (row.payload[:-2],)),
    }[tampering]
    shop.change_ledger(sql, *params, row.seq)
    report = shop.audit()
    assert not report.clean
    assert row.event_id in {difference.event_id for difference in report.differences}


def test_changes_that_cancel_out_within_a_day_need_the_comparison_of_every_entry(
    shop: Shop,
) -> None:
    sql = "UPDATE event SET cost_nano = cost_nano + ? WHERE event_id = ?"
    shop.change_warehouse(sql, 5, "event-000001")
    shop.change_warehouse(sql, -5, "event-000002")
    assert shop.audit(every_entry=False).clean
    report = shop.audit()
    named = {difference.event_id: difference.kind for difference in report.differences}
    assert named == {"event-000001": "amount", "event-000002": "amount"}


def test_a_row_in_quarantine_is_never_clean(shop: Shop) -> None:
    with sqlite3.connect(shop.ledger) as connection:
        connection.execute("INSERT INTO outbox(event_id, payload) VALUES ('odd', x'7b')")
        [seq] = connection.execute("SELECT max(seq) FROM outbox").fetchone()
        connection.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
    connection.close()
    shop.warehouse.insert_batch("ledger", [(seq, b"{")])
    report = shop.audit()
    assert [difference.kind for difference in report.differences] == ["quarantined"]
    assert f"outbox row {seq}" in report.to_text()


def test_an_account_that_contradicts_its_entries_is_a_fault(shop: Shop) -> None:
    with sqlite3.connect(shop.ledger) as connection:
        connection.execute("UPDATE account SET posted_nano = posted_nano + 1")
    connection.close()
    report = shop.audit()
    assert not report.clean
    assert len(report.faults) == 1
    assert "ledger fault" in report.to_text()


def test_a_long_list_of_differences_is_cut_and_counted(shop: Shop) -> None:
    shop.warehouse.query("DELETE FROM event")
    report = shop.audit()
    assert len(report.differences) == MAX_SHOWN < report.difference_count
    assert f"and {report.difference_count - MAX_SHOWN} more" in report.to_text()
    assert orjson.loads(orjson.dumps(report.to_dict()))["clean"] is False
