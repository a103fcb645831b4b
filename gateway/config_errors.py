"""Faults of the configuration, each with its file, line and key, and all told at once.

TOML parsers give values, not places. `key_lines` reads the text a second time and notes the line of
every key; it assumes TOML that has already parsed.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

KeyPath = tuple[str | int, ...]
"""A place in the file: table and key names, with indexes for entries of arrays."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong; `line` counts from 1 and is None where no line is to blame."""

    file: str
    line: int | None
    key: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        key = f"{self.key}: " if self.key else ""
        hint = f' (did you mean "{self.suggestion}"?)' if self.suggestion else ""
        return f"{place}: {key}{self.message}{hint}"


class ConfigError(ValueError):
    """The configuration cannot be used; `faults` lists every reason found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


def suggest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to a mistyped one, or None where nothing is close."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def dotted(path: KeyPath) -> str:
    """A key path as a person writes it, such as `budgets[0].limit_usd`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE_KEY.fullmatch(part) else f'"{part}"'
            text += f".{name}" if text else name
    return text


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """The line of the path, or of the nearest table around it that the file has."""
    for end in range(len(path), 0, -1):
        line = lines.get(path[:end])
        if line is not None:
            return line
    return None


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """The first line of every table, key and array entry of a TOML text."""
    scan = _Scan(text)
    scan.document()
    return scan.lines


_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_PLAIN_VALUE = re.compile(r"[^,\]}\n#]*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_ESCAPE = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(["\\btnfr]))')
_SHORT_ESCAPES = {'"': '"', "\\": "\\", "b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


def _unescaped(match: re.Match[str]) -> str:
    short, long, letter = match.groups()
    return _SHORT_ESCAPES[letter] if letter else chr(int(short or long, 16))


@dataclass(slots=True)
class _Scan:
    """A walk through a TOML text that keeps the line of each key it passes."""

    text: str
    at: int = 0
    lines: dict[KeyPath, int] = field(default_factory=dict)
    arrays: dict[KeyPath, int] = field(default_factory=dict)
    counted_to: int = 0
    line: int = 1

    def document(self) -> None:
        table: KeyPath = ()
        while self.skip_blank():
            if self.text.startswith("[", self.at):
                table = self.header()
            else:
                self.pair(table)

    def skip_blank(self) -> bool:
        """Pass white space, line ends and comments; whether anything is left."""
        self.pass_over(_BLANK)
        return self.at < len(self.text)

    def pass_over(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"not TOML at character {self.at}")
        self.at = match.end()
        return match.group()

    def take(self, mark: str) -> bool:
        self.pass_over(_BLANK)
        found = self.text.startswith(mark, self.at)
        self.at += len(mark) if found else 0
        return found

    def note(self, path: KeyPath) -> None:
        self.line += self.text.count("\n", self.counted_to, self.at)
        self.counted_to = self.at
        self.lines.setdefault(path, self.line)

    def header(self) -> KeyPath:
        """`[a.b]` or `[[a.b]]`: the path of the table that begins here."""
        self.take("[")
        is_array = self.take("[")
        path: KeyPath = ()
        names = self.dotted_key()
        for depth, name in enumerate(names):
            path = (*path, name)
            self.note(path)
            is_last = depth == len(names) - 1
            if is_array and is_last:
                self.arrays[path] = self.arrays.get(path, -1) + 1
            if path in self.arrays:
                path = (*path, self.arrays[path])
        self.note(path)
        self.take("]")
        if is_array:
            self.take("]")
        return path

    def dotted_key(self) -> list[str]:
        names = [self.key()]
        while self.take("."):
            names.append(self.key())
        return names

    def key(self) -> str:
        self.pass_over(_BLANK)
        if self.text.startswith('"', self.at):
            return _ESCAPE.sub(_unescaped, self.pass_over(_STRING)[1:-1])
        if self.text.startswith("'", self.at):
            return self.pass_over(_STRING)[1:-1]
        return self.pass_over(_BARE_KEY)

    def pair(self, table: KeyPath) -> None:
        path = table
        for name in self.dotted_key():
            path = (*path, name)
            self.note(path)
        self.take("=")
        self.value(path)

    def value(self, path: KeyPath) -> None:
        self.pass_over(_BLANK)
        opening = self.text[self.at : self.at + 1]
        if opening == "[":
            self.array(path)
        elif opening == "{":
            self.inline_table(path)
        elif opening in "\"'":
            self.pass_over(_STRING)
        else:
            self.pass_over(_PLAIN_VALUE)

    def array(self, path: KeyPath) -> None:
        self.take("[")
        index = 0
        while not self.take("]"):
            self.note((*path, index))
            self.value((*path, index))
            self.take(",")
            index += 1

    def inline_table(self, path: KeyPath) -> None:
        self.take("{")
        while not self.take("}"):
            self.pair(path)
            self.take(",")
