"""A real SQLite ledger with requests settled in it, as the gateway would leave it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from budgets.budget_book import BudgetBook
from budgets.ledger import Hold, Reservation
from budgets.port import EventShaper
from budgets.scopes import Scopes
from budgets.stores.in_sqlite import SqliteLedger
from telemetry.event import EventKind, TelemetryEvent, assumed_event, correction_event

SHAPER = EventShaper(assumed_event, correction_event)


async def settle(ledger: SqliteLedger, event: TelemetryEvent) -> None:
    """Take one event's request through the ledger, from its reservation to its entry."""
    if event.kind is EventKind.REFUSAL:
        await ledger.record(event.to_outbox())
        return
    hold = await dispatch(ledger, event)
    await ledger.settle(hold, event.cost_nano, event.to_outbox())


async def dispatch(ledger: SqliteLedger, event: TelemetryEvent, lease_ms: int = 60_000) -> Hold:
    """Reserve and dispatch, and leave the hold open."""
    scopes = Scopes(event.org, event.team, event.key_id, event.workflow, event.run_id)
    charges = BudgetBook([]).charges(scopes, event.admitted_ms // 1000)
    reserved = await ledger.reserve(
        Reservation(event.request_id, event.reserved_nano, charges, event.admitted_ms, lease_ms)
    )
    assert isinstance(reserved, Hold)
    return await ledger.dispatch(reserved, event.to_json())


def write_ledger(path: Path, events: Sequence[TelemetryEvent]) -> None:
    """Settle all the events in the ledger at `path`."""

    async def write() -> None:
        ledger = SqliteLedger(path, SHAPER)
        await asyncio.gather(*(settle(ledger, event) for event in events))
        ledger.close()

    asyncio.run(write())
