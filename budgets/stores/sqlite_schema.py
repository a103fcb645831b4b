"""The tables of the ledger file, made where they are missing and widened where they are older."""

import sqlite3
from importlib.resources import files

_LATER_COLUMNS = (
    ("hold", "parties", "TEXT"),
    ("entry", "parties", "TEXT"),
    ("entry", "admitted_ms", "INTEGER NOT NULL DEFAULT 0"),
)


def make_tables(connection: sqlite3.Connection) -> None:
    """Bring the file up to `sql/ledger.sql`; entries of before keep no parties."""
    connection.executescript(files("budgets").joinpath("sql/ledger.sql").read_text())
    for table, column, kind in _LATER_COLUMNS:
        present = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if column not in present:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
