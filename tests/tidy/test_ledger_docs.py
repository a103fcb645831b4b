"""What the ledger's documentation names is there: its proofs, its tables and their columns."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from budgets.stores.sqlite_schema import make_tables

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", ["ledger.md", "deployment.md"])
def test_every_proof_that_a_page_names_is_a_test(page: str) -> None:
    named = re.findall(r"`(test_\w+|LedgerMachine)`", (ROOT / "docs" / page).read_text("utf-8"))
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    missing = [name for name in named if not re.search(rf"(?:def|class) {name}\b", tests)]
    assert named and missing == []


def test_the_ledger_page_shows_every_table_with_its_columns() -> None:
    page = (ROOT / "docs/ledger.md").read_text("utf-8")
    with closing(sqlite3.connect(":memory:")) as file:
        make_tables(file)
        tables = {
            name: [row[1] for row in file.execute(f"PRAGMA table_info({name})")]
            for (name,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        }
    for name, columns in tables.items():
        [row] = re.findall(rf"^\| `{name}` \|[^|]*\| ([^|]*) \|$", page, re.MULTILINE)
        assert re.findall(r"`(\w+)`", row) == columns, name
