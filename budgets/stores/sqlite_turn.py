"""One transaction for everything that happens in one turn of the event loop.

It makes a burst of requests share one commit. Moves change the shelf's memory as they come; at the
end of the turn the shelf writes what changed, or forgets all of it.
"""

import asyncio
import logging
import sqlite3
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

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


class Memory(Protocol):
    """What is remembered of the file, and changes with each step before the file does."""

    def refresh(self) -> None:
        """Look again where another process has written the file."""

    def flush(self) -> None:
        """Write what changed into the open transaction."""

    def filed(self) -> None:
        """The transaction was committed."""

    def forget(self) -> None:
        """The transaction was undone: remember only what the file says."""

    def is_quiet(self) -> bool:
        """Whether nobody is likely to share this turn's commit, so that it need not wait."""


class Turn:
    """The transaction of one turn of the event loop; `with` it makes one step inside.

    The first step begins it, the loop commits it once every task that was ready has had its say,
    or who waits for it does so where there is nobody to share it with.
    A step raises LedgerError before it changes anything; any other error may have left half a step
    behind and undoes the whole turn.
    """

    __slots__ = ("_connection", "_done", "_journal", "_open", "_shelf")

    def __init__(
        self, connection: sqlite3.Connection, shelf: Memory, journal: SqliteJournal
    ) -> None:
        self._connection = connection
        self._shelf = shelf
        self._journal = journal
        self._open = False
        self._done: list[asyncio.Future[None]] = []

    def __enter__(self) -> None:
        if not self._open:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._shelf.refresh()
            except sqlite3.Error as error:
                self._undo(error)
                raise _unwritten(error) from error
            self._open = True
            asyncio.get_running_loop().call_soon(self.commit)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, LedgerError):
            self._undo(error)
            if isinstance(error, sqlite3.Error):
                raise _unwritten(error) from error

    def look(self) -> None:
        """See what other processes wrote; inside a turn nobody else can have."""
        if not self._open:
            self._shelf.refresh()

    def committed(self) -> "asyncio.Future[None]":
        """Done once the turn is committed, or failed with a LedgerError.

        Each waiter has one of its own: a task that is cancelled cancels what it waits for.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._open:
            self._done.append(waiter)
            if self._shelf.is_quiet():
                self.commit()
        else:
            waiter.set_result(None)
        return waiter

    def commit(self) -> None:
        """Write the turn; whoever waits for it learns how it went."""
        if not self._open:
            return
        failure: BaseException | None = LedgerError("the turn was not written")
        try:
            self._shelf.flush()
            self._connection.execute("COMMIT")
            failure = None
        except sqlite3.Error as error:
            failure = error
        finally:
            if failure is not None:
                self._undo(failure)
        if failure is not None:
            return
        self._shelf.filed()
        self._open = False
        waiters, self._done = self._done, []
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
        self._open = False
        waiters, self._done = self._done, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(_unwritten(error))
        # Where not even that works, the next turn fails as it begins.
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._shelf.forget()
