"""The table of docs/fidelity.md, measured: `python -m tests.journeys.fidelity` writes it anew."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.journeys import fidelity_answers, fidelity_media, fidelity_requests
from tests.journeys.fidelity_bench import (
    KNOWN_LOSS,
    LOST,
    REFUSED,
    THROUGH_LITELLM,
    WAYS,
    Bench,
    Way,
    bench,
)
from tests.journeys.fidelity_fields import REQUESTS
from tests.journeys.fidelity_litellm import LOSSES
from tests.journeys.gateway_process import ROOT

PAGE = ROOT / "docs" / "fidelity.md"
COMMAND = "python -m tests.journeys.fidelity"
Measured = Mapping[str, Mapping[Way, str | None]]
Media = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Tables:
    """Everything that was measured, by line and way."""

    answers: Measured
    requests: Measured
    litellm_answers: Measured
    litellm_requests: Measured
    media: Media

    def ways(self) -> Iterator[tuple[str, Way, str]]:
        """Every cell of the tables with ways: its line, its way and what is in it."""
        for measured in (
            self.answers,
            self.requests,
            self.litellm_answers,
            self.litellm_requests,
        ):
            for title, cells in measured.items():
                for way, cell in cells.items():
                    if cell is not None:
                        yield title, way, cell


def measure(at: Bench) -> Tables:
    """Every cell of every table."""
    return Tables(
        _answers(at, WAYS),
        _requests(at, WAYS),
        _answers(at, THROUGH_LITELLM),
        _requests(at, THROUGH_LITELLM),
        {row.title: fidelity_media.cells(at, row) for row in fidelity_media.ROWS},
    )


def _answers(at: Bench, ways: Sequence[Way]) -> Measured:
    return {
        row.title: {
            way: _known(row.title, way, fidelity_answers.cell(at, row, way)) for way in ways
        }
        for row in fidelity_answers.ROWS
    }


def _requests(at: Bench, ways: Sequence[Way]) -> Measured:
    return {
        row.title: {
            way: _known(row.title, way, fidelity_requests.cell(at, row, way)) for way in ways
        }
        for row in REQUESTS
    }


def _known(title: str, way: Way, cell: str | None) -> str | None:
    is_known = (way.vendor, title) in LOSSES
    return KNOWN_LOSS if is_known and cell is not None and cell.startswith(LOST) else cell


def refused(at: Bench, tables: Tables) -> Iterator[tuple[str, Way, str | None]]:
    """What becomes of the refused fields where a provider may drop them."""
    rows = {row.title: row for row in REQUESTS}
    for title, way, cell in tables.ways():
        if cell == REFUSED:
            lax = replace(way, lax=True)
            yield title, way, fidelity_requests.cell(at, rows[title], lax)


def table(measured: Mapping[str, Mapping[Any, str | None]]) -> str:
    """One table as Markdown; a line that applies to no column is left out."""
    columns = list(next(iter(measured.values())))
    heads = [one.title if isinstance(one, Way) else one for one in columns]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(columns) + 1) + "|"]
    for title, cells in measured.items():
        if any(cells.values()):
            lines.append(
                f"| {title} | " + " | ".join(cells[one] or "n/a" for one in columns) + " |"
            )
    return "\n".join(lines)


def losses() -> str:
    """What is lost through litellm, and why, as Markdown."""
    return "\n".join(
        f"- {title} (`{vendor}`): {reason}" for (vendor, title), reason in LOSSES.items()
    )


def with_tables(page: str, tables: Tables) -> str:
    """The page with its tables in place of those that are there."""
    written = {
        "answers": table(tables.answers),
        "requests": table(tables.requests),
        "media": table(tables.media),
        "answers through litellm": table(tables.litellm_answers),
        "requests through litellm": table(tables.litellm_requests),
        "losses through litellm": losses(),
    }
    for name, text in written.items():
        begin, end = f"<!-- {name}: written by {COMMAND} -->\n", f"\n<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}{text}{end}{after}"
    return page


def main() -> int:
    """Measure and rewrite the page; the number of cells with a silent loss."""
    with TemporaryDirectory() as folder, bench(Path(folder)) as at:
        tables = measure(at)
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    lost = [found for found in tables.ways() if found[2].startswith(LOST)]
    for title, way, cell in lost:
        print(f"{title}, {way.title}: {cell[:300]}", file=sys.stderr)
    return len(lost)


if __name__ == "__main__":
    sys.exit(main())
