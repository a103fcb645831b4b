"""From TOML text to checked sections: every fault is collected, none stops the reading.

pydantic judges each section by itself; here its errors get the line they are about, a plain
sentence and a suggestion. What sections say about each other is checked in `config_checks`.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from gateway.config_errors import (
    ConfigError,
    Fault,
    KeyPath,
    dotted,
    key_lines,
    line_of,
    suggest,
)

T = TypeVar("T")
_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")
_ARRAY = re.compile(r"\b(?:frozenset|tuple|list)\b")
_QUOTED = re.compile(r"'([^']+)'")


class Shape(Generic[T]):
    """What a table must look like: a section class, or a union of them told apart by a key.

    `also` is a section that reads other keys of the same table.
    """

    def __init__(self, annotation: Any, also: type[BaseModel] | None = None) -> None:
        self.adapter: TypeAdapter[T] = TypeAdapter(annotation)
        self.keys = frozenset((*_field_names(annotation), *_field_names(also)))


@dataclass(frozen=True, slots=True)
class ConfigText:
    """A parsed configuration file, the line of each of its keys, and its bytes."""

    file: str
    values: Mapping[str, Any]
    lines: Mapping[KeyPath, int]
    raw: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class FaultList:
    """Faults found so far in one file."""

    text: ConfigText
    faults: list[Fault] = field(default_factory=list)

    def add(self, path: KeyPath, message: str, suggestion: str | None = None) -> None:
        line = line_of(self.text.lines, path)
        self.faults.append(Fault(self.text.file, line, dotted(path), message, suggestion))

    def add_elsewhere(self, source: str, key: str, message: str) -> None:
        """A fault of what is not in the file, such as an environment variable."""
        self.faults.append(Fault(source, None, key, message))

    def raise_if_any(self) -> None:
        if self.faults:
            raise ConfigError(sorted(self.faults, key=lambda fault: fault.line or 0))


def read_config_text(path: Path, raw: bytes | None = None) -> ConfigText:
    """Parse the file, or what was in it; raise ConfigError with the line of a syntax error."""
    file = str(path)
    try:
        raw = path.read_bytes() if raw is None else raw
    except OSError as error:
        message = f"cannot be read ({error.strerror}); name a file with --config or WEIR_CONFIG"
        raise ConfigError([Fault(file, None, "", message)]) from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([Fault(file, line, "", "the file must be UTF-8 text")]) from error
    try:
        values = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_fault(file, text, str(error))]) from error
    return ConfigText(file, values, key_lines(text), raw)


def _syntax_fault(file: str, text: str, message: str) -> Fault:
    place = _PLACE.search(message)
    last = text.rstrip().count("\n") + 1
    line = last if place is None else int(place["line"] or last)
    return Fault(file, line, "", f"not valid TOML: {_PLACE.sub('', message)}")


def read_section(faults: FaultList, path: KeyPath, raw: object, shape: Shape[T]) -> T | None:
    """Check one table against its shape; None where it has faults, which are noted."""
    try:
        return shape.adapter.validate_python(raw)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            _note(faults, path, raw, problem, shape)
        return None


def read_tables(faults: FaultList, path: KeyPath, raw: object, shape: Shape[T]) -> dict[str, T]:
    """Check `[path.NAME]` tables one by one; those with faults are left out."""
    if not isinstance(raw, dict):
        faults.add(path, f"expected tables such as [{dotted(path)}.NAME], got {raw!r}")
        return {}
    tables: dict[str, T] = {}
    for name, table in raw.items():
        section = read_section(faults, (*path, name), table, shape)
        if section is not None:
            tables[name] = section
    return tables


def split_tables(raw: object, first: type[BaseModel]) -> tuple[object, object]:
    """`[section.NAME]` tables in two: the keys that `first` knows, and all others.

    What is no table stays whole in the second part, where its fault is noted.
    """
    if not isinstance(raw, dict):
        return {}, raw
    known = first.model_fields.keys()
    tables = {name: table for name, table in raw.items() if isinstance(table, dict)}
    firsts = {n: {k: v for k, v in t.items() if k in known} for n, t in tables.items()}
    others = {n: {k: v for k, v in t.items() if k not in known} for n, t in tables.items()}
    return firsts, {**raw, **others}


def read_array(faults: FaultList, path: KeyPath, raw: object, shape: Shape[T]) -> dict[int, T]:
    """Check `[[path]]` tables one by one, by position; those with faults are left out."""
    if not isinstance(raw, list):
        faults.add(path, f"expected tables such as [[{dotted(path)}]], got {raw!r}")
        return {}
    sections = {
        index: read_section(faults, (*path, index), table, shape) for index, table in enumerate(raw)
    }
    return {index: section for index, section in sections.items() if section is not None}


def _note(
    faults: FaultList, path: KeyPath, raw: object, problem: ErrorDetails, shape: Shape[T]
) -> None:
    place, value = _follow(path, raw, problem)
    kind, context = problem["type"], problem.get("ctx", {})
    if kind.startswith("union_tag_"):
        place = (*place, str(context["discriminator"]).strip("'"))
        value = context.get("tag")
    if kind == "extra_forbidden":
        name = str(place[-1])
        known = shape.keys - set(value if isinstance(value, dict) else ())
        faults.add(place, "unknown key", suggest(name, known))
    elif kind in ("missing", "union_tag_not_found"):
        faults.add(place, "is missing")
    else:
        expected = _QUOTED.findall(str(context.get("expected") or context.get("expected_tags", "")))
        hint = suggest(value, expected) if isinstance(value, str) else None
        faults.add(place, _message(problem, value), hint)


def _message(problem: ErrorDetails, value: object) -> str:
    message = _ARRAY.sub("array", problem["msg"].removeprefix("Value error, "))
    if problem["type"] == "value_error":
        return message
    if problem["type"] == "union_tag_invalid":
        return f"expected one of {problem['ctx']['expected_tags']}, got {value!r}"
    if problem["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"expected a table, got {value!r}"
    shown = str(value) if isinstance(value, Decimal) else repr(value)
    return f"{message[:1].lower()}{message[1:]}, got {shown[:80]}"


def _follow(path: KeyPath, raw: object, problem: ErrorDetails) -> tuple[KeyPath, object]:
    """The place of a problem as keys of the file, and what stands there.

    pydantic's own path also names union members and validators, which the file does not have.
    """
    value = raw
    for part in problem["loc"]:
        if isinstance(value, dict) and part in value:
            if problem["type"] == "extra_forbidden" and part == problem["loc"][-1]:
                return (*path, part), value
            path, value = (*path, part), value[part]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            path, value = (*path, part), value[part]
        elif problem["type"] == "missing" and part == problem["loc"][-1]:
            path = (*path, part)
    return path, value


def _field_names(annotation: object) -> Iterable[str]:
    """The keys that a section and the sections within it know."""
    seen: set[object] = set()
    pending: list[object] = [annotation]
    while pending:
        part = pending.pop()
        if isinstance(part, type) and issubclass(part, BaseModel) and part not in seen:
            seen.add(part)
            for name, info in part.model_fields.items():
                yield info.alias or name
                pending.append(info.annotation)
        pending.extend(get_args(part))
