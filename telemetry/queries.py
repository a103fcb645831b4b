"""The questions asked of the warehouse: one file each, with its meaning in the header."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from telemetry.warehouse import Row, Warehouse

_HEADER = re.compile(r"-- (question|grain|parameters): (.+)")
_PARAMETER = re.compile(r"\$([a-z_]+)")


class QueryError(ValueError):
    """A query that does not exist, or is asked with the wrong parameters."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question: what it answers, what one row of the answer is, and what it has to be told."""

    name: str
    question: str
    grain: str
    parameters: tuple[str, ...]
    sql: str


def parse_query(name: str, text: str) -> Query:
    """Read a query file; raise QueryError where header and SQL do not agree."""
    header = {key: value.strip() for key, value in _HEADER.findall(text)}
    for key in ("question", "grain", "parameters"):
        if key not in header:
            raise QueryError(f"{name}.sql: the header lacks a line '-- {key}: ...'")
    declared = tuple(part.strip() for part in header["parameters"].split(","))
    sql = "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()
    used = set(_PARAMETER.findall(sql))
    if used != set(declared):
        raise QueryError(f"{name}.sql: declares {sorted(declared)}, but uses {sorted(used)}")
    return Query(name, header["question"], header["grain"], declared, sql)


class QueryBook:
    """Every question that ships, by name."""

    __slots__ = ("queries",)

    def __init__(self, queries: Mapping[str, Query]) -> None:
        self.queries = queries

    @classmethod
    def load(cls) -> "QueryBook":
        """Read `telemetry/sql/queries`; raise QueryError for a file that is not in order."""
        folder = files("telemetry").joinpath("sql/queries")
        found = {}
        for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
            name = file.name.removesuffix(".sql")
            found[name] = parse_query(name, file.read_text(encoding="utf-8"))
        return cls(found)

    def run(self, warehouse: Warehouse, name: str, **params: object) -> list[Row]:
        """The answer's rows; periods are half-open, `from_ms <= admitted_ms < to_ms`.

        Raise QueryError for an unknown name and for parameters that are missing or too many.
        """
        query = self.queries.get(name)
        if query is None:
            raise QueryError(f"no query {name!r}; there are {', '.join(self.queries)}")
        if set(params) != set(query.parameters):
            raise QueryError(
                f"{name} takes {', '.join(query.parameters)}; got {', '.join(params) or 'none'}"
            )
        return warehouse.query(query.sql, params)
