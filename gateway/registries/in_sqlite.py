"""The registries of one host: tables in `keys.sqlite3`, shared with the command line.

Each store has a connection of its own and belongs to one thread.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.auth import Role
from gateway.registries.port import (
    ALERT_STATES,
    STANDING,
    Alert,
    BudgetChange,
    Crossing,
    KeyRecord,
    RegistryError,
    StoredKey,
)
from gateway.run_registry import OpenedRun, from_text, to_text

KEYS_FILE = "keys.sqlite3"
_KEYS = """
CREATE TABLE IF NOT EXISTS api_key(
    key_id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    team TEXT NOT NULL,
    workflow TEXT NOT NULL,
    role TEXT NOT NULL,
    policy TEXT,
    created_ms INTEGER NOT NULL,
    revoked_ms INTEGER
) STRICT
"""
_KEY_COLUMNS = "key_id, name, team, workflow, role, policy, created_ms, revoked_ms"
_BUDGETS = """
CREATE TABLE IF NOT EXISTS budget(
    name TEXT PRIMARY KEY,
    terms TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS budget_change(
    change_id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL CHECK (what IN ('set', 'deleted')),
    name TEXT NOT NULL,
    before TEXT,
    after TEXT
) STRICT;
CREATE TRIGGER IF NOT EXISTS budget_change_is_not_edited BEFORE UPDATE ON budget_change
BEGIN SELECT RAISE(ABORT, 'changes of budgets are only ever added'); END;
CREATE TRIGGER IF NOT EXISTS budget_change_is_not_deleted BEFORE DELETE ON budget_change
BEGIN SELECT RAISE(ABORT, 'changes of budgets are only ever added'); END;
"""
_ALERTS = """
CREATE TABLE IF NOT EXISTS alert(
    alert_id INTEGER PRIMARY KEY,
    budget TEXT NOT NULL,
    scope TEXT NOT NULL,
    start_s INTEGER NOT NULL,
    permille INTEGER NOT NULL,
    limit_nano INTEGER NOT NULL,
    spent_nano INTEGER NOT NULL,
    crossed_ms INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('logged', 'pending', 'delivered', 'given_up')),
    attempts INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (budget, scope, start_s, permille)
) STRICT;
CREATE INDEX IF NOT EXISTS alert_pending ON alert(next_ms) WHERE state = 'pending';
"""
_RUNS = """
CREATE TABLE IF NOT EXISTS opened_run(
    team TEXT NOT NULL,
    run_id TEXT NOT NULL,
    kept_until_s INTEGER NOT NULL,
    terms TEXT NOT NULL,
    PRIMARY KEY (team, run_id)
) STRICT;
CREATE INDEX IF NOT EXISTS opened_run_end ON opened_run(kept_until_s);
"""
_ALERT_COLUMNS = (
    "alert_id, budget, scope, start_s, permille, limit_nano, spent_nano, crossed_ms, attempts"
)


class RegistryFile:
    """One connection to the file; what a store adds is its tables and its questions."""

    def __init__(self, path: Path, schema: str) -> None:
        """Open or create the file; raise RegistryError where it cannot be used."""
        self._path = path
        with self._sound():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(schema)
        self._own_changes = 0

    @contextmanager
    def _sound(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise RegistryError(f"{self._path}: {error}") from error

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: everything in the block, or nothing."""
        with self._sound():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        self._own_changes += 1

    def _rows(self, question: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._sound():
            return self._connection.execute(question, parameters).fetchall()

    async def version(self) -> str:
        # SQLite counts the changes of other connections only.
        [[others]] = self._rows("PRAGMA data_version")
        return f"{others}.{self._own_changes}"

    async def aclose(self) -> None:
        self._connection.close()


class SqliteKeys(RegistryFile):
    """`KeyStore` in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _KEYS)

    async def load(self) -> tuple[str, Sequence[StoredKey]]:
        version = await self.version()
        rows = self._rows(f"SELECT digest, {_KEY_COLUMNS} FROM api_key ORDER BY created_ms, key_id")
        return version, [StoredKey(digest, _record(columns)) for digest, *columns in rows]

    async def add(self, keys: Collection[StoredKey]) -> None:
        with self._changing() as write:
            for key in keys:
                record = key.record
                write.execute(
                    f"INSERT INTO api_key(digest, {_KEY_COLUMNS}) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key_id) DO UPDATE "
                    "SET revoked_ms = coalesce(revoked_ms, excluded.revoked_ms)",
                    (
                        key.digest,
                        record.key_id,
                        record.name,
                        record.team,
                        record.workflow,
                        record.role.value,
                        record.policy,
                        record.created_ms,
                        record.revoked_ms,
                    ),
                )

    async def revoke(self, key_id: str, now_ms: int) -> KeyRecord | None:
        with self._changing() as write:
            write.execute(
                "UPDATE api_key SET revoked_ms = ? WHERE key_id = ? AND revoked_ms IS NULL",
                (now_ms, key_id),
            )
        rows = self._rows(f"SELECT {_KEY_COLUMNS} FROM api_key WHERE key_id = ?", (key_id,))
        return _record(rows[0]) if rows else None


def _record(row: Sequence[Any]) -> KeyRecord:
    key_id, name, team, workflow, role, policy, created_ms, revoked_ms = row
    return KeyRecord(key_id, name, team, workflow, Role(role), policy, created_ms, revoked_ms)


class SqliteBudgets(RegistryFile):
    """`BudgetStore` in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _BUDGETS)

    async def load(self) -> tuple[str, Mapping[str, str]]:
        version = await self.version()
        return version, dict(self._rows("SELECT name, terms FROM budget ORDER BY name"))

    async def change(self, name: str, after: str | None, who: str, now_ms: int) -> bool:
        with self._changing() as write:
            row = write.execute("SELECT terms FROM budget WHERE name = ?", (name,)).fetchone()
            before = None if row is None else row[0]
            if after is None:
                write.execute("DELETE FROM budget WHERE name = ?", (name,))
            else:
                write.execute("INSERT OR REPLACE INTO budget VALUES (?, ?)", (name, after))
            if after is not None or before is not None:
                what = "deleted" if after is None else "set"
                write.execute(
                    "INSERT INTO budget_change(at_ms, who, what, name, before, after) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (now_ms, who, what, name, before, after),
                )
        return before is not None

    async def changes(self, limit: int) -> Sequence[BudgetChange]:
        rows = self._rows(
            "SELECT change_id, at_ms, who, what, name, before, after FROM budget_change "
            "ORDER BY change_id DESC LIMIT ?",
            (limit,),
        )
        return [BudgetChange(*row[:5], *(t and json.loads(t) for t in row[5:])) for row in rows]

    async def put_back(self, terms: Mapping[str, str], changes: Sequence[BudgetChange]) -> None:
        """Hold these budgets, and these changes (the oldest first) beside those that are known."""
        with self._changing() as write:
            write.execute("DELETE FROM budget")
            write.executemany("INSERT INTO budget VALUES (?, ?)", terms.items())
            for change in changes:
                told = (change.at_ms, change.who, change.what, change.name)
                both = [
                    side and json.dumps(side, sort_keys=True)
                    for side in (change.before, change.after)
                ]
                write.execute(
                    "INSERT INTO budget_change(at_ms, who, what, name, before, after) "
                    "SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (SELECT * FROM budget_change "
                    "WHERE at_ms = ?1 AND who = ?2 AND what = ?3 AND name = ?4 AND after IS ?6)",
                    (*told, *both),
                )


class SqliteAlerts(RegistryFile):
    """`AlertStore` in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _ALERTS)

    async def told(self, budget: str, scope: str, start_s: int) -> set[int]:
        rows = self._rows(
            "SELECT permille FROM alert WHERE budget = ? AND scope = ? AND start_s = ?",
            (budget, scope, start_s),
        )
        return {row[0] for row in rows}

    async def note(self, crossing: Crossing, *, deliver: bool) -> bool:
        with self._changing() as write:
            done = write.execute(
                "INSERT OR IGNORE INTO alert(budget, scope, start_s, permille, limit_nano, "
                "spent_nano, crossed_ms, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    crossing.budget,
                    crossing.scope,
                    crossing.start_s,
                    crossing.permille,
                    crossing.limit_nano,
                    crossing.spent_nano,
                    crossing.crossed_ms,
                    "pending" if deliver else "logged",
                ),
            )
        return done.rowcount == 1

    async def rearm(self, budget: str, scope: str, permille: int) -> None:
        with self._changing() as write:
            write.execute(
                "UPDATE alert SET start_s = crossed_ms / 1000 "
                "WHERE budget = ? AND scope = ? AND start_s = ? AND permille = ?",
                (budget, scope, STANDING, permille),
            )

    async def take(self, now_ms: int, until_ms: int) -> Alert | None:
        with self._changing() as write:
            rows = write.execute(
                "UPDATE alert SET next_ms = ? WHERE alert_id = (SELECT alert_id FROM alert "
                "WHERE state = 'pending' AND next_ms <= ? ORDER BY next_ms, alert_id LIMIT 1) "
                f"RETURNING {_ALERT_COLUMNS}",
                (until_ms, now_ms),
            ).fetchall()
        return Alert(rows[0][0], Crossing(*rows[0][1:8]), rows[0][8]) if rows else None

    async def delivered(self, alert_id: int) -> None:
        with self._changing() as write:
            write.execute(
                "UPDATE alert SET state = 'delivered', attempts = attempts + 1 WHERE alert_id = ?",
                (alert_id,),
            )

    async def failed(self, alert_id: int, next_ms: int | None) -> None:
        state = "given_up" if next_ms is None else "pending"
        with self._changing() as write:
            write.execute(
                "UPDATE alert SET attempts = attempts + 1, next_ms = ?, state = ? "
                "WHERE alert_id = ?",
                (next_ms or 0, state, alert_id),
            )

    async def counts(self) -> Mapping[str, int]:
        rows = self._rows("SELECT state, COUNT(*) FROM alert GROUP BY state")
        return dict.fromkeys(ALERT_STATES, 0) | dict(rows)


class SqliteRuns(RegistryFile):
    """`RunStore` in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _RUNS)
        with self._sound():
            # A power cut may take the newest runs; their tokens are as good without.
            self._connection.execute("PRAGMA synchronous=NORMAL")

    async def add(self, run: OpenedRun) -> None:
        with self._changing() as write:
            write.execute(
                "DELETE FROM opened_run WHERE rowid IN "
                "(SELECT rowid FROM opened_run WHERE kept_until_s < ? LIMIT 100)",
                (run.created_s,),
            )
            write.execute(
                "INSERT INTO opened_run VALUES (?, ?, ?, ?)",
                (run.team, run.grant.run_id, run.kept_until_s, to_text(run)),
            )

    async def find(self, team: str, run_id: str) -> OpenedRun | None:
        rows = self._rows(
            "SELECT terms FROM opened_run WHERE team = ? AND run_id = ?", (team, run_id)
        )
        return _run(run_id, rows[0][0]) if rows else None


def _run(run_id: str, text: str) -> OpenedRun:
    try:
        return from_text(text)
    except ValueError as error:
        raise RegistryError(f"the run {run_id} cannot be read: {error}") from error
