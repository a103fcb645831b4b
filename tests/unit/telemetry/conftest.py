"""A real DuckDB file for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.warehouse import Warehouse


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse.open(tmp_path / "weir.duckdb") as opened:
        yield opened
