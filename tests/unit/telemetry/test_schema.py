"""The schema's migrations, on real DuckDB files."""

from dataclasses import fields
from pathlib import Path

import duckdb
import pytest

from telemetry.event import TelemetryEvent
from telemetry.ingest import COLUMNS
from telemetry.schema import Migration, SchemaError, load_migrations, migrate
from telemetry.warehouse import Warehouse, WarehouseError
from tests.unit.telemetry.events import make_event


def test_the_columns_of_event_are_the_fields_of_the_event_in_order(warehouse: Warehouse) -> None:
    described = warehouse.query("SELECT column_name, column_type FROM (DESCRIBE event)")
    columns = {row["column_name"]: row["column_type"] for row in described}
    assert list(columns) == [field.name for field in fields(TelemetryEvent)]
    assert columns == COLUMNS


def test_every_migration_is_applied_once_in_order_and_recorded(tmp_path: Path) -> None:
    expected = [(step.version, step.name) for step in load_migrations()]
    for _ in range(2):
        with Warehouse.open(tmp_path / "weir.duckdb") as warehouse:
            rows = warehouse.query("SELECT version, name FROM schema_migration ORDER BY version")
            assert [(row["version"], row["name"]) for row in rows] == expected


def test_a_later_migration_is_applied_to_an_older_database(tmp_path: Path) -> None:
    connection = duckdb.connect(tmp_path / "weir.duckdb")
    known = load_migrations()
    later = Migration(len(known) + 1, "later", "CREATE TABLE later (n INTEGER)")
    assert migrate(connection) == len(known)
    assert migrate(connection, [*known, later]) == len(known) + 1
    assert connection.execute("SELECT count(*) FROM later").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize(
    ("migration", "expected"),
    [
        ("waited", {"waited_ms": 0.0}),
        (
            "identity",
            {
                "user_id": "unnamed",
                "parent_runs_json": "[]",
                "landed": False,
                "attribution_json": "{}",
            },
        ),
    ],
)
def test_events_of_an_earlier_database_get_what_they_lack(
    tmp_path: Path, migration: str, expected: dict[str, object]
) -> None:
    known = load_migrations()
    first = next(step.version for step in known if step.name == migration)
    with duckdb.connect(tmp_path / "weir.duckdb") as connection:
        migrate(connection, known[: first - 1])
        columns = connection.execute("SELECT column_name FROM (DESCRIBE event)").fetchall()
        event = make_event(1)
        connection.execute(
            f"INSERT INTO event VALUES ({', '.join('?' * len(columns))})",
            [getattr(event, name) for (name,) in columns],
        )
    with Warehouse.open(tmp_path / "weir.duckdb") as warehouse:
        assert warehouse.query(f"SELECT {', '.join(expected)} FROM request") == [expected]


def test_a_newer_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "weir.duckdb"
    Warehouse.open(path).close()
    with duckdb.connect(path) as connection:
        connection.execute("INSERT INTO schema_migration VALUES (999, 'future', 0)")
    with pytest.raises(WarehouseError, match=r"has schema 999.*update Weir"):
        Warehouse.open(path)


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    connection = duckdb.connect(tmp_path / "weir.duckdb")
    broken = Migration(1, "broken", "CREATE TABLE half (n INTEGER); SELECT * FROM nowhere")
    with pytest.raises(SchemaError, match="migration 1 broken"):
        migrate(connection, [broken])
    assert connection.execute("SELECT count(*) FROM schema_migration").fetchone() == (0,)
    tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert tables == [("schema_migration",)]
    connection.close()
