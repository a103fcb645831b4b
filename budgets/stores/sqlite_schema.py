"""The tables of the ledger file, made where they are missing and widened where they are older."""

import sqlite3
from importlib.resources import files

# In the order of the table, behind the columns that were there from the start.
_LATER_COLUMNS = (
    ("hold", "parties", "TEXT"),
    ("hold", "amounts", "TEXT"),
    ("entry", "parties", "TEXT"),
    ("entry", "admitted_ms", "INTEGER NOT NULL DEFAULT 0"),
    ("entry", "postings", "TEXT"),
    ("entry", "tokens", "INTEGER NOT NULL DEFAULT 0"),
)


def missing_columns(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """Table, name and kind of each column that a ledger of an earlier version does not have."""
    present = {
        (table, row[1])
        for table in ("hold", "entry")
        for row in connection.execute(f"PRAGMA table_info({table})")
    }
    return [column for column in _LATER_COLUMNS if column[:2] not in present]


def make_tables(connection: sqlite3.Connection) -> None:
    """Bring the file up to `sql/ledger.sql`; what was written before says nothing in new columns.

    So entries of before keep no parties, and what they and open holds took is the same on every
    account.
    """
    connection.executescript(files("budgets").joinpath("sql/ledger.sql").read_text())
    for table, column, kind in missing_columns(connection):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
