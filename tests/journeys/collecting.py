"""A process that spends and collects until it is killed: `python -m tests.journeys.collecting`.

Arguments: a data directory, and the number of its first event. Each settled request is told on
standard output as event id and nano-USD, after the ledger has promised it.
"""

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from budgets.stores.in_sqlite import SqliteLedger
from telemetry.collector import Collector
from telemetry.warehouse import Warehouse
from tests.unit.telemetry.events import make_event
from tests.unit.telemetry.ledgers import SHAPER, settle

SPENDERS = 8


class Trimmer:
    """Trims the outbox on the ledger's loop, whichever thread asks."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, seq: int) -> None:
        self._loop.call_soon_threadsafe(self._start, seq)

    def _start(self, seq: int) -> None:
        task = self._loop.create_task(self._ledger.trim_outbox(seq))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        await asyncio.sleep(0)  # lets what was asked from a thread become a task
        await asyncio.gather(*self._tasks)


async def spend_forever(data: Path, first: int) -> None:
    ledger = SqliteLedger(data / "ledger.sqlite3", SHAPER)
    warehouse = Warehouse.open(data / "weir.duckdb")
    collector = Collector(
        ledger.outbox_after, warehouse, Trimmer(ledger), batch_rows=50, batch_ms=10
    )
    collector.start()
    numbers = count(first)

    async def spend() -> None:
        while True:
            event = make_event(next(numbers))
            await settle(ledger, event)
            os.write(1, f"{event.event_id} {event.cost_nano}\n".encode())

    await asyncio.gather(*(spend() for _ in range(SPENDERS)))


if __name__ == "__main__":
    asyncio.run(spend_forever(Path(sys.argv[1]), int(sys.argv[2])))
