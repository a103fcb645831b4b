"""The ledger in plain dictionaries: what the rules say, and nothing besides.

It is the measure that the other stores are held to, and the ledger of a gateway that keeps no
files: everything in it is gone when the process ends.
"""

import threading
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from budgets.ledger import (
    Account,
    Closing,
    Hold,
    HoldState,
    LedgerError,
    Move,
    Refusal,
    Reservation,
    Settlement,
    admit,
    apply,
    close,
    correct,
    dispatched,
    open_hold,
    repeated_hold,
)
from budgets.port import EntryTotal, EventShaper, OutboxEvent, OutboxRow


@dataclass(frozen=True, slots=True)
class Entry:
    """The ending of a hold, or the correction of one, with the accounts it was posted to."""

    settlement: Settlement
    accounts: tuple[str, ...]
    event_id: str | None
    ended_ms: int


class InMemoryLedger:
    """`LedgerStore` and `LedgerBooks` in memory; use it from one event loop.

    No method gives way in between, so each is one step. Only `outbox_after` is for other threads.
    """

    def __init__(self, shaper: EventShaper) -> None:
        self._shaper = shaper
        self._accounts: dict[str, Account] = {}
        self._holds: dict[str, Hold] = {}
        self._drafts: dict[str, bytes] = {}
        self._entries: dict[tuple[str, bool], Entry] = {}
        self._outbox: list[OutboxRow] = []
        self._last_seq = 0
        self._outbox_lock = threading.Lock()

    # -- LedgerStore ------------------------------------------------------------------------

    async def survey(self, accounts: Sequence[str]) -> Mapping[str, Account]:
        return {name: self._accounts[name] for name in accounts if name in self._accounts}

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        hold = open_hold(reservation)
        first = self._holds.get(hold.hold_id)
        if first is not None:
            return repeated_hold(first, reservation)
        if (hold.hold_id, False) in self._entries:
            raise LedgerError(f"hold {hold.hold_id} has ended before")
        refusal = admit(self._accounts, reservation)
        if refusal is not None:
            return refusal
        self._post(hold.accounts, Closing(hold.state, 0, hold.amount_nano, 0))
        self._holds[hold.hold_id] = hold
        return hold

    def _post(self, accounts: Sequence[str], closing: Closing) -> None:
        after = {
            account: apply(self._accounts.get(account, Account()), closing) for account in accounts
        }
        self._accounts.update(after)

    async def dispatch(self, hold: Hold, draft: bytes) -> Hold:
        after = dispatched(hold)
        stored = self._holds.get(hold.hold_id)
        if stored is None or stored.state is not HoldState.HELD:
            raise LedgerError(f"hold {hold.hold_id} is not there to dispatch")
        self._holds[hold.hold_id] = after
        self._drafts[hold.hold_id] = draft
        return after

    async def settle(self, hold: Hold, cost_nano: int, event: OutboxEvent) -> Settlement:
        closing = close(hold, Move.SETTLE, cost_nano)
        stored = self._holds.get(hold.hold_id)
        if stored is None:
            return self._settle_late(hold, cost_nano, event)
        named = (hold.state, hold.amount_nano, hold.accounts)
        if (stored.state, stored.amount_nano, stored.accounts) != named:
            raise LedgerError(f"hold {hold.hold_id} is unknown or was never dispatched")
        return self._end(stored, closing, event, event.ended_ms)

    def _settle_late(self, hold: Hold, cost_nano: int, event: OutboxEvent) -> Settlement:
        entry = self._entries.get((hold.hold_id, False))
        if entry is None or entry.accounts != hold.accounts:
            raise LedgerError(f"hold {hold.hold_id} is unknown or was never dispatched")
        first = entry.settlement
        if first.state not in (HoldState.EXPIRED_CHARGED, HoldState.EXPIRED_FREED):
            return replace(first, repeated=True)
        again = self._entries.get((hold.hold_id, True))
        if again is not None:
            return replace(again.settlement, repeated=True)
        correction = correct(first, cost_nano)
        delta = correction.posted_nano
        shaped = self._shaper.correction(event, delta)
        self._post(hold.accounts, Closing(first.state, delta, 0, correction.overrun_nano))
        self._write_entry(correction, hold.accounts, shaped, shaped.ended_ms)
        return correction

    async def release(self, hold: Hold, event: OutboxEvent | None) -> Settlement:
        stored = self._holds.get(hold.hold_id)
        if stored is None:
            entry = self._entries.get((hold.hold_id, False))
            if entry is None:
                raise LedgerError(f"hold {hold.hold_id} is unknown")
            return replace(entry.settlement, repeated=True)
        ended_ms = stored.admitted_ms if event is None else event.ended_ms
        return self._end(stored, close(stored, Move.RELEASE), event, ended_ms)

    def _end(
        self, hold: Hold, closing: Closing, event: OutboxEvent | None, ended_ms: int
    ) -> Settlement:
        settlement = Settlement(
            hold.hold_id, closing.state, closing.posted_nano, closing.overrun_nano
        )
        self._post(hold.accounts, closing)
        del self._holds[hold.hold_id]
        self._drafts.pop(hold.hold_id, None)
        self._write_entry(settlement, hold.accounts, event, ended_ms)
        return settlement

    def _write_entry(
        self,
        settlement: Settlement,
        accounts: tuple[str, ...],
        event: OutboxEvent | None,
        ended_ms: int,
    ) -> None:
        event_id = None if event is None else event.event_id
        key = (settlement.hold_id, settlement.correction)
        self._entries[key] = Entry(settlement, accounts, event_id, ended_ms)
        if event is not None:
            self._append(event)

    def _append(self, event: OutboxEvent) -> None:
        with self._outbox_lock:
            self._last_seq += 1
            self._outbox.append(OutboxRow(self._last_seq, event.event_id, event.payload))

    async def record(self, event: OutboxEvent) -> None:
        self._append(event)

    async def expire(self, now_ms: int) -> Sequence[Settlement]:
        due = [hold for hold in self._holds.values() if hold.lease_until_ms <= now_ms]
        due.sort(key=lambda hold: (hold.lease_until_ms, hold.hold_id))
        ended = []
        for hold in due:
            closing = close(hold, Move.EXPIRE)
            event = None
            if hold.state is HoldState.DISPATCHED:
                draft = self._drafts[hold.hold_id]
                event = self._shaper.assumed(draft, hold.amount_nano, now_ms)
            ended.append(self._end(hold, closing, event, now_ms))
        return ended

    def outbox_after(self, seq: int, limit: int) -> Sequence[OutboxRow]:
        with self._outbox_lock:
            start = bisect_right(self._outbox, seq, key=lambda row: row.seq)
            return self._outbox[start : start + limit]

    async def trim_outbox(self, up_to_seq: int) -> None:
        with self._outbox_lock:
            end = bisect_right(self._outbox, up_to_seq, key=lambda row: row.seq)
            del self._outbox[:end]

    def close(self) -> None:
        """Nothing to do: there are no files."""

    # -- LedgerBooks ------------------------------------------------------------------------

    def totals_by_day(self) -> Iterable[EntryTotal]:
        by_day: dict[str, list[int]] = {}
        for entry in self._entries.values():
            if entry.event_id is not None:
                by_day.setdefault(_day(entry), []).append(entry.settlement.posted_nano)
        return [EntryTotal(day, len(posted), sum(posted)) for day, posted in sorted(by_day.items())]

    def entries_of_day(self, day: str) -> Mapping[str, int]:
        return {
            entry.event_id: entry.settlement.posted_nano
            for entry in self._entries.values()
            if entry.event_id is not None and _day(entry) == day
        }

    def outbox(self) -> Iterable[OutboxRow]:
        with self._outbox_lock:
            return list(self._outbox)

    def faults(self) -> Sequence[str]:
        expected: dict[str, Account] = {}
        moves = [
            (entry.accounts, (entry.settlement.posted_nano, 0, entry.settlement.overrun_nano))
            for entry in self._entries.values()
        ]
        moves += [(hold.accounts, (0, hold.amount_nano, 0)) for hold in self._holds.values()]
        for accounts, (posted, held, overrun) in moves:
            for name in accounts:
                was = expected.get(name, Account())
                expected[name] = Account(
                    was.posted_nano + posted, was.held_nano + held, was.overrun_nano + overrun
                )
        names = sorted(expected.keys() | self._accounts.keys())
        return [
            f"account {name}: is {self._accounts.get(name)} but entries and open holds "
            f"say {expected.get(name)}"
            for name in names
            if self._accounts.get(name) != expected.get(name)
        ]


def _day(entry: Entry) -> str:
    return datetime.fromtimestamp(entry.ended_ms / 1000, UTC).strftime("%Y-%m-%d")
