"""The input of a custom tool, out of the arguments of the function that stands in for it.

A chat model calls the function with `{"input": "..."}`. The text is taken out as it is generated,
piece by piece, so that a meter sees it in time.
"""

import json

INPUT = "input"
_SIMPLE = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_SPACE = " \t\r\n"


class CustomInput:
    """Feeds on the arguments' text. What is not the one text that was asked for passes as it is."""

    __slots__ = ("_held", "_inside", "_over", "_raw")

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self._over = False
        self._raw = False

    def feed(self, text: str) -> str:
        """The input's text that has become certain."""
        if self._over:
            return ""
        if self._raw:
            return text
        self._held += text
        if not self._inside and not self._enter():
            return self._release() if self._raw else ""
        return self._read()

    def end(self) -> str:
        """What is still held when the call is over."""
        return "" if self._over or self._inside else self._release()

    def _enter(self) -> bool:
        """Go past `{"input": "`; anything else is passed raw."""
        held = self._held
        at = 0
        for expected in ("{", f'"{INPUT}"', ":", '"'):
            while at < len(held) and held[at] in _SPACE:
                at += 1
            found = held[at : at + len(expected)]
            if found != expected:
                self._raw = not expected.startswith(found)
                return False
            at += len(expected)
        self._held = held[at:]
        self._inside = True
        return True

    def _read(self) -> str:
        """Decode up to the closing quote, or to an escape that is not whole."""
        held, out, at = self._held, [], 0
        while at < len(held):
            character = held[at]
            if character == '"':
                self._over = True
                break
            if character != "\\":
                out.append(character)
                at += 1
                continue
            width = _escape_width(held, at)
            if width is None:
                break
            out.append(_decoded(held[at : at + width]))
            at += width
        self._held = held[at:]
        return "".join(out)

    def _release(self) -> str:
        held, self._held = self._held, ""
        return held


def _escape_width(text: str, at: int) -> int | None:
    """The length of the escape that begins here, None while it is not whole."""
    if at + 1 >= len(text):
        return None
    if text[at + 1] != "u":
        return 2
    if at + 6 > len(text):
        return None
    if text[at + 2 : at + 4].lower() not in ("d8", "d9", "da", "db"):
        return 6
    # The first half of a pair waits for its second half.
    following = text[at + 6 : at + 8]
    if not "\\u".startswith(following):
        return 6
    return 12 if at + 12 <= len(text) else None


def _decoded(escape: str) -> str:
    if escape[1] != "u":
        return _SIMPLE.get(escape[1], escape)
    try:
        decoded: str = json.loads(f'"{escape}"')
    except ValueError:
        return escape
    return decoded.encode("utf-8", "replace").decode()
