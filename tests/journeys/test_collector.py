"""From the ledger's outbox into DuckDB: exactly once, through restarts and `kill -9`."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

from budgets.stores.in_sqlite import SqliteLedger
from budgets.stores.sqlite_books import open_books
from telemetry.audit import AuditReport, audit
from telemetry.collector import Collector
from telemetry.event import EventKind
from telemetry.warehouse import Warehouse
from tests.journeys.collecting import Trimmer
from tests.unit.telemetry.events import make_event
from tests.unit.telemetry.ledgers import SHAPER, dispatch, settle

ROOT = Path(__file__).resolve().parents[2]
KILLS = 10
FAR_FUTURE_MS = 4_102_444_800_000  # the year 2100


def audited(collector: Collector, warehouse: Warehouse, ledger_path: Path) -> AuditReport:
    with collector.paused(), open_books(ledger_path) as books:
        return audit(books, warehouse)


async def spend_beside_the_collector(data: Path) -> None:
    ledger = SqliteLedger(data / "ledger.sqlite3", SHAPER)
    trim = Trimmer(ledger)
    with Warehouse.open(data / "weir.duckdb") as warehouse:
        collector = Collector(ledger.outbox_after, warehouse, trim, batch_rows=100, batch_ms=10)
        collector.start()
        for first in range(0, 2_000, 200):
            events = [make_event(number) for number in range(first, first + 200)]
            for event in events[::20]:
                event.kind, event.cost_nano = EventKind.REFUSAL, 0
            await asyncio.gather(*(settle(ledger, event) for event in events))
            report = await asyncio.to_thread(audited, collector, warehouse, data / "ledger.sqlite3")
            assert report.clean, report.to_text()
        abandoned = make_event(2_000)
        hold = await dispatch(ledger, abandoned)
        await ledger.expire(FAR_FUTURE_MS)
        await ledger.settle(hold, abandoned.cost_nano, abandoned.to_outbox())

        assert await asyncio.to_thread(collector.flush, 30.0)
        await trim.finish()
        assert ledger.outbox_after(0, 1) == []
        report = await asyncio.to_thread(audited, collector, warehouse, data / "ledger.sqlite3")
        assert report.clean, report.to_text()
        assert (report.entries, report.outbox_nano) == (1_902, 0)
        assert await asyncio.to_thread(collector.stop)
    ledger.close()


def test_the_books_agree_at_every_pause_while_money_is_spent(tmp_path: Path) -> None:
    asyncio.run(spend_beside_the_collector(tmp_path))


def spend_until_killed(data: Path, first: int, acknowledged: int) -> dict[str, int]:
    """Run a process that spends, kill it after so many promises, and give all it promised."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.journeys.collecting", str(data), str(first)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    lines = []
    for line in child.stdout:
        lines.append(line)
        if len(lines) == acknowledged:
            os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "the process ended by itself"
    promised = [line.split() for line in lines if line.endswith("\n")]
    return {event_id: int(cost_nano) for event_id, cost_nano in promised}


async def recover(data: Path) -> dict[str, int]:
    """Start on what the killed left behind; give every stored request at its cost."""
    ledger = SqliteLedger(data / "ledger.sqlite3", SHAPER)
    await ledger.abandon_leases()
    while await ledger.expire(FAR_FUTURE_MS):
        pass
    trim = Trimmer(ledger)
    with Warehouse.open(data / "weir.duckdb") as warehouse:
        collector = Collector(ledger.outbox_after, warehouse, trim)
        assert await asyncio.to_thread(collector.flush, 60.0), collector.state.last_error
        await trim.finish()
        report = audited(collector, warehouse, data / "ledger.sqlite3")
        assert report.clean, report.to_text()
        assert report.outbox_nano == 0
        rows = warehouse.query("SELECT event_id, cost_nano FROM event WHERE kind = 'request'")
    ledger.close()
    stored = {row["event_id"]: row["cost_nano"] for row in rows}
    assert len(stored) == len(rows)
    return stored


def test_ten_kills_lose_nothing_that_was_promised_and_double_nothing(tmp_path: Path) -> None:
    random = Random(10)
    promised: dict[str, int] = {}
    for kill in range(KILLS):
        promised |= spend_until_killed(tmp_path, kill * 100_000, random.randrange(200, 1_500))
        if kill % 3 == 2:
            stored = asyncio.run(recover(tmp_path))
            assert promised.items() <= stored.items()
    stored = asyncio.run(recover(tmp_path))
    assert promised.items() <= stored.items()
    assert len(promised) >= KILLS * 200
