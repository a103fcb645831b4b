"""One transaction for everything that happens in one turn of the event loop.

It makes a burst of requests share one commit, and it is the only place that begins, commits or
undoes a transaction of the ledger.
"""

import asyncio
import logging
import sqlite3
from pathlib import Path
from types import TracebackType

from budgets.ledger import LedgerError
from budgets.stores.sqlite_journal import SqliteJournal

_log = logging.getLogger(__name__)


def connect(path: Path) -> sqlite3.Connection:
    """A connection in write-ahead mode whose transactions are ours to open and close."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    # Writing over a log is cheaper than making it longer, so it keeps its size up to here.
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute("PRAGMA foreign_keys = OFF")
    return connection


def _unwritten(error: BaseException) -> LedgerError:
    return LedgerError(f"the ledger could not be written: {error}")


class Turn:
    """The transaction of one turn of the event loop; `with` it makes one step inside.

    The first step opens it, the loop commits it once every task that was ready has had its say.
    A step raises LedgerError before its first write; any other error may have left half a step
    behind and undoes the whole turn.
    """

    __slots__ = ("_connection", "_journal", "_waiters")

    def __init__(self, connection: sqlite3.Connection, journal: SqliteJournal) -> None:
        self._connection = connection
        self._journal = journal
        self._waiters: list[asyncio.Future[None]] | None = None

    def __enter__(self) -> None:
        if self._waiters is None:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise _unwritten(error) from error
            self._waiters = []
            asyncio.get_running_loop().call_soon(self.commit)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, LedgerError):
            self._undo(error)
            if isinstance(error, sqlite3.Error):
                raise _unwritten(error) from error

    def committed(self) -> "asyncio.Future[None]":
        """Done once the turn is committed, or failed with a LedgerError.

        Each waiter has one of its own: a task that is cancelled cancels what it waits for.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            waiter.set_result(None)
        else:
            self._waiters.append(waiter)
        return waiter

    def commit(self) -> None:
        if self._waiters is None:
            return
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo(error)
            return
        waiters, self._waiters = self._waiters, None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._journal.wrote(self._connection.total_changes):
            self._end_log()

    def _end_log(self) -> None:
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            _log.warning("the ledger's log stays long: %s", error)

    def _undo(self, error: BaseException) -> None:
        """Nothing of this turn happened; everyone who waits for it learns so."""
        waiters, self._waiters = self._waiters or [], None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(_unwritten(error))
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
