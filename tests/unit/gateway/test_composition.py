"""What runs beside the requests of a gateway: trimming, sweeping, and time limits."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from budgets.ledger import Hold, HoldState, LedgerError, Reservation
from budgets.port import OutboxRow
from budgets.stores.in_memory import InMemoryLedger
from gateway import composition
from gateway.composition import Trimmer, query_of, sweep, timeouts_of, watched_outbox
from gateway.ledger_watch import LedgerWatch
from gateway.tally import LedgerOutcome, Tally
from telemetry.warehouse import Warehouse
from tests.unit.gateway.desks import SHAPER, run
from tests.unit.gateway.gateways import settings_in
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


def test_a_hold_whose_lease_ran_out_is_ended_while_the_gateway_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(composition, "SWEEP_S", 0.01)

    class FailsFirst(InMemoryLedger):
        failed = False

        async def expire(self, now_ms: int) -> list[object]:  # type: ignore[override]
            if not self.failed:
                self.failed = True
                raise LedgerError("not now")
            return list(await super().expire(now_ms))

    async def wait() -> None:
        ledger = FailsFirst(SHAPER)
        held = await ledger.reserve(Reservation("req_a", 5, (), 0, 1))
        assert isinstance(held, Hold)
        tally = Tally()
        watch = LedgerWatch(ledger, tally)
        task = asyncio.get_running_loop().create_task(sweep(ledger, tally, watch))
        async with asyncio.timeout(5):
            while await ledger.oldest_hold_ms() is not None:
                await asyncio.sleep(0.01)
        task.cancel()
        assert tally.expired == {HoldState.EXPIRED_FREED: 1}
        assert tally.ledger_errors == {(LedgerOutcome.RETRIED, "failed"): 1}

    run(wait())


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


def test_a_provider_has_the_gateways_own_limit_where_that_is_tighter(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    section = settings.providers["here"]
    tight = settings.server.model_copy(update={"request_timeout_s": 1.0})
    assert timeouts_of(section, tight).total_s == 1.0
    own = section.timeouts.to_port().total_s
    loose = settings.server.model_copy(update={"request_timeout_s": own + 1})
    assert timeouts_of(section, loose).total_s == own
