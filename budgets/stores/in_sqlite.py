"""The ledger in one SQLite file: no server, survives `kill -9`, one commit for many requests.

All statements run on the event loop's thread inside one open transaction, which is committed at
the end of the loop's turn; whoever needs durability waits for that commit. So a burst of requests
shares one commit. The write-ahead log is written before a promise is kept, which survives the
death of the process; a thread syncs it to the disk every few milliseconds, which bounds what a
power cut can take.
"""

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson

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
    close,
    correct,
    dispatched,
    open_hold,
    repeated_hold,
)
from budgets.port import EventShaper, OutboxEvent, OutboxRow
from budgets.stores.sqlite_journal import SqliteJournal
from budgets.stores.sqlite_turn import Turn, connect

BATCH_ROWS = 500
_ADD_ACCOUNT = "INSERT INTO account(account) VALUES (?) ON CONFLICT DO NOTHING"
_POST = (
    "UPDATE account SET posted_nano = posted_nano + ?, held_nano = held_nano + ?, "
    "overrun_nano = overrun_nano + ? WHERE account = ?"
)
_ADD_HOLD = (
    "INSERT INTO hold SELECT ?1, 'held', ?2, ?3, ?4, ?5, NULL "
    "WHERE NOT EXISTS (SELECT 1 FROM entry WHERE hold_id = ?1) ON CONFLICT DO NOTHING"
)
_DISPATCH = "UPDATE hold SET state = 'dispatched', draft = ? WHERE hold_id = ? AND state = 'held'"
_TAKE_DISPATCHED = (
    "DELETE FROM hold "
    "WHERE hold_id = ? AND state = 'dispatched' AND amount_nano = ? AND accounts = ?"
)
_ADD_ENTRY = "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_EVENT = "INSERT INTO outbox(event_id, payload) VALUES (?, ?)"
_IS_KNOWN = "SELECT 1 FROM hold WHERE hold_id = ?1 UNION ALL SELECT 1 FROM entry WHERE hold_id = ?1"
_READ_HOLD = (
    "SELECT hold_id, state, amount_nano, accounts, admitted_ms, lease_until_ms "
    "FROM hold WHERE hold_id = ?"
)
_READ_EXPIRED = (
    "SELECT hold_id, state, amount_nano, accounts, admitted_ms, lease_until_ms, draft "
    "FROM hold WHERE lease_until_ms <= ? ORDER BY lease_until_ms, hold_id LIMIT ?"
)
_READ_OUTBOX = "SELECT seq, event_id, payload FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?"
_TRIM_OUTBOX = (
    "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE seq <= ? ORDER BY seq LIMIT ?)"
)


@lru_cache(maxsize=64)
def _survey_sql(count: int) -> str:
    """One look-up each: an IN list would be sorted into a table of its own first."""
    marks = ", ".join(["(?)"] * count)
    return (
        "SELECT account, posted_nano, held_nano, overrun_nano "
        f"FROM (VALUES {marks}) CROSS JOIN account ON account = column1"
    )


@lru_cache(maxsize=4096)
def _accounts_json(accounts: tuple[str, ...]) -> str:
    return orjson.dumps(accounts).decode()


def _hold_of(row: Sequence[Any]) -> Hold:
    return Hold(row[0], HoldState(row[1]), row[2], tuple(orjson.loads(row[3])), row[4], row[5])


class SqliteLedger:
    """`LedgerStore` on a SQLite file. Use it from one event loop; only `outbox_after` is free."""

    def __init__(self, path: Path, shaper: EventShaper, *, journal_sync_ms: int = 5) -> None:
        """Open the file or make it; raise LedgerError where that cannot be done."""
        self._shaper = shaper
        try:
            self._write = connect(path)
            self._write.executescript(files("budgets").joinpath("sql/ledger.sql").read_text())
            self._read = connect(path)
            journal = connect(path)
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger {path} could not be opened: {error}") from error
        self._read_lock = threading.Lock()
        self._journal = SqliteJournal(path, journal, journal_sync_ms)
        self._turn = Turn(self._write, self._journal)
        self._closed = False

    async def survey(self, accounts: Sequence[str]) -> Mapping[str, Account]:
        try:
            return self._survey(accounts)
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger could not be read: {error}") from error

    def _survey(self, accounts: Sequence[str]) -> dict[str, Account]:
        if not accounts:
            return {}
        rows = self._write.execute(_survey_sql(len(accounts)), accounts)
        return {row[0]: Account(row[1], row[2], row[3]) for row in rows}

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        hold = open_hold(reservation)
        with self._turn:
            accounts = self._survey(hold.accounts)
            refusal = admit(accounts, reservation)
            if refusal is not None and not self._is_known(hold.hold_id):
                return refusal
            if refusal is not None or not self._add_hold(hold):
                return self._first_hold(reservation)
            if len(accounts) < len(hold.accounts):
                fresh = [(account,) for account in hold.accounts if account not in accounts]
                self._write.executemany(_ADD_ACCOUNT, fresh)
            self._post(hold.accounts, 0, hold.amount_nano, 0)
        return hold

    def _is_known(self, hold_id: str) -> bool:
        return self._write.execute(_IS_KNOWN, (hold_id,)).fetchone() is not None

    def _add_hold(self, hold: Hold) -> bool:
        """Whether the hold was added, which it is not where its id was used before."""
        row = (
            hold.hold_id,
            hold.amount_nano,
            _accounts_json(hold.accounts),
            hold.admitted_ms,
            hold.lease_until_ms,
        )
        return self._write.execute(_ADD_HOLD, row).rowcount == 1

    def _first_hold(self, reservation: Reservation) -> Hold:
        """The hold of an id that was used before."""
        first = self._open_hold(reservation.hold_id)
        if first is None:
            raise LedgerError(f"hold {reservation.hold_id} has ended before")
        return repeated_hold(first, reservation)

    def _open_hold(self, hold_id: str) -> Hold | None:
        row = self._write.execute(_READ_HOLD, (hold_id,)).fetchone()
        return None if row is None else _hold_of(row)

    def _post(self, accounts: Sequence[str], posted: int, held: int, overrun: int) -> None:
        rows = [(posted, held, overrun, account) for account in accounts]
        self._write.executemany(_POST, rows)

    async def dispatch(self, hold: Hold, draft: bytes) -> Hold:
        after = dispatched(hold)
        with self._turn:
            if self._write.execute(_DISPATCH, (draft, hold.hold_id)).rowcount == 0:
                raise LedgerError(f"hold {hold.hold_id} is not there to dispatch")
        await self._turn.committed()
        return after

    async def settle(self, hold: Hold, cost_nano: int, event: OutboxEvent) -> Settlement:
        closing = close(hold, Move.SETTLE, cost_nano)
        named = (hold.hold_id, hold.amount_nano, _accounts_json(hold.accounts))
        with self._turn:
            if self._write.execute(_TAKE_DISPATCHED, named).rowcount == 1:
                settlement = self._ended(hold, closing, event, event.ended_ms)
            else:
                settlement = self._settle_late(hold, cost_nano, event)
        await self._turn.committed()
        return settlement

    def _ended(
        self, hold: Hold, closing: Closing, event: OutboxEvent | None, ended_ms: int
    ) -> Settlement:
        """Post what the end of a hold, already taken off, does to its accounts."""
        settlement = Settlement(
            hold.hold_id, closing.state, closing.posted_nano, closing.overrun_nano
        )
        self._post(hold.accounts, closing.posted_nano, closing.held_nano, closing.overrun_nano)
        self._write_entry(settlement, hold.accounts, event, ended_ms)
        return settlement

    def _settle_late(self, hold: Hold, cost_nano: int, event: OutboxEvent) -> Settlement:
        """The hold ended before: repeat its outcome, or correct what an expiry assumed."""
        first = self._outcome(hold.hold_id, correction=False, accounts=hold.accounts)
        if first is None:
            raise LedgerError(f"hold {hold.hold_id} is unknown or was never dispatched")
        if first.state not in (HoldState.EXPIRED_CHARGED, HoldState.EXPIRED_FREED):
            return first
        again = self._outcome(hold.hold_id, correction=True)
        if again is not None:
            return again
        correction = correct(first, cost_nano)
        delta = correction.posted_nano
        self._post(hold.accounts, delta, 0, correction.overrun_nano)
        shaped = self._shaper.correction(event, delta)
        self._write_entry(correction, hold.accounts, shaped, shaped.ended_ms)
        return correction

    def _outcome(
        self, hold_id: str, *, correction: bool, accounts: tuple[str, ...] | None = None
    ) -> Settlement | None:
        row = self._write.execute(
            "SELECT state, posted_nano, overrun_nano FROM entry "
            "WHERE hold_id = ?1 AND correction = ?2 AND accounts = COALESCE(?3, accounts)",
            (hold_id, int(correction), None if accounts is None else _accounts_json(accounts)),
        ).fetchone()
        if row is None:
            return None
        return Settlement(hold_id, HoldState(row[0]), row[1], row[2], True, correction)

    def _write_entry(
        self,
        settlement: Settlement,
        accounts: tuple[str, ...],
        event: OutboxEvent | None,
        ended_ms: int,
    ) -> None:
        self._write.execute(
            _ADD_ENTRY,
            (
                settlement.hold_id,
                int(settlement.correction),
                settlement.state.value,
                settlement.posted_nano,
                settlement.overrun_nano,
                _accounts_json(accounts),
                None if event is None else event.event_id,
                ended_ms,
            ),
        )
        if event is not None:
            self._write.execute(_ADD_EVENT, (event.event_id, event.payload))

    async def release(self, hold: Hold, event: OutboxEvent | None) -> Settlement:
        with self._turn:
            stored = self._open_hold(hold.hold_id)
            if stored is None:
                settlement = self._outcome(hold.hold_id, correction=False)
                if settlement is None:
                    raise LedgerError(f"hold {hold.hold_id} is unknown")
            else:
                ended_ms = stored.admitted_ms if event is None else event.ended_ms
                settlement = self._end(stored, Move.RELEASE, event, ended_ms)
        await self._turn.committed()
        return settlement

    def _end(self, hold: Hold, move: Move, event: OutboxEvent | None, ended_ms: int) -> Settlement:
        closing = close(hold, move)
        self._write.execute("DELETE FROM hold WHERE hold_id = ?", (hold.hold_id,))
        return self._ended(hold, closing, event, ended_ms)

    async def record(self, event: OutboxEvent) -> None:
        with self._turn:
            self._write.execute(_ADD_EVENT, (event.event_id, event.payload))
        await self._turn.committed()

    async def expire(self, now_ms: int) -> Sequence[Settlement]:
        ended: list[Settlement] = []
        batch = BATCH_ROWS
        while batch == BATCH_ROWS:
            with self._turn:
                rows = self._write.execute(_READ_EXPIRED, (now_ms, BATCH_ROWS)).fetchall()
                for row in rows:
                    hold = _hold_of(row)
                    charged = hold.state is HoldState.DISPATCHED
                    event = (
                        self._shaper.assumed(row[6], hold.amount_nano, now_ms) if charged else None
                    )
                    ended.append(self._end(hold, Move.EXPIRE, event, now_ms))
            await self._turn.committed()
            batch = len(rows)
        return ended

    def outbox_after(self, seq: int, limit: int) -> Sequence[OutboxRow]:
        try:
            with self._read_lock:
                rows = self._read.execute(_READ_OUTBOX, (seq, limit)).fetchall()
        except sqlite3.Error as error:
            raise LedgerError(f"the outbox could not be read: {error}") from error
        return [OutboxRow(*row) for row in rows]

    async def trim_outbox(self, up_to_seq: int) -> None:
        trimmed = BATCH_ROWS
        while trimmed == BATCH_ROWS:
            with self._turn:
                trimmed = self._write.execute(_TRIM_OUTBOX, (up_to_seq, BATCH_ROWS)).rowcount
            await self._turn.committed()

    async def abandon_leases(self) -> None:
        """End every lease now; for the one process that owns the file, when it starts.

        Whoever held money before is dead, so nothing has to wait for its lease to run out.
        """
        with self._turn:
            self._write.execute("UPDATE hold SET lease_until_ms = 0")
        await self._turn.committed()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._turn.commit()
        self._journal.stop()
        # Where the disk is full the log stays, and the next opening reads it.
        with suppress(sqlite3.Error):
            self._write.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._write.close()
        with self._read_lock:
            self._read.close()
