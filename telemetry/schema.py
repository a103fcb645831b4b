"""The warehouse's schema: numbered migrations, applied once each and in order."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import duckdb

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_BOOK = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version    INTEGER PRIMARY KEY,
    name       VARCHAR NOT NULL,
    applied_ms BIGINT NOT NULL
)
"""


class SchemaError(RuntimeError):
    """A warehouse that this version of Weir cannot bring up to date."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema; versions count from 1 without gaps."""

    version: int
    name: str
    sql: str


def load_migrations() -> tuple[Migration, ...]:
    """Every migration that ships, in order; raise SchemaError for a gap or a file misnamed."""
    found = []
    for file in files("telemetry").joinpath("sql/schema").iterdir():
        matched = _FILE_NAME.fullmatch(file.name)
        if matched is None:
            raise SchemaError(f"{file.name}: a migration is named like 0001_event.sql")
        found.append(Migration(int(matched[1]), matched[2], file.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    versions = [migration.version for migration in found]
    if versions != list(range(1, len(found) + 1)):
        raise SchemaError(f"migrations must count 1, 2, 3 without gaps, found {versions}")
    return tuple(found)


def migrate(
    connection: duckdb.DuckDBPyConnection, migrations: Sequence[Migration] | None = None
) -> int:
    """Apply what is missing, each step in a transaction of its own; return the version reached.

    Raise SchemaError where the database was written by a newer version.
    """
    known = load_migrations() if migrations is None else migrations
    connection.execute(_BOOK)
    row = connection.execute("SELECT coalesce(max(version), 0) FROM schema_migration").fetchone()
    version = int(row[0]) if row else 0
    newest = known[-1].version if known else 0
    if version > newest:
        raise SchemaError(
            f"the warehouse has schema {version}, this version of Weir knows {newest}: "
            "update Weir, or give it another data directory"
        )
    for migration in known[version:]:
        _apply(connection, migration)
    return newest


def _apply(connection: duckdb.DuckDBPyConnection, migration: Migration) -> None:
    connection.execute("BEGIN")
    try:
        connection.execute(migration.sql)
        connection.execute(
            "INSERT INTO schema_migration VALUES (?, ?, ?)",
            [migration.version, migration.name, time.time_ns() // 1_000_000],
        )
        connection.execute("COMMIT")
    except duckdb.Error as error:
        connection.execute("ROLLBACK")
        raise SchemaError(f"migration {migration.version} {migration.name}: {error}") from error
