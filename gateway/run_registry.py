"""Runs that were opened over the API: a table beside the API keys, for those who ask about them.

A run token says everything that spending needs, so nothing here is read while requests are served.
What is kept is what the key that opened a run may ask for without the token.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from budgets.runs import RunTerms
from gateway.run_grants import RunGrant

KEPT_S = 30 * 86_400
_SCHEMA = """
CREATE TABLE IF NOT EXISTS opened_run(
    team TEXT NOT NULL,
    run_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    name TEXT NOT NULL,
    runs TEXT NOT NULL,
    workflow TEXT,
    tags TEXT NOT NULL,
    created_s INTEGER NOT NULL,
    expires_s INTEGER NOT NULL,
    PRIMARY KEY (team, run_id)
) STRICT;
CREATE INDEX IF NOT EXISTS opened_run_expiry ON opened_run(expires_s);
"""


class RunRegistryError(RuntimeError):
    """The file of the registry cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run as it was opened; times in seconds since 1970 (UTC)."""

    team: str
    name: str
    grant: RunGrant
    created_s: int


class RunRegistry:
    """The runs that were opened and not long ago expired. One instance belongs to one thread."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            # A power cut may take the last runs' rows; their tokens are as good without.
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise RunRegistryError(f"{path}: {error}") from error

    def add(self, run: OpenedRun) -> None:
        """Keep a run until a month after its end; raise RunRegistryError where that fails."""
        grant = run.grant
        runs = [(one.run_id, *one.limits().values(), one.landing_permille) for one in grant.chain]
        try:
            self._connection.execute(
                "DELETE FROM opened_run WHERE rowid IN "
                "(SELECT rowid FROM opened_run WHERE expires_s < ? LIMIT 100)",
                (run.created_s - KEPT_S,),
            )
            self._connection.execute(
                "INSERT INTO opened_run VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run.team,
                    grant.run_id,
                    grant.key_id,
                    run.name,
                    json.dumps(runs),
                    grant.workflow,
                    json.dumps(grant.tags),
                    run.created_s,
                    grant.expires_s,
                ),
            )
        except sqlite3.Error as error:
            raise RunRegistryError(f"the run could not be written: {error}") from error

    def find(self, team: str, run_id: str) -> OpenedRun | None:
        """The run of a team; None for one that is unknown or long over."""
        row = self._connection.execute(
            "SELECT key_id, name, runs, workflow, tags, created_s, expires_s FROM opened_run "
            "WHERE team = ? AND run_id = ?",
            (team, run_id),
        ).fetchone()
        if row is None:
            return None
        key_id, name, runs, workflow, tags, created_s, expires_s = row
        chain = tuple([RunTerms(*terms) for terms in json.loads(runs)])
        fixed: Mapping[str, str] = json.loads(tags)
        return OpenedRun(team, name, RunGrant(key_id, expires_s, chain, workflow, fixed), created_s)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
