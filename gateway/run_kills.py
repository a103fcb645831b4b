"""Ends a run for good: a marker in the ledger that every gateway heeds, and its event."""

import logging

import orjson

from budgets.kills import Kill, marker
from budgets.ledger import Bill, Refusal, Reservation
from budgets.port import LedgerStore
from budgets.scopes import FULL_PERMILLE
from gateway.records import end_event
from telemetry.event import Ending, EventKind, TelemetryEvent

LOG = logging.getLogger("weir.kills")
KILL_PREFIX = "kill-"
STATUS, CODE = 402, "run_killed"


def kill_event(event: TelemetryEvent, kill: Kill) -> TelemetryEvent:
    """The event of a kill, made of that of the request that led to it; it costs nothing."""
    share = kill.permille / FULL_PERMILLE
    evidence = {"run": kill.run, "budget": kill.budget, "kill_at": share}
    event.event_id = f"{KILL_PREFIX}{event.request_id}"
    event.kind = EventKind.RUN_KILLED
    event.run_id = kill.run.partition("/")[2]
    event.reason = f"budget {kill.budget} ends runs at {share * 100:g} % of its limit"
    event.decision_json = orjson.dumps({"killed": evidence}).decode()
    end_event(event, Ending.KILLED, STATUS, CODE)
    return event


async def mark_killed(
    ledger: LedgerStore, kill: Kill, event: TelemetryEvent, lease_ms: int
) -> None:
    """Write the marker and its event, once: another request of the run may have been first.

    The gates of the run are shut from the reservation on. No money moves.
    """
    reservation = Reservation(
        hold_id=event.event_id,
        amount_nano=0,
        charges=(marker(kill),),
        now_ms=event.admitted_ms,
        lease_ms=lease_ms,
    )
    hold = await ledger.reserve(reservation)
    if isinstance(hold, Refusal):
        return
    hold = await ledger.dispatch(hold, event.to_json())
    await ledger.settle(hold, 0, event.to_outbox(), Bill(posted=(1,)))
    LOG.warning("run %s was killed: %s", kill.run, event.reason)
