"""docs/telemetry.md names everything there is, so that it cannot fall behind."""

import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from telemetry.config import TelemetrySection
from telemetry.event import Ending, EventKind, TelemetryEvent, UsageSource
from telemetry.queries import QueryBook
from telemetry.warehouse import Warehouse

MANUAL = Path(__file__).resolve().parents[3] / "docs" / "telemetry.md"


@cache
def first_cells() -> frozenset[str]:
    """Every name in code style that starts a table row of the manual."""
    return frozenset(re.findall(r"^\| `([^`]+)`", MANUAL.read_text(encoding="utf-8"), re.M))


@pytest.mark.parametrize("column", [field.name for field in fields(TelemetryEvent)])
def test_every_column_of_event_is_documented(column: str) -> None:
    assert column in first_cells()


@pytest.mark.parametrize("key", TelemetrySection.model_fields)
def test_every_configuration_key_is_documented(key: str) -> None:
    assert key in first_cells()


@pytest.mark.parametrize("query", sorted(QueryBook.load().queries))
def test_every_query_is_documented_with_its_grain(query: str) -> None:
    assert query in first_cells()
    grain = QueryBook.load().queries[query].grain.split(",")[0].split(";")[0]
    assert grain in MANUAL.read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [*EventKind, *Ending, *UsageSource])
def test_every_value_of_a_closed_list_is_documented(value: str) -> None:
    assert f"`{value}`" in MANUAL.read_text(encoding="utf-8")


def test_every_table_and_view_is_documented(warehouse: Warehouse) -> None:
    rows = warehouse.query(
        "SELECT table_name AS name FROM duckdb_tables() "
        "UNION SELECT view_name FROM duckdb_views() WHERE NOT internal"
    )
    assert {row["name"] for row in rows} <= first_cells() | {"event"}
