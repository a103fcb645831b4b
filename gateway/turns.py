"""Fingerprints of a conversation: which earlier request could this one go on from?

An agent sends its whole conversation again with each request. So one request goes on from another
where all that the other one said stands before an assistant's turn in this one. What differs though
nothing was said is left out: system prompts (they hold the time of day), thinking (it is dropped
later), cache marks (they move), and whether a text stands alone or in a list.

A fingerprint is good within one process only; an anchor (see `anchor_of`) is the same everywhere.
Of a long text in later turns only parts are read: by then the beginning, which is read whole up to
16 KB, has told conversations apart.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from budgets.value import value

OPENING_CHARS = 16_384
LATER_CHARS = 192
# Texts, lengths of texts, and marks between them.
Pieces: TypeAlias = list[str | int]
_INSTRUCTIONS = ("system", "developer")
_IDS = ("call_id", "tool_call_id", "tool_use_id")
_TEXTS = ("text", "content", "output", "arguments", "input", "refusal", "url", "data", "image_url")
_NESTED = ("image_url", "source", "function", "custom", "input_audio", "file", "file_data")
_SILENT = frozenset({"thinking", "redacted_thinking", "reasoning"})


@value
class Turns:
    """A request's conversation in fingerprints.

    `whole` is of all it says, up to the last that is not the assistant's. `branches` are, for each
    assistant's turn, of what stands before it and of the same with the turn; the longest first.
    """

    whole: int
    branches: tuple[tuple[int, int], ...]


def turns_of(items: Sequence[Any]) -> Turns | None:
    """The fingerprints of messages (or of a response's items); None where nobody says anything."""
    branches: list[tuple[int, int]] = []
    sum_, most = 0, OPENING_CHARS
    before: int | None = None
    whole: int | None = None
    for item in items:
        if type(item) is not dict:
            continue
        role, content = item.get("role"), item.get("content")
        if role in _INSTRUCTIONS or (role is None and item.get("type") == "reasoning"):
            continue
        pieces: Pieces = [sum_]
        if type(content) is str and len(item) == 2:  # the commonest shape, at once
            if len(content) <= most:
                pieces.append(content)
            else:
                pieces += (len(content), content[: most >> 1], content[-(most >> 1) :])
        else:
            _add_parts(item, most, pieces)
        if role == "assistant" or (role is None and _is_assistants(item)):
            if before is None and whole is not None:
                before, most = sum_, LATER_CHARS
            pieces.append(1)
            sum_ = hash(tuple(pieces))
        else:
            if before is not None:
                branches.append((before, sum_))
                before = None
            whole = sum_ = hash(tuple(pieces))
    if whole is None:
        return None
    return Turns(whole, tuple(branches[::-1]))


def anchor_of(items: Sequence[Any]) -> bytes:
    """A digest of a conversation up to what follows its first answer, the same in every process.

    Ids of calls alone would not do: in recorded runs of real agents one id stands in several.
    """
    pieces: Pieces = []
    answered = answer_over = False
    for item in items:
        if type(item) is dict and not _is_silent(item):
            is_answer = _is_assistants(item)
            if answer_over and is_answer:
                break
            answer_over = answered and not is_answer
            answered = answered or is_answer
            _add_parts(item, OPENING_CHARS, pieces)
            pieces.append(int(is_answer))
    text = "\0".join(map(str, pieces)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


def _is_silent(item: Mapping[str, Any]) -> bool:
    return item.get("role") in _INSTRUCTIONS or item.get("type") == "reasoning"


def _is_assistants(item: Mapping[str, Any]) -> bool:
    role = item.get("role")
    if role is not None:
        return bool(role == "assistant")
    kind = item.get("type")
    return isinstance(kind, str) and kind.endswith("_call")


def _add_parts(part: Mapping[str, Any], most: int, pieces: Pieces) -> None:
    """What a message or a block of one says, ids included; marks and names are left out."""
    if len(part) == 2 and type(part.get("content")) is str:
        _add_text(part["content"], most, pieces)
        return
    for field in _IDS:
        if field in part and type(part[field]) is str:
            pieces.append(part[field])
    if part.get("type") == "tool_use" and part.get("id"):
        return
    for field in _TEXTS:
        if field in part:
            _add_value(part[field], most, pieces)
    for field in _NESTED:
        if field in part and type(part[field]) is dict:
            _add_parts(part[field], most, pieces)
    calls = part.get("tool_calls")
    for call in calls if type(calls) is list else ():
        if type(call) is dict:
            found = call.get("id")
            if type(found) is str and found:
                pieces.append(found)
            else:
                _add_parts(call, most, pieces)


def _add_value(content: object, most: int, pieces: Pieces) -> None:
    if type(content) is str:
        _add_text(content, most, pieces)
    elif type(content) is list:
        for block in content:
            if type(block) is dict:
                if block.get("type") not in _SILENT:
                    if block.get("type") == "tool_use":
                        pieces.append(str(block.get("id")))
                    _add_parts(block, most, pieces)
            elif type(block) is str:
                _add_text(block, most, pieces)


def _add_text(text: str, most: int, pieces: Pieces) -> None:
    """Of a text beyond `most`: its length, and halves of `most` from begin and end."""
    chars = len(text)
    if chars <= most:
        pieces.append(text)
    else:
        half = most >> 1
        pieces += (chars, text[:half], text[-half:])
