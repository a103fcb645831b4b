"""Rows as a table of texts for the page and as CSV for a spreadsheet."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from budgets.money import format_usd
from dashboards.amounts import count, milliseconds, usd_exact, utc_time

Row = Mapping[str, Any]

# A spreadsheet runs a cell that starts with one of these as a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_NANO = "_nano"


@dataclass(frozen=True, slots=True)
class Table:
    """What a table shows: headings, which columns are numbers, and rows of texts."""

    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]


def columns_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The column names in the order of the query; none without rows."""
    return tuple(rows[0]) if rows else ()


def heading(column: str) -> str:
    """`cost_nano` becomes `Cost (USD)`, `p95_ms` becomes `P95`."""
    for suffix, unit in ((_NANO, " (USD)"), ("_tokens", " tokens"), ("_ms", "")):
        if column.endswith(suffix):
            return f"{column.removesuffix(suffix).replace('_', ' ').capitalize()}{unit}"
    return column.replace("_", " ").capitalize()


def cell(column: str, value: object) -> str:
    """One value as text; money keeps every nano-dollar."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return _integer(column, value)
    if isinstance(value, float):
        return milliseconds(value) if column.endswith("_ms") else f"{value:,.4g}"
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if value != "" else "—"


def _integer(column: str, value: int) -> str:
    if column.endswith(_NANO):
        return usd_exact(value)
    if column in ("admitted_ms", "ended_ms"):
        return utc_time(value)
    return milliseconds(value) if column.endswith("_ms") else count(value)


def _is_numeric(rows: Sequence[Row], column: str) -> bool:
    values = [row[column] for row in rows if row[column] is not None]
    return bool(values) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )


def table_of(rows: Sequence[Row]) -> Table:
    """The rows as texts, ready to be shown."""
    columns = columns_of(rows)
    return Table(
        headings=tuple(heading(column) for column in columns),
        numeric=tuple(_is_numeric(rows, column) for column in columns),
        rows=tuple(tuple(cell(column, row[column]) for column in columns) for row in rows),
    )


def _csv_cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value


def csv_of(rows: Sequence[Row]) -> str:
    """The rows as CSV (RFC 4180), with exact dollars beside every nano-dollar column.

    A text that a spreadsheet would run as a formula gets a leading apostrophe; numbers do not.
    """
    columns = columns_of(rows)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    header: list[str] = []
    for column in columns:
        header.append(column)
        if column.endswith(_NANO):
            header.append(f"{column.removesuffix(_NANO)}_usd")
    writer.writerow(header)
    for row in rows:
        cells: list[object] = []
        for column in columns:
            value = row[column]
            cells.append(_csv_cell(value))
            if column.endswith(_NANO):
                cells.append("" if value is None else format_usd(int(value)))
        writer.writerow(cells)
    return out.getvalue()
