"""The ledger in one SQLite file: no server, survives `kill -9`, one commit for many requests.

What is needed to decide is in memory (`sqlite_shelf`), the moves are those of every store
(`engine`), and what they change is written in one transaction for each turn of the event loop;
whoever needs durability waits for its commit. So a burst of requests shares one.
The write-ahead log is written before a promise is kept, which survives the death of the process; a
thread syncs it to the disk every few milliseconds, which bounds what a power cut can take.
"""

import sqlite3
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from budgets.ledger import (
    PLAIN,
    Account,
    Bill,
    Hold,
    LedgerError,
    Refusal,
    Reservation,
    Settlement,
)
from budgets.port import EventShaper, OutboxEvent, OutboxRow
from budgets.stores.engine import LedgerEngine
from budgets.stores.sqlite_journal import SqliteJournal
from budgets.stores.sqlite_schema import make_tables
from budgets.stores.sqlite_shelf import SqliteShelf
from budgets.stores.sqlite_turn import Turn, connect

BATCH_ROWS = 500
_READ_OUTBOX = "SELECT seq, event_id, payload FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?"
_TRIM_OUTBOX = (
    "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE seq <= ? ORDER BY seq LIMIT ?)"
)


class SqliteLedger:
    """`LedgerStore` on a SQLite file. Use it from one event loop; only `outbox_after` is free.

    Processes that share the file take turns; each looks again after another's.
    """

    def __init__(self, path: Path, shaper: EventShaper, *, journal_sync_ms: int = 20) -> None:
        """Open the file or make it; raise LedgerError where that cannot be done."""
        try:
            self._write = connect(path)
            make_tables(self._write)
            self._shelf = SqliteShelf(self._write)
            self._read = connect(path)
            journal = connect(path)
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger {path} could not be opened: {error}") from error
        self._engine = LedgerEngine(self._shelf, shaper)
        self._read_lock = threading.Lock()
        self._journal = SqliteJournal(path, journal, journal_sync_ms)
        self._turn = Turn(self._write, self._shelf, self._journal)
        self._closed = False

    async def survey(self, accounts: Sequence[str]) -> Mapping[str, Account]:
        try:
            self._turn.look()
            return self._engine.survey(accounts)
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger could not be read: {error}") from error

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        with self._turn:
            return self._engine.reserve(reservation)

    async def extend(self, hold: Hold, reservation: Reservation) -> Hold | Refusal:
        with self._turn:
            larger = self._engine.extend(hold, reservation)
        await self._turn.committed()
        return larger

    async def dispatch(self, hold: Hold, draft: bytes) -> Hold:
        with self._turn:
            after = self._engine.dispatch(hold, draft)
        await self._turn.committed()
        return after

    async def settle(
        self, hold: Hold, cost_nano: int, event: OutboxEvent, bill: Bill = PLAIN
    ) -> Settlement:
        with self._turn:
            settlement = self._engine.settle(hold, cost_nano, event, bill)
        await self._turn.committed()
        return settlement

    async def release(self, hold: Hold, event: OutboxEvent | None) -> Settlement:
        with self._turn:
            settlement = self._engine.release(hold, event)
        await self._turn.committed()
        return settlement

    @property
    def life(self) -> str:
        return ""

    def recall(self, hold_id: str, life: str) -> None:
        """A file forgets nothing."""

    async def record(self, event: OutboxEvent) -> None:
        with self._turn:
            self._engine.record(event)
        await self._turn.committed()

    async def expire(self, now_ms: int) -> Sequence[Settlement]:
        ended: list[Settlement] = []
        batch = BATCH_ROWS
        while batch == BATCH_ROWS:
            with self._turn:
                some = self._engine.expire(now_ms, BATCH_ROWS)
            await self._turn.committed()
            ended += some
            batch = len(some)
        return ended

    async def carry_over(self, totals: Mapping[str, int], now_ms: int, as_of: str = "") -> None:
        with self._turn:
            self._engine.carry_over(totals, now_ms)
        await self._turn.committed()

    async def oldest_hold_ms(self) -> int | None:
        return self._shelf.oldest_hold_ms()

    async def counting(self) -> Collection[str]:
        try:
            return {row[0] for row in self._write.execute("SELECT budget FROM counting")}
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger could not be read: {error}") from error

    async def note_counting(self, names: Collection[str]) -> None:
        with self._turn:
            self._write.execute("DELETE FROM counting")
            self._write.executemany("INSERT INTO counting VALUES (?)", [(name,) for name in names])
        await self._turn.committed()

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
            self._shelf.end_leases()
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
