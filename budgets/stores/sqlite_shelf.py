"""What the SQLite ledger knows without asking the file, and what it has yet to write to it.

Accounts and open holds are kept in memory, and the file is only told: `flush` writes everything
that changed in a turn. If that fails, or if another process has written the file since, `forget`
drops what is in memory, and the next look reads the file again.
"""

import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from budgets.ledger import Account, Hold, LedgerError
from budgets.port import OutboxEvent
from budgets.stores.engine import Entry, opening_prefix
from budgets.stores.sqlite_rows import (
    ENTRY_COLUMNS,
    HOLD_COLUMNS,
    accounts_json,
    amounts_json,
    entry_of,
    hold_of,
    parties_json,
)

MAX_ACCOUNTS = 50_000
_PUT_ACCOUNT = (
    "INSERT INTO account VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "posted_nano = excluded.posted_nano, held_nano = excluded.held_nano, "
    "overrun_nano = excluded.overrun_nano"
)
_READ_ACCOUNT = "SELECT posted_nano, held_nano, overrun_nano FROM account WHERE account = ?"
_PUT_HOLD = "INSERT OR REPLACE INTO hold VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DROP_HOLD = "DELETE FROM hold WHERE slot = ?"
_READ_HOLDS = f"SELECT slot, {HOLD_COLUMNS} FROM hold"
_END_LEASES = "UPDATE hold SET lease_until_ms = 0"
_READ_DRAFT = "SELECT draft FROM hold WHERE slot = ?"
_ADD_ENTRY = "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_READ_ENTRY = f"SELECT {ENTRY_COLUMNS} FROM entry WHERE hold_id = ? AND correction = ?"
# A number follows the prefix, and the colon sorts right behind the digits.
_READ_OPENINGS = "SELECT hold_id, posted_nano FROM entry WHERE hold_id > ? AND hold_id < ?"
_ADD_EVENT = "INSERT INTO outbox VALUES (?, ?, ?)"
_NEWEST_ENDED = "SELECT MAX(hold_id) FROM entry"
_LAST_SEQ = "SELECT MAX(seq) FROM outbox"


class SqliteShelf:
    """`Shelf` over a connection that nobody else writes through."""

    __slots__ = (
        "_absent",
        "_accounts",
        "_changed_accounts",
        "_connection",
        "_drafts",
        "_entries",
        "_events",
        "_filed_slots",
        "_gone_slots",
        "_holds",
        "_last_seq",
        "_last_slot",
        "_new_holds",
        "_newest_ended",
        "_slots",
        "_version",
    )

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._accounts: dict[str, Account] = {}
        self._absent: set[str] = set()
        self._changed_accounts: set[str] = set()
        self._holds: dict[str, Hold] = {}
        self._drafts: dict[str, bytes | None] = {}
        self._slots: dict[str, int] = {}
        self._last_slot = 0
        self._filed_slots: set[int] = set()
        self._gone_slots: set[int] = set()
        self._new_holds: set[str] = set()
        self._newest_ended = ""
        self._last_seq = 0
        self._entries: dict[tuple[str, bool], Entry] = {}
        self._events: list[OutboxEvent] = []
        self._version = -1
        self.forget()

    # -- what is there ----------------------------------------------------------------------

    def account(self, name: str) -> Account | None:
        known = self._accounts.get(name)
        if known is None and name not in self._absent:
            row = self._connection.execute(_READ_ACCOUNT, (name,)).fetchone()
            if row is None:
                self._absent.add(name)  # a rolling window asks again and again for empty buckets
                return None
            known = self._accounts[name] = Account(*row)
        return known

    def put_account(self, name: str, account: Account) -> None:
        self._accounts[name] = account
        self._absent.discard(name)
        self._changed_accounts.add(name)

    def hold(self, hold_id: str) -> Hold | None:
        return self._holds.get(hold_id)

    def put_hold(self, hold: Hold, draft: bytes | None) -> None:
        if hold.hold_id not in self._slots:
            self._last_slot += 1
            self._slots[hold.hold_id] = self._last_slot
        self._holds[hold.hold_id] = hold
        self._drafts[hold.hold_id] = draft
        self._new_holds.add(hold.hold_id)

    def drop_hold(self, hold_id: str) -> None:
        del self._holds[hold_id]
        self._drafts.pop(hold_id, None)
        self._new_holds.discard(hold_id)
        slot = self._slots.pop(hold_id)
        if slot in self._filed_slots:
            self._gone_slots.add(slot)

    def draft(self, hold_id: str) -> bytes:
        draft = self._drafts.get(hold_id)
        if draft is None:
            row = self._connection.execute(_READ_DRAFT, (self._slots[hold_id],)).fetchone()
            draft = row[0] if row is not None else None
        if draft is None:
            raise LedgerError(f"hold {hold_id} has no draft of its event")
        return draft

    def due(self, now_ms: int, limit: int) -> Sequence[Hold]:
        due = [hold for hold in self._holds.values() if hold.lease_until_ms <= now_ms]
        due.sort(key=lambda hold: (hold.lease_until_ms, hold.hold_id))
        return due[:limit]

    def end_leases(self) -> None:
        """End the lease of every open hold; part of the open transaction."""
        self._connection.execute(_END_LEASES)
        self._holds = {key: replace(hold, lease_until_ms=0) for key, hold in self._holds.items()}

    def entry(self, hold_id: str, *, correction: bool) -> Entry | None:
        if hold_id > self._newest_ended:
            return None
        pending = self._entries.get((hold_id, correction))
        if pending is not None:
            return pending
        row = self._connection.execute(_READ_ENTRY, (hold_id, correction)).fetchone()
        return None if row is None else entry_of(hold_id, correction, row)

    def add_entry(self, entry: Entry) -> None:
        hold_id = entry.settlement.hold_id
        self._entries[(hold_id, entry.settlement.correction)] = entry
        self._newest_ended = max(self._newest_ended, hold_id)

    def opened(self, account: str) -> tuple[int, int]:
        prefix = opening_prefix(account)
        found = dict(self._connection.execute(_READ_OPENINGS, (prefix, f"{prefix}:")).fetchall())
        for (hold_id, _), entry in self._entries.items():
            if hold_id.startswith(prefix):
                found[hold_id] = entry.settlement.posted_nano
        return len(found), sum(found.values())

    def oldest_hold_ms(self) -> int | None:
        """When the oldest open hold was admitted."""
        return min((hold.admitted_ms for hold in self._holds.values()), default=None)

    def add_event(self, event: OutboxEvent) -> None:
        self._events.append(event)

    # -- the file ---------------------------------------------------------------------------

    def is_quiet(self) -> bool:
        """Whether at most one request has money held."""
        return len(self._holds) <= 1

    def flush(self) -> None:
        """Write what changed into the open transaction; raise sqlite3.Error where that fails."""
        write = self._connection
        if self._changed_accounts:
            write.executemany(_PUT_ACCOUNT, self._account_rows())
        if self._new_holds:
            write.executemany(_PUT_HOLD, self._hold_rows())
        if self._gone_slots:
            write.executemany(_DROP_HOLD, [(slot,) for slot in self._gone_slots])
        if self._entries:
            write.executemany(_ADD_ENTRY, self._entry_rows())
        if self._events:
            write.executemany(_ADD_EVENT, self._event_rows())

    def _account_rows(self) -> Iterable[tuple[str, int, int, int]]:
        for name in self._changed_accounts:
            account = self._accounts[name]
            yield name, account.posted_nano, account.held_nano, account.overrun_nano

    def _hold_rows(self) -> Iterable[tuple[str | int | bytes | None, ...]]:
        for hold_id in self._new_holds:
            hold = self._holds[hold_id]
            yield (
                self._slots[hold_id],
                hold_id,
                hold.state.value,
                hold.amount_nano,
                accounts_json(hold.accounts),
                hold.admitted_ms,
                hold.lease_until_ms,
                self._drafts[hold_id],
                None if hold.scopes is None else parties_json(hold.scopes),
                amounts_json(hold.amounts) if hold.amounts else None,
            )

    def _entry_rows(self) -> Iterable[tuple[str | int | None, ...]]:
        for (hold_id, correction), entry in self._entries.items():
            settlement = entry.settlement
            yield (
                hold_id,
                int(correction),
                settlement.state.value,
                settlement.posted_nano,
                settlement.overrun_nano,
                accounts_json(entry.accounts),
                entry.event_id,
                entry.ended_ms,
                None if entry.scopes is None else parties_json(entry.scopes),
                entry.admitted_ms,
                amounts_json(entry.each) if entry.each else None,
                entry.tokens,
            )

    def _event_rows(self) -> Iterable[tuple[int, str, bytes]]:
        """Numbered by the microsecond, or on from the last: a number never comes back.

        SQLite's own counter would be one more page to write with every commit.
        """
        for event in self._events:
            self._last_seq = max(self._last_seq + 1, time.time_ns() // 1_000)
            yield self._last_seq, event.event_id, event.payload

    def filed(self) -> None:
        """Everything was committed; drafts need not be remembered, nor accounts beyond a bound."""
        self._filed_slots -= self._gone_slots
        for hold_id in self._new_holds:
            self._filed_slots.add(self._slots[hold_id])
            self._drafts.pop(hold_id, None)
        self._clear_pending()
        if len(self._accounts) + len(self._absent) > MAX_ACCOUNTS:
            self._accounts.clear()
            self._absent.clear()

    def _clear_pending(self) -> None:
        self._changed_accounts.clear()
        self._new_holds.clear()
        self._gone_slots.clear()
        self._entries.clear()
        self._events.clear()

    def refresh(self) -> None:
        """Forget everything where another process has written the file since the last look."""
        if self._read_version() != self._version:
            self.forget()

    def _read_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def forget(self) -> None:
        """Undo everything since the last flush: know only what the file says."""
        self._clear_pending()
        self._accounts.clear()
        self._absent.clear()
        self._drafts.clear()
        self._version = -1  # should reading fail, the next look tries again
        rows = self._connection.execute(_READ_HOLDS).fetchall()
        self._holds = {row[1]: hold_of(row[1:]) for row in rows}
        self._slots = {row[1]: row[0] for row in rows}
        self._filed_slots = set(self._slots.values())
        self._last_slot = max(self._filed_slots, default=0)
        self._last_seq = self._connection.execute(_LAST_SEQ).fetchone()[0] or 0
        # Ids that sort by time are beyond every ended one, which saves looking for them.
        self._newest_ended = self._connection.execute(_NEWEST_ENDED).fetchone()[0] or ""
        self._version = self._read_version()
