"""The collector beside an outbox that can be looked into, on a real DuckDB file."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from budgets.port import OutboxRow
from telemetry.collector import Collector
from telemetry.event import TelemetryEvent
from telemetry.warehouse import Warehouse
from tests.unit.telemetry.events import make_event


class Outbox:
    """The part of the ledger that the collector reads, and a switch to make reading fail."""

    def __init__(self) -> None:
        self.rows: list[OutboxRow] = []
        self.trimmed: list[int] = []
        self.broken = False
        self._next_seq = 1

    def add(self, *events: TelemetryEvent) -> None:
        for event in events:
            self.rows.append(OutboxRow(self._next_seq, event.event_id, event.to_json()))
            self._next_seq += 1

    def after(self, seq: int, limit: int) -> Sequence[OutboxRow]:
        if self.broken:
            raise OSError("the disk is on fire")
        return [row for row in self.rows if row.seq > seq][:limit]

    def trim(self, seq: int) -> None:
        self.trimmed.append(seq)
        self.rows = [row for row in self.rows if row.seq > seq]


def collector_of(outbox: Outbox, warehouse: Warehouse, batch_rows: int = 7) -> Collector:
    return Collector(outbox.after, warehouse, outbox.trim, batch_rows=batch_rows, batch_ms=10)


def count(warehouse: Warehouse) -> int:
    return int(warehouse.query("SELECT count(DISTINCT event_id) AS n FROM event")[0]["n"])


def wait_until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    until_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < until_s, "the condition did not come true in time"
        threading.Event().wait(0.005)


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


def test_the_thread_collects_what_comes_and_trims_it(outbox: Outbox, warehouse: Warehouse) -> None:
    collector = collector_of(outbox, warehouse)
    collector.start()
    outbox.add(*map(make_event, range(30)))
    wait_until(lambda: not outbox.rows)
    assert count(warehouse) == 30
    assert collector.state.running
    assert collector.stop()
    assert not collector.state.running
    assert (collector.state.last_seq, collector.state.collected_rows) == (30, 30)


def test_a_flush_ends_with_everything_in_the_warehouse(
    outbox: Outbox, warehouse: Warehouse
) -> None:
    collector = collector_of(outbox, warehouse)
    outbox.add(*map(make_event, range(30)))
    assert collector.flush(10.0)
    assert count(warehouse) == 30
    assert outbox.trimmed == [7, 14, 21, 28, 30]
    assert collector.state.behind_ms == 0


def test_a_flush_whose_time_is_up_says_so_and_keeps_what_is_left(
    outbox: Outbox, warehouse: Warehouse
) -> None:
    collector = collector_of(outbox, warehouse)
    outbox.add(*map(make_event, range(30)))
    assert not collector.flush(0.0)
    assert count(warehouse) + len(outbox.rows) == 30
    assert collector.flush(10.0)
    assert count(warehouse) == 30


def test_stopping_collects_what_is_left(outbox: Outbox, warehouse: Warehouse) -> None:
    collector = collector_of(outbox, warehouse)
    collector.start()
    outbox.add(*map(make_event, range(100)))
    assert collector.stop()
    assert (count(warehouse), outbox.rows) == (100, [])


def test_nothing_moves_while_the_collector_is_paused(outbox: Outbox, warehouse: Warehouse) -> None:
    collector = collector_of(outbox, warehouse)
    collector.start()
    with collector.paused():
        outbox.add(*map(make_event, range(10)))
        assert not collector.flush(0.05)
        assert (count(warehouse), len(outbox.rows)) == (0, 10)
    wait_until(lambda: not outbox.rows)
    assert collector.stop()


def test_a_failure_is_told_and_outlived(outbox: Outbox, warehouse: Warehouse) -> None:
    collector = collector_of(outbox, warehouse)
    outbox.broken = True
    outbox.add(make_event(1))
    collector.start()
    wait_until(lambda: collector.state.failures_in_a_row > 0)
    assert collector.state.last_error == "the disk is on fire"
    assert collector.state.running
    wait_until(lambda: collector.state.behind_ms > 0)
    outbox.broken = False
    assert collector.flush(10.0)
    assert collector.state.failures_in_a_row == 0
    assert collector.stop()
    assert count(warehouse) == 1


def test_a_row_that_is_no_event_does_not_stop_the_others(
    outbox: Outbox, warehouse: Warehouse
) -> None:
    outbox.add(make_event(1), make_event(2))
    outbox.rows[0] = OutboxRow(1, "event-000001", b"{")
    assert collector_of(outbox, warehouse).flush(10.0)
    assert count(warehouse) == 1
    assert warehouse.query("SELECT seq FROM quarantine") == [{"seq": 1}]


def test_a_start_trims_what_the_last_life_collected_and_did_not_trim(
    outbox: Outbox, warehouse: Warehouse
) -> None:
    outbox.add(*map(make_event, range(20)))
    first = Collector(outbox.after, warehouse, lambda seq: None, batch_rows=7)
    assert first.flush(10.0)
    assert len(outbox.rows) == 20
    second = collector_of(outbox, warehouse)
    assert second.flush(10.0)
    assert (outbox.rows, count(warehouse)) == ([], 20)
    assert second.state.collected_rows == 0


def test_a_new_ledger_beside_an_old_warehouse_loses_nothing(
    outbox: Outbox, warehouse: Warehouse
) -> None:
    outbox.add(*map(make_event, range(50)))
    assert collector_of(outbox, warehouse).flush(10.0)
    fresh = Outbox()  # counts from 1 again
    fresh.add(*map(make_event, range(50, 80)))
    assert collector_of(fresh, warehouse).flush(10.0)
    assert (count(warehouse), fresh.rows) == (80, [])


def test_an_older_warehouse_is_caught_up_from_what_the_outbox_still_has(
    outbox: Outbox, tmp_path: Path
) -> None:
    outbox.add(*map(make_event, range(20)))
    kept = list(outbox.rows)
    with Warehouse.open(tmp_path / "first.duckdb") as first:
        assert collector_of(outbox, first).flush(10.0)
    outbox.rows = kept
    with Warehouse.open(tmp_path / "second.duckdb") as second:
        assert collector_of(outbox, second).flush(10.0)
        assert count(second) == 20
