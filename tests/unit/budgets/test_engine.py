"""A move either happens or writes nothing: an error comes before the first change.

What the moves do to money is in `tests/contracts/`, for every store.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from budgets.ledger import Account, Hold, HoldState, LedgerError, Refusal
from budgets.port import OutboxEvent
from budgets.stores.engine import Entry, LedgerEngine
from budgets.stores.in_memory import MemoryShelf
from tests.contracts.ledger_backends import NOON_MS, charge, event, reservation, shaper


class WatchedShelf(MemoryShelf):
    """The shelf of the memory store, counting what is put on it or taken off."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def put_account(self, name: str, account: Account) -> None:
        self.writes += 1
        super().put_account(name, account)

    def put_hold(self, hold: Hold, draft: bytes | None) -> None:
        self.writes += 1
        super().put_hold(hold, draft)

    def drop_hold(self, hold_id: str) -> None:
        self.writes += 1
        super().drop_hold(hold_id)

    def add_entry(self, entry: Entry) -> None:
        self.writes += 1
        super().add_entry(entry)

    def add_event(self, event: OutboxEvent) -> None:
        self.writes += 1
        super().add_event(event)


def sent_hold(engine: LedgerEngine, hold_id: str, amount_nano: int = 70) -> Hold:
    hold = engine.reserve(reservation(hold_id, amount_nano, charge("key:k", 100)))
    assert isinstance(hold, Hold)
    return engine.dispatch(hold, hold_id.encode())


REFUSED: dict[str, Callable[[LedgerEngine, Hold], object]] = {
    "reserve above the limit": lambda engine, _: engine.reserve(
        reservation("h2", 31, charge("org:o"), charge("key:k", 100))
    ),
    "reserve less than nothing": lambda engine, _: engine.reserve(reservation("h2", -1)),
    "reserve again with other terms": lambda engine, _: engine.reserve(reservation("h1", 1)),
    "dispatch twice": lambda engine, hold: engine.dispatch(
        replace(hold, state=HoldState.HELD), b""
    ),
    "settle for less than nothing": lambda engine, hold: engine.settle(hold, -1, event("e")),
    "settle what was not sent": lambda engine, hold: engine.settle(
        replace(hold, state=HoldState.HELD), 5, event("e")
    ),
    "settle another's hold": lambda engine, hold: engine.settle(
        replace(hold, accounts=("org:o",)), 5, event("e")
    ),
    "settle a stranger": lambda engine, hold: engine.settle(
        replace(hold, hold_id="x"), 5, event("e")
    ),
    "release a stranger": lambda engine, hold: engine.release(replace(hold, hold_id="x"), None),
}


@pytest.mark.parametrize("move", REFUSED.values(), ids=REFUSED.keys())
def test_a_move_that_is_refused_writes_nothing(
    move: Callable[[LedgerEngine, Hold], object],
) -> None:
    shelf = WatchedShelf()
    engine = LedgerEngine(shelf, shaper())
    hold = sent_hold(engine, "h1")
    before = shelf.writes
    with suppress(LedgerError):
        assert isinstance(move(engine, hold), Refusal)
    assert shelf.writes == before
    assert engine.survey(["key:k"]) == {"key:k": Account(0, 70, 0)}


def test_a_repeat_writes_nothing() -> None:
    shelf = WatchedShelf()
    engine = LedgerEngine(shelf, shaper())
    hold = sent_hold(engine, "h1")
    engine.settle(hold, 50, event("e1"))
    before = shelf.writes
    assert engine.settle(hold, 60, event("e2")).repeated
    assert engine.release(hold, event("e3")).repeated
    assert shelf.writes == before


def test_one_sweep_ends_as_many_leases_as_it_may_the_oldest_first() -> None:
    engine = LedgerEngine(MemoryShelf(), shaper())
    for number in (3, 1, 2):
        engine.reserve(reservation(f"h{number}", 1, now_ms=NOON_MS + number))
    late_ms = NOON_MS + 10_000_000
    assert [ended.hold_id for ended in engine.expire(late_ms, 2)] == ["h1", "h2"]
    assert [ended.hold_id for ended in engine.expire(late_ms, 2)] == ["h3"]
    assert engine.expire(late_ms, 2) == []
