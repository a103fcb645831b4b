"""What passes between every two dialects is what docs/fidelity.md says, through a real gateway."""

from collections.abc import Iterator, Mapping

import pytest

from tests.journeys.fidelity import COMMAND, PAGE, Measured, measure, refused, with_tables
from tests.journeys.fidelity_bench import DROPPED, LOST, Bench, bench

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("weir")) as running:
        yield running
        assert "Traceback" not in running.weir.log()


@pytest.fixture(scope="module")
def tables(at: Bench) -> Mapping[str, Measured]:
    return measure(at)


def test_nothing_is_lost_in_silence(tables: Mapping[str, Measured]) -> None:
    lost = [
        f"{title}, {way.title}: {cell}"
        for measured in tables.values()
        for title, cells in measured.items()
        for way, cell in cells.items()
        if cell is not None and cell.startswith(LOST)
    ]
    assert lost == []


def test_the_page_says_what_was_measured(tables: Mapping[str, Measured]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page, tables) == page, f"run {COMMAND} and look at what changed"


def test_what_is_refused_is_dropped_and_named_where_a_provider_may(
    at: Bench, tables: Mapping[str, Measured]
) -> None:
    others = [found for found in refused(at, tables["requests"]) if found[2] != DROPPED]
    assert others == []


def test_the_same_dialect_is_byte_for_byte(tables: Mapping[str, Measured]) -> None:
    changed = [
        (title, way.title, cell)
        for measured in tables.values()
        for title, cells in measured.items()
        for way, cell in cells.items()
        if way.is_same and cell is not None and not cell.startswith("identical")
    ]
    assert changed == []
