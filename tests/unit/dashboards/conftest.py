"""One dashboard on a real socket over a real DuckDB file, shared by the route tests."""

from collections.abc import Iterator

import pytest

from telemetry.warehouse import Warehouse
from tests.browser.sample import filled_warehouse
from tests.browser.serving import Backstage, Client, served


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with filled_warehouse(tmp_path_factory.mktemp("dashboard") / "weir.duckdb") as filled:
        yield filled


@pytest.fixture
def backstage(warehouse: Warehouse) -> Backstage:
    return Backstage(warehouse)


@pytest.fixture
def client(backstage: Backstage) -> Iterator[Client]:
    with served(backstage) as base_url:
        yield Client(base_url)
