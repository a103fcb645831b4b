"""Budgets that were set while the gateway runs, and who changed what: tables beside the API keys.

A budget of the same scope, window and unit in the configuration gives way to one that is set here,
and comes back when that one is deleted. Every change is a row that nobody can edit or delete.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from budgets.config import BudgetSection
from budgets.scopes import FULL_PERMILLE, Budget
from budgets.units import as_json
from gateway.config_reading import ConfigText, FaultList, Shape, read_section

MAX_BODY_BYTES = 65_536
_SCHEMA = """
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
_SHAPE: Shape[BudgetSection] = Shape(BudgetSection)


class BudgetFault(ValueError):
    """Terms that are no budget; `key` is the field at fault."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(f"{key}: {message}" if key else message)


class BudgetRegistryError(RuntimeError):
    """The file of the registry cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class BudgetChange:
    """One change: when (ms since 1970), by which key, and the terms before and after."""

    change_id: int
    at_ms: int
    who: str
    what: str
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def read_budget(terms: object) -> BudgetSection:
    """Check a budget as the configuration would; raise BudgetFault with the same words."""
    faults = FaultList(ConfigText("", {}, {}))
    section = read_section(faults, (), terms, _SHAPE)
    if section is None:
        fault = faults.faults[0]
        hint = f' (did you mean "{fault.suggestion}"?)' if fault.suggestion else ""
        raise BudgetFault(fault.key, fault.message + hint)
    return section


def read_budget_json(text: bytes) -> BudgetSection:
    """The same for a JSON text; its numbers are exact."""
    if len(text) > MAX_BODY_BYTES:
        raise BudgetFault("", f"expected at most {MAX_BODY_BYTES} bytes")
    try:
        terms = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise BudgetFault("", f"not valid JSON: {error}") from error
    return read_budget(terms)


def terms_of(section: BudgetSection) -> dict[str, Any]:
    """A budget as a person would write it."""
    unit, limit = section.limit()
    terms: dict[str, Any] = {
        "scope": section.scope,
        "window": section.window.value,
        f"limit_{unit.value}": as_json(limit, unit),
        "timezone": section.timezone,
        "alert_at": [_share(permille) for permille in section.alert_at],
    }
    if section.landing:
        terms["landing"] = _share(section.landing)
    if section.at:
        terms["at"] = [
            {"share": _share(entry.share), "action": entry.action.value} for entry in section.at
        ]
    return terms


def _share(permille: int) -> str:
    return f"{permille / FULL_PERMILLE:g}"


def in_effect(configured: Iterable[Budget], stored: Iterable[Budget]) -> tuple[Budget, ...]:
    """The budgets that count: what is set replaces what is configured under the same name."""
    stored = list(stored)
    names = {budget.name for budget in stored}
    return (*[budget for budget in configured if budget.name not in names], *stored)


class BudgetRegistry:
    """The budgets that were set. One instance belongs to one thread."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise BudgetRegistryError(f"{path}: {error}") from error

    def budgets(self) -> Sequence[Budget]:
        """Every budget that is set, by name; raise BudgetRegistryError for one that is damaged."""
        rows = self._connection.execute("SELECT name, terms FROM budget ORDER BY name").fetchall()
        try:
            return [BudgetSection(**json.loads(terms)).to_budget() for _, terms in rows]
        except (ValidationError, ValueError, TypeError) as error:
            raise BudgetRegistryError(f"a budget that was set cannot be read: {error}") from error

    def put(self, section: BudgetSection, who: str, now_ms: int) -> str:
        """Set a budget, in place of one with the same scope, window and unit; its name."""
        name = section.to_budget().name
        self._change(name, terms_of(section), who, now_ms)
        return name

    def remove(self, name: str, who: str, now_ms: int) -> bool:
        """Delete a budget that was set; whether there was one."""
        return self._change(name, None, who, now_ms)

    def _change(self, name: str, after: dict[str, Any] | None, who: str, now_ms: int) -> bool:
        """Change and note it in one transaction; deleting what is not there changes nothing."""
        write = self._connection
        try:
            write.execute("BEGIN IMMEDIATE")
            row = write.execute("SELECT terms FROM budget WHERE name = ?", (name,)).fetchone()
            before = None if row is None else row[0]
            if after is None:
                write.execute("DELETE FROM budget WHERE name = ?", (name,))
            else:
                write.execute("INSERT OR REPLACE INTO budget VALUES (?, ?)", (name, _text(after)))
            if after is not None or before is not None:
                write.execute(
                    "INSERT INTO budget_change(at_ms, who, what, name, before, after) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        now_ms,
                        who,
                        "deleted" if after is None else "set",
                        name,
                        before,
                        None if after is None else _text(after),
                    ),
                )
            write.execute("COMMIT")
        except sqlite3.Error as error:
            raise BudgetRegistryError(f"the budget could not be written: {error}") from error
        finally:
            if write.in_transaction:
                write.execute("ROLLBACK")
        return before is not None

    def changes(self, limit: int = 1_000) -> Sequence[BudgetChange]:
        """The latest changes, the newest first."""
        rows = self._connection.execute(
            "SELECT change_id, at_ms, who, what, name, before, after FROM budget_change "
            "ORDER BY change_id DESC LIMIT ?",
            (limit,),
        )
        return [BudgetChange(*row[:5], *(t and json.loads(t) for t in row[5:])) for row in rows]

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _text(terms: dict[str, Any]) -> str:
    return json.dumps(terms, sort_keys=True)
