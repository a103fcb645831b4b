"""Which thresholds were told of, and which alerts are still to be delivered.

An alert is one row, written before anything is said, so that it is told once however often the
gateway starts.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STANDING = -1
STATES = ("logged", "pending", "delivered", "given_up")
_SCHEMA = """
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
_COLUMNS = (
    "alert_id, budget, scope, start_s, permille, limit_nano, spent_nano, crossed_ms, attempts"
)


@dataclass(frozen=True, slots=True)
class Crossing:
    """A threshold that a scope's spending reached in the window that began at `start_s`.

    `start_s` is STANDING for a rolling window.
    """

    budget: str
    scope: str
    start_s: int
    permille: int
    limit_nano: int
    spent_nano: int
    crossed_ms: int


@dataclass(frozen=True, slots=True)
class Alert:
    """A crossing that was noted, and how often its delivery was tried."""

    alert_id: int
    crossing: Crossing
    attempts: int


class AlertStore:
    """Alerts that were raised. One instance belongs to one thread; sqlite3.Error where it fails."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.executescript(_SCHEMA)

    def told(self, budget: str, scope: str, start_s: int) -> set[int]:
        """The thresholds that were told of in one window of one scope."""
        rows = self._connection.execute(
            "SELECT permille FROM alert WHERE budget = ? AND scope = ? AND start_s = ?",
            (budget, scope, start_s),
        )
        return {row[0] for row in rows}

    def note(self, crossing: Crossing, *, deliver: bool) -> bool:
        """Write an alert down; False where it was told of before."""
        done = self._connection.execute(
            "INSERT OR IGNORE INTO alert(budget, scope, start_s, permille, limit_nano, spent_nano, "
            "crossed_ms, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
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

    def rearm(self, budget: str, scope: str, permille: int) -> None:
        """Watch a threshold of a rolling window anew; what was told stays on record."""
        self._connection.execute(
            "UPDATE alert SET start_s = crossed_ms / 1000 "
            "WHERE budget = ? AND scope = ? AND start_s = ? AND permille = ?",
            (budget, scope, STANDING, permille),
        )

    def due(self, now_ms: int, limit: int) -> Sequence[Alert]:
        """Alerts to deliver now, the oldest first."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM alert WHERE state = 'pending' AND next_ms <= ? "
            "ORDER BY alert_id LIMIT ?",
            (now_ms, limit),
        )
        return [Alert(row[0], Crossing(*row[1:8]), row[8]) for row in rows.fetchall()]

    def delivered(self, alert_id: int) -> None:
        """The receiver has it."""
        self._connection.execute(
            "UPDATE alert SET state = 'delivered', attempts = attempts + 1 WHERE alert_id = ?",
            (alert_id,),
        )

    def failed(self, alert_id: int, next_ms: int | None) -> None:
        """Try again at `next_ms`, or not at all."""
        self._connection.execute(
            "UPDATE alert SET attempts = attempts + 1, next_ms = ?, state = ? WHERE alert_id = ?",
            (next_ms or 0, "given_up" if next_ms is None else "pending", alert_id),
        )

    def counts(self) -> Mapping[str, int]:
        """How many alerts there ever were, by what became of them."""
        rows = self._connection.execute("SELECT state, COUNT(*) FROM alert GROUP BY state")
        return dict.fromkeys(STATES, 0) | dict(rows.fetchall())

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
