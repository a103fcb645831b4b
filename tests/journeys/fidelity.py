"""The table of docs/fidelity.md, measured: `python -m tests.journeys.fidelity` writes it anew."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.journeys import fidelity_answers, fidelity_requests
from tests.journeys.fidelity_bench import REFUSED, WAYS, Bench, Way, bench
from tests.journeys.gateway_process import ROOT

PAGE = ROOT / "docs" / "fidelity.md"
COMMAND = "python -m tests.journeys.fidelity"
Measured = Mapping[str, Mapping[Way, str | None]]
Cell = Callable[[Bench, Way], str | None]


def _lines() -> Iterator[tuple[str, str, Cell]]:
    for answer in fidelity_answers.ROWS:
        yield (
            "answers",
            answer.title,
            lambda at, way, row=answer: fidelity_answers.cell(at, row, way),
        )
    for request in fidelity_requests.ROWS:
        yield (
            "requests",
            request.title,
            lambda at, way, row=request: fidelity_requests.cell(at, row, way),
        )


def measure(at: Bench) -> Mapping[str, Measured]:
    """Every cell of both tables, by table, line and way."""
    tables: dict[str, dict[str, dict[Way, str | None]]] = {"answers": {}, "requests": {}}
    for table, title, cell in _lines():
        tables[table][title] = {way: cell(at, way) for way in WAYS}
    return tables


def refused(at: Bench, measured: Measured) -> Iterator[tuple[str, Way, str | None]]:
    """What becomes of the refused fields where a provider may drop them."""
    for row in fidelity_requests.ROWS:
        for way, cell in measured[row.title].items():
            if cell == REFUSED:
                lax = Way(way.asked, way.spoken, lax=True)
                yield row.title, way, fidelity_requests.cell(at, row, lax)


def table(measured: Measured) -> str:
    """One table as Markdown."""
    lines = ["| | " + " | ".join(way.title for way in WAYS) + " |", "|---" * (len(WAYS) + 1) + "|"]
    for title, cells in measured.items():
        lines.append(f"| {title} | " + " | ".join(cells[way] or "n/a" for way in WAYS) + " |")
    return "\n".join(lines)


def with_tables(page: str, tables: Mapping[str, Measured]) -> str:
    """The page with its tables in place of those that are there."""
    for name, measured in tables.items():
        begin, end = f"<!-- {name}: written by {COMMAND} -->\n", f"\n<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}{table(measured)}{end}{after}"
    return page


def main() -> int:
    """Measure and rewrite the page; the number of cells with a silent loss."""
    with TemporaryDirectory() as folder, bench(Path(folder)) as at:
        tables = measure(at)
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    cells = [
        cell or "" for rows in tables.values() for row in rows.values() for cell in row.values()
    ]
    return sum(cell.startswith("LOST") for cell in cells)


if __name__ == "__main__":
    sys.exit(main())
