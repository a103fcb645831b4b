"""What a process that collects has beside its requests: trimming and queries."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from budgets.ledger import LedgerError
from budgets.port import OutboxRow
from budgets.stores.in_memory import InMemoryLedger
from gateway.composition import Trimmer, query_of, watched_outbox
from gateway.ledger_watch import LedgerWatch
from gateway.tally import LedgerOutcome, Tally
from telemetry.warehouse import Warehouse
from tests.unit.gateway.desks import SHAPER, run
from tests.unit.gateway.test_records import begun


def test_the_outbox_is_trimmed_from_another_thread_before_the_gateway_ends() -> None:
    async def trim() -> None:
        ledger = InMemoryLedger(SHAPER)
        for number in range(3):
            await ledger.record(replace(begun().to_outbox(), event_id=f"event-{number}"))
        trimmer = Trimmer(ledger, LedgerWatch(ledger, Tally()))
        [first, *_] = ledger.outbox_after(0, 1)
        await asyncio.to_thread(trimmer.trim, first.seq)
        await trimmer.finish()
        assert [row.event_id for row in ledger.outbox_after(0, 9)] == ["event-1", "event-2"]

    run(trim())


def test_an_outbox_that_cannot_be_read_is_counted_from_any_thread() -> None:
    def broken(seq: int, limit: int) -> list[OutboxRow]:
        raise LedgerError("not now")

    async def read() -> None:
        tally = Tally()
        outbox = watched_outbox(broken, LedgerWatch(InMemoryLedger(SHAPER), tally))
        with pytest.raises(LedgerError):
            await asyncio.to_thread(outbox, 0, 1)
        await asyncio.sleep(0)
        assert tally.ledger_errors == {(LedgerOutcome.RETRIED, "failed"): 1}

    run(read())


def test_a_named_query_of_the_warehouse_is_answered(tmp_path: Path) -> None:
    with Warehouse.open(tmp_path / "weir.duckdb") as warehouse:
        rows = run(query_of(warehouse)("request_one", {"request_id": "req_none"}))
    assert rows == []
