"""What passes between every two dialects is what docs/fidelity.md says, through a real gateway."""

from collections.abc import Iterator

import pytest

from tests.journeys.fidelity import COMMAND, PAGE, Tables, measure, refused, with_tables
from tests.journeys.fidelity_bench import DROPPED, IDENTICAL, KNOWN_LOSS, LOST, Bench, bench
from tests.journeys.fidelity_litellm import LOSSES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("weir")) as running:
        yield running
        assert "Traceback" not in running.weir.log()


@pytest.fixture(scope="module")
def tables(at: Bench) -> Tables:
    return measure(at)


def test_nothing_is_lost_in_silence(tables: Tables) -> None:
    lost = [
        f"{title}, {way.title}: {cell}"
        for title, way, cell in tables.ways()
        if cell.startswith(LOST)
    ]
    assert lost == []


def test_every_loss_that_is_written_down_is_one(tables: Tables) -> None:
    found = {(way.vendor, title) for title, way, cell in tables.ways() if cell == KNOWN_LOSS}
    assert found == set(LOSSES)


def test_the_page_says_what_was_measured(tables: Tables) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page, tables) == page, f"run {COMMAND} and look at what changed"


def test_what_is_refused_is_dropped_and_named_where_a_provider_may(
    at: Bench, tables: Tables
) -> None:
    others = [found for found in refused(at, tables) if found[2] != DROPPED]
    assert others == []


def test_the_same_dialect_is_byte_for_byte(tables: Tables) -> None:
    changed = [
        (title, way.title, cell)
        for title, way, cell in tables.ways()
        if way.is_same and not cell.startswith("identical")
    ]
    assert changed == []
    assert {cell for cells in tables.media.values() for cell in cells.values()} == {IDENTICAL}
