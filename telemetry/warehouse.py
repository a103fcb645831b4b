"""The DuckDB file: one process owns it, one thread writes at a time, any thread reads.

A full disk makes DuckDB give up its whole in-process instance, reads included. What was committed
is safe in the file, so the handle opens it again by itself and repeats the call once.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import duckdb

from telemetry import ingest
from telemetry.schema import SchemaError, migrate

REOPEN_WAIT_S = 30.0
CLOSE_WAIT_S = 5.0
Result = TypeVar("Result")
Row = dict[str, Any]


class WarehouseError(RuntimeError):
    """A warehouse that cannot be opened or used; the message says what to do."""


class Warehouse:
    """Events and the questions asked of them. Open it with `Warehouse.open`."""

    def __init__(self, path: Path, memory_limit_mb: int, threads: int) -> None:
        self._path = path
        self._config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_limit_mb}MB",
            "threads": threads,
            "preserve_insertion_order": False,
            # SQL typed by a person, or slipped into a query, reaches no other file and no network.
            "enable_external_access": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
        }
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._active = 0
        self._reopening = False
        self._closed = False
        self._generation = 0
        self._connection: duckdb.DuckDBPyConnection | None = self._connect()

    @classmethod
    def open(cls, path: Path, *, memory_limit_mb: int = 128, threads: int = 1) -> Self:
        """Open or create the file and bring its schema up to date.

        Raise WarehouseError where another process holds the file, it is no DuckDB file, or a newer
        version wrote it.
        """
        return cls(path, memory_limit_mb, threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def insert_batch(self, source: str, rows: Sequence[tuple[int, bytes]]) -> int:
        """Add outbox rows (seq ascending, event as JSON); return the source's last seq.

        Rows and seq are committed together. Rows offered before are skipped, by seq and by event
        id. A row that is no event goes to the table `quarantine`.
        """
        with self._writing:
            return self._use(lambda cursor: ingest.insert_batch(cursor, source, rows))

    def last_seq(self, source: str) -> int:
        """The last row of the source that is in the warehouse; 0 before the first."""
        return self._use(lambda cursor: ingest.read_last_seq(cursor, source))

    def rewind(self, source: str) -> None:
        """Take the source's rows from the start again; those known are skipped by event id."""
        with self._writing:
            self._use(lambda cursor: ingest.write_last_seq(cursor, source, 0))

    def known_ids(self, event_ids: Sequence[str]) -> set[str]:
        """Those of the ids that are in the warehouse."""
        return self._use(lambda cursor: ingest.known_ids(cursor, event_ids))

    def query(
        self, sql: str, params: Mapping[str, object] | Sequence[object] | None = None
    ) -> list[Row]:
        """Every row of the answer as a dict; callable from any thread, beside the writer."""

        def ask(cursor: duckdb.DuckDBPyConnection) -> list[Row]:
            cursor.execute(sql, params)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        return self._use(ask)

    @property
    def reopened(self) -> int:
        """How often the file had to be opened again after DuckDB broke."""
        return self._generation

    def close(self) -> None:
        """Let go of the file, after giving running queries a moment to end."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._active == 0, CLOSE_WAIT_S)
            self._disconnect()

    # -- the connection, and what happens when it breaks ------------------------------------

    def _connect(self) -> duckdb.DuckDBPyConnection:
        try:
            connection = duckdb.connect(self._path, config=self._config)
        except duckdb.Error as error:
            raise WarehouseError(self._explain(error)) from error
        try:
            connection.execute("SET lock_configuration = true")
            migrate(connection)
        except (duckdb.Error, SchemaError) as error:
            connection.close()
            raise WarehouseError(f"{self._path}: {error}") from error
        return connection

    def _explain(self, error: duckdb.Error) -> str:
        if "lock" in str(error).lower():
            return (
                f"{self._path}: another process has this file open, most likely a running gateway; "
                "ask that gateway, or stop it first"
            )
        return f"{self._path}: {error}"

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _use(self, work: Callable[[duckdb.DuckDBPyConnection], Result]) -> Result:
        """Run `work` on a cursor of its own, and once more after a database that broke."""
        generation = self._enter()
        try:
            return self._on_cursor(work)
        except duckdb.FatalException:
            broken = generation
        finally:
            self._leave()
        self._reopen(broken)
        self._enter()
        try:
            return self._on_cursor(work)
        finally:
            self._leave()

    def _on_cursor(self, work: Callable[[duckdb.DuckDBPyConnection], Result]) -> Result:
        connection = self._connection
        if connection is None:
            raise WarehouseError(f"{self._path}: the warehouse is closed")
        with closing(connection.cursor()) as cursor:
            return work(cursor)

    def _enter(self) -> int:
        """Count a call in, waiting while the file is opened again; return what it was opened as."""
        with self._changed:
            self._changed.wait_for(lambda: not self._reopening)
            if self._closed:
                raise WarehouseError(f"{self._path}: the warehouse is closed")
            if self._connection is None:
                self._connection = self._connect()
            self._active += 1
            return self._generation

    def _leave(self) -> None:
        with self._changed:
            self._active -= 1
            self._changed.notify_all()

    def _reopen(self, broken: int) -> None:
        """Open the file again, once for all the calls that saw it break.

        Every cursor has to be gone first: while one is left, DuckDB hands out the broken instance.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._reopening)
            if self._generation != broken or self._closed:
                return
            self._reopening = True
            try:
                if not self._changed.wait_for(lambda: self._active == 0, REOPEN_WAIT_S):
                    raise WarehouseError(f"{self._path}: broken, and a query would not end")
                self._disconnect()
                self._generation += 1
                self._connection = self._connect()
            finally:
                self._reopening = False
                self._changed.notify_all()
