"""The small language of the scripted provider: what one call is answered with. Pure.

A script is `key=value,key=value`, values percent-encoded, `key` alone meaning `key=yes`:

    echo                    the last user message comes back
    say=Hello%20there       this text
    chunks=50               so many words, one token each
    tool=get_weather        a call of this tool; `args=%7B%22city%22%3A%22Bonn%22%7D` its arguments
    then=Done               this text instead, once the tool has answered or where it is not offered
    delay_ms=5              pause before every token; `first_delay_ms` before the first byte
    usage=none              never report usage, even when asked
    cached=10               report so many prompt tokens as cached; `reasoning` likewise for output
    runaway                 ignore `max_tokens` and the end of the text: stream on until cut
    break_after=3           the connection breaks after so many tokens
    status=429              answer with an error of this status; `retry_after=2` adds the header
    refuse                  the connection is refused
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from urllib.parse import unquote

DIRECTIVE = re.compile(r"#weir:(\S+)")
WORDS = ("the", " water", " runs", " down", " to", " the", " sea", " and", " back", ",")
MAX_CHUNKS = 1_000_000
MAX_DELAY_MS = 600_000


class ScriptError(ValueError):
    """A script that cannot be read; the message names key and fix."""


@dataclass(frozen=True, slots=True)
class Script:
    """One answer. Of `say`, `chunks`, and `tool` at most one is set; none of them means echo."""

    echo: bool = False
    say: str | None = None
    chunks: int | None = None
    tool: str | None = None
    args: str = "{}"
    then: str | None = None
    delay_ms: int = 0
    first_delay_ms: int = 0
    usage: str = "auto"
    cached: int = 0
    reasoning: int = 0
    runaway: bool = False
    break_after: int | None = None
    status: int = 200
    retry_after: int | None = None
    refuse: bool = False

    def tokens(self, prompt: str) -> Iterator[str]:
        """The answer's pieces, one token each, before any limit."""
        if self.tool is not None:
            return iter(split_tokens(self.args))
        if self.runaway or self.chunks is not None:
            count = MAX_CHUNKS if self.runaway else self.chunks
            return itertools.islice(itertools.cycle(WORDS), count)
        return iter(split_tokens(prompt if self.say is None else self.say))

    def when(self, tool_answered: bool, offered: frozenset[str]) -> "Script":
        """The script for a request: what `then` says where there is no tool to call (any more)."""
        if self.then is None or (self.tool in offered and not tool_answered):
            return self
        return replace(self, tool=None, say=self.then, then=None)


_LIMITS: Mapping[str, tuple[int, int]] = {
    "chunks": (0, MAX_CHUNKS),
    "delay_ms": (0, MAX_DELAY_MS),
    "first_delay_ms": (0, MAX_DELAY_MS),
    "cached": (0, MAX_CHUNKS),
    "reasoning": (0, MAX_CHUNKS),
    "break_after": (0, MAX_CHUNKS),
    "status": (200, 599),
    "retry_after": (0, 86_400),
}
_FLAGS = frozenset({"echo", "refuse", "runaway"})
_KEYS = tuple(field.name for field in fields(Script))


def split_tokens(text: str) -> list[str]:
    """Text in tokens of this provider: a word with the space before it."""
    return re.findall(r"\s*\S+", text)


def parse_script(text: str) -> Script:
    """Read a script; raise ScriptError."""
    values: dict[str, str | int | bool] = {}
    for item in text.split(","):
        key, _, raw = item.strip().partition("=")
        values[key] = _value(key, unquote(raw))
    if values.get("usage", "auto") not in ("auto", "none"):
        raise ScriptError("usage: must be auto or none")
    if sum(key in values for key in ("echo", "say", "chunks", "tool")) > 1:
        raise ScriptError("echo, say, chunks, and tool exclude each other")
    if "then" in values and "tool" not in values:
        raise ScriptError("then: goes with a tool")
    return Script(**values)  # type: ignore[arg-type]  # _value gave each key its type


def script_for(prompt: str, default: Script) -> Script:
    """The script that the last user message asks for, or the default; raise ScriptError."""
    found = DIRECTIVE.search(prompt)
    return default if found is None else parse_script(found[1])


def _value(key: str, raw: str) -> str | int | bool:
    if key in _FLAGS:
        if raw not in ("", "yes"):
            raise ScriptError(f"{key}: stands alone, without a value")
        return True
    if key not in _KEYS:
        raise ScriptError(f"{key or '(nothing)'}: unknown; one of {', '.join(_KEYS)}")
    if key not in _LIMITS:
        return raw
    low, high = _LIMITS[key]
    if not raw.isascii() or not raw.isdigit() or not low <= int(raw) <= high:
        raise ScriptError(f"{key}: must be a whole number from {low} to {high}")
    return int(raw)
