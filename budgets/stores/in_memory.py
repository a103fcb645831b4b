"""The ledger in plain dictionaries: what the rules say, and nothing besides.

It is the measure that the other stores are held to, and the ledger of a gateway that keeps no
files: everything in it is gone when the process ends.
"""

import threading
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from budgets.ledger import (
    NOTHING,
    PLAIN,
    Account,
    Bill,
    Hold,
    Refusal,
    Reservation,
    Settlement,
    joined,
)
from budgets.openings import PartySpend
from budgets.port import EntryTotal, EventShaper, OutboxEvent, OutboxRow
from budgets.stores.engine import Entry, LedgerEngine, opening_prefix


class MemoryShelf:
    """`Shelf` in dictionaries."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.holds: dict[str, Hold] = {}
        self.entries: dict[tuple[str, bool], Entry] = {}
        self.outbox: list[OutboxRow] = []
        self.outbox_lock = threading.Lock()
        self._drafts: dict[str, bytes] = {}
        self._last_seq = 0

    def account(self, name: str) -> Account | None:
        return self.accounts.get(name)

    def put_account(self, name: str, account: Account) -> None:
        self.accounts[name] = account

    def hold(self, hold_id: str) -> Hold | None:
        return self.holds.get(hold_id)

    def put_hold(self, hold: Hold, draft: bytes | None) -> None:
        self.holds[hold.hold_id] = hold
        if draft is not None:
            self._drafts[hold.hold_id] = draft

    def drop_hold(self, hold_id: str) -> None:
        del self.holds[hold_id]
        self._drafts.pop(hold_id, None)

    def draft(self, hold_id: str) -> bytes:
        return self._drafts[hold_id]

    def due(self, now_ms: int, limit: int) -> Sequence[Hold]:
        due = [hold for hold in self.holds.values() if hold.lease_until_ms <= now_ms]
        due.sort(key=lambda hold: (hold.lease_until_ms, hold.hold_id))
        return due[:limit]

    def entry(self, hold_id: str, *, correction: bool) -> Entry | None:
        return self.entries.get((hold_id, correction))

    def add_entry(self, entry: Entry) -> None:
        self.entries[(entry.settlement.hold_id, entry.settlement.correction)] = entry

    def opened(self, account: str) -> tuple[int, int]:
        prefix = opening_prefix(account)
        found = [
            entry.settlement.posted_nano
            for (hold_id, _), entry in self.entries.items()
            if hold_id.startswith(prefix)
        ]
        return len(found), sum(found)

    def add_event(self, event: OutboxEvent) -> None:
        with self.outbox_lock:
            self._last_seq += 1
            self.outbox.append(OutboxRow(self._last_seq, event.event_id, event.payload))


class InMemoryLedger:
    """`LedgerStore` and `LedgerBooks` in memory; use it from one event loop.

    No method gives way in between, so each is one step. Only `outbox_after` is for other threads.
    """

    as_of = ""  # one gateway alone has no older totals

    def __init__(self, shaper: EventShaper) -> None:
        self._shelf = MemoryShelf()
        self._engine = LedgerEngine(self._shelf, shaper)
        self._counting: Collection[str] = frozenset()

    # -- LedgerStore ------------------------------------------------------------------------

    async def survey(self, accounts: Sequence[str]) -> Mapping[str, Account]:
        return self._engine.survey(accounts)

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        return self._engine.reserve(reservation)

    async def extend(self, hold: Hold, reservation: Reservation) -> Hold | Refusal:
        return self._engine.extend(hold, reservation)

    async def dispatch(self, hold: Hold, draft: bytes) -> Hold:
        return self._engine.dispatch(hold, draft)

    async def settle(
        self, hold: Hold, cost_nano: int, event: OutboxEvent, bill: Bill = PLAIN
    ) -> Settlement:
        return self._engine.settle(hold, cost_nano, event, bill)

    async def release(self, hold: Hold, event: OutboxEvent | None) -> Settlement:
        return self._engine.release(hold, event)

    @property
    def life(self) -> str:
        return ""

    def recall(self, hold_id: str, life: str) -> None:
        """It has one life."""

    async def record(self, event: OutboxEvent) -> None:
        self._engine.record(event)

    async def expire(self, now_ms: int) -> Sequence[Settlement]:
        return self._engine.expire(now_ms, len(self._shelf.holds))

    async def carry_over(self, totals: Mapping[str, int], now_ms: int, as_of: str = "") -> None:
        self._engine.carry_over(totals, now_ms)

    async def counting(self) -> Collection[str]:
        return self._counting

    async def note_counting(self, names: Collection[str]) -> None:
        self._counting = frozenset(names)

    async def oldest_hold_ms(self) -> int | None:
        return min((hold.admitted_ms for hold in self._shelf.holds.values()), default=None)

    def outbox_after(self, seq: int, limit: int) -> Sequence[OutboxRow]:
        with self._shelf.outbox_lock:
            start = bisect_right(self._shelf.outbox, seq, key=lambda row: row.seq)
            return self._shelf.outbox[start : start + limit]

    async def trim_outbox(self, up_to_seq: int) -> None:
        with self._shelf.outbox_lock:
            end = bisect_right(self._shelf.outbox, up_to_seq, key=lambda row: row.seq)
            del self._shelf.outbox[:end]

    def close(self) -> None:
        """Nothing to do: there are no files."""

    # -- LedgerBooks ------------------------------------------------------------------------

    def totals_by_day(self) -> Iterable[EntryTotal]:
        by_day: dict[str, list[int]] = {}
        for entry in self._shelf.entries.values():
            if entry.event_id is not None:
                by_day.setdefault(_day(entry), []).append(entry.settlement.posted_nano)
        return [EntryTotal(day, len(posted), sum(posted)) for day, posted in sorted(by_day.items())]

    def entries_of_day(self, day: str) -> Mapping[str, int]:
        return {
            entry.event_id: entry.settlement.posted_nano
            for entry in self._shelf.entries.values()
            if entry.event_id is not None and _day(entry) == day
        }

    def spent_by_party(self, since_ms: int, bucket_s: int | None) -> Iterable[PartySpend]:
        return [
            PartySpend(
                entry.scopes,
                entry.accounts,
                _bucket_start_s(entry.admitted_ms, bucket_s),
                entry.settlement.posted_nano,
                entry.tokens,
                entry.requests,
            )
            for entry in self._shelf.entries.values()
            if entry.scopes is not None and entry.admitted_ms >= since_ms
        ]

    def outbox(self) -> Iterable[OutboxRow]:
        with self._shelf.outbox_lock:
            return list(self._shelf.outbox)

    def faults(self) -> Sequence[str]:
        expected: dict[str, Account] = {}
        moves = [
            (name, Account(posted, 0, overrun))
            for entry in self._shelf.entries.values()
            for name, posted, overrun in entry.amounts()
        ]
        moves += [
            (name, Account(0, amount, 0))
            for hold in self._shelf.holds.values()
            for name, amount in zip(hold.accounts, hold.on_each(), strict=True)
        ]
        for name, took in moves:
            expected[name] = joined(expected.get(name, NOTHING), took)
        names = sorted(expected.keys() | self._shelf.accounts.keys())
        return [
            f"account {name}: is {self._shelf.accounts.get(name)} but entries and open holds "
            f"say {expected.get(name)}"
            for name in names
            if self._shelf.accounts.get(name) != expected.get(name)
        ]


def _bucket_start_s(moment_ms: int, bucket_s: int | None) -> int:
    moment_s = moment_ms // 1_000
    return 0 if bucket_s is None else moment_s - moment_s % bucket_s


def _day(entry: Entry) -> str:
    return datetime.fromtimestamp(entry.ended_ms / 1000, UTC).strftime("%Y-%m-%d")
