"""A chat completion, streamed or whole, as the pieces that any other dialect can be written from.

Providers differ in how they number the calls of tools: some give every parallel call the index 0,
some give none. A call begins with an id or index that was not the last one's.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import orjson

from budgets.value import value
from gateway.dialects.openai_style import text_field
from gateway.dialects.translation.port import Omissions

# What is read here or needs no carrying: `obfuscation` only hides how long a chunk is.
_KNOWN = frozenset({"choices", "created", "error", "id", "model", "object", "obfuscation", "usage"})
_KNOWN_OF_A_CHOICE = frozenset({"delta", "finish_reason", "index", "message", "stop_reason"})
_KNOWN_OF_WHAT_IS_SAID = frozenset(
    {"content", "function_call", "reasoning", "reasoning_content", "refusal", "role", "tool_calls"}
)
_KNOWN_OF_A_CALL = frozenset({"function", "id", "index", "type"})


class Kind(StrEnum):
    REASONING = "reasoning"
    TEXT = "text"
    REFUSAL = "refusal"
    CALL = "call"
    ARGUMENTS = "arguments"


@value
class Piece:
    """Something generated; a call begins with its name and id, and its arguments follow."""

    kind: Kind
    text: str
    call_id: str = ""


class InterleavedCalls(ValueError):
    """Arguments came for a call that is over, which no other dialect can express."""


class ChatReader:
    """Reads the chunks of one choice. What is known so far stands in its fields."""

    __slots__ = ("_call", "_calls", "finish", "id", "model", "omissions", "stop_text", "usage")

    def __init__(self) -> None:
        self.id = ""
        self.model = ""
        self.finish = ""
        self.stop_text = ""
        self.usage: Mapping[str, Any] | None = None
        self.omissions = Omissions()
        self._call: tuple[object, str] | None = None  # index and id of the call that is open
        self._calls: set[object] = set()

    def read(self, body: Mapping[str, Any]) -> list[Piece]:
        """What a chunk, or a whole completion, adds; raise InterleavedCalls."""
        self.id = self.id or text_field(body, "id")
        self.model = self.model or text_field(body, "model")
        usage = body.get("usage")
        if isinstance(usage, dict):
            self.usage = usage
        self.omissions.rest(body, _KNOWN)
        choices = body.get("choices")
        pieces: list[Piece] = []
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict) or choice.get("index") not in (0, None):
                self.omissions.note("choices[1]")
                continue
            self.omissions.rest(choice, _KNOWN_OF_A_CHOICE, "choices.")
            delta = choice.get("delta")
            said = delta if isinstance(delta, dict) else choice.get("message")
            if isinstance(said, dict):
                pieces += self._said(said)
            self.finish = text_field(choice, "finish_reason") or self.finish
            # vLLM tells which stop sequence ended the text.
            stopped_at = choice.get("stop_reason")
            if isinstance(stopped_at, str):
                self.stop_text = stopped_at or self.stop_text
            elif stopped_at is not None:  # the number of a token
                self.omissions.note("choices.stop_reason")
        return pieces

    def _said(self, said: Mapping[str, Any]) -> Iterator[Piece]:
        self.omissions.rest(said, _KNOWN_OF_WHAT_IS_SAID)
        if isinstance(said.get("content"), list):
            self._note_parts(said["content"])
        reasoning = text_field(said, "reasoning_content") or text_field(said, "reasoning")
        text, refusal = text_of(said.get("content")), text_field(said, "refusal")
        if reasoning or text or refusal:
            self._call = None
        if reasoning:
            yield Piece(Kind.REASONING, reasoning)
        if text:
            yield Piece(Kind.TEXT, text)
        if refusal:
            yield Piece(Kind.REFUSAL, refusal)
        calls = said.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                yield from self._called(call)
        older = said.get("function_call")
        if isinstance(older, dict):
            yield from self._called({"index": 0, "function": older})

    def _note_parts(self, parts: list[Any]) -> None:
        """Contents in parts are read as text alone."""
        for part in parts:
            if not (isinstance(part, dict) and "text" in part):
                kind = part.get("type") if isinstance(part, dict) else None
                self.omissions.note(f"content.{kind}")

    def _called(self, call: Mapping[str, Any]) -> Iterator[Piece]:
        self.omissions.rest(call, _KNOWN_OF_A_CALL, "tool_calls.")
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        index, name, call_id = call.get("index"), text_field(function, "name"), call.get("id")
        call_id = call_id if isinstance(call_id, str) else ""
        if self._is_new(index, call_id, name):
            call_id = call_id or f"call_{len(self._calls)}"
            self._call = (index, call_id)
            self._calls.add(call_id)
            yield Piece(Kind.CALL, name, call_id)
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # Ollama's older servers
            arguments = orjson.dumps(arguments).decode()
        if isinstance(arguments, str) and arguments:
            yield Piece(Kind.ARGUMENTS, arguments)

    def _is_new(self, index: object, call_id: str, name: str) -> bool:
        open_index, open_id = self._call or (None, "")
        if call_id and call_id == open_id:
            return False
        if call_id in self._calls:
            raise InterleavedCalls(f"arguments for the call {call_id!r}, which is over")
        same_place = self._call is not None and index == open_index
        if name:
            # A server that repeats the name tells by the id, or by the index, that it goes on.
            return bool(call_id) or not same_place or index is None
        if same_place:
            return False
        if self._calls:
            raise InterleavedCalls(f"arguments for the call {index!r}, which is not open")
        return True


def text_of(content: object) -> str:
    """The text of a content, which some providers give in parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (text_field(part, "text") for part in content if isinstance(part, dict))
    return "".join(texts)


def arguments_object(arguments: str) -> dict[str, Any]:
    """The arguments of a call as an object.

    What is no JSON object is kept in `INVALID_JSON`, as Anthropic recommends for broken arguments.
    """
    if not arguments.strip():
        return {}
    try:
        found = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        found = None
    return found if isinstance(found, dict) else {"INVALID_JSON": arguments}


def details(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """One of the detail objects of a usage report."""
    found = usage.get(name)
    return found if isinstance(found, dict) else {}


def error_in(body: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Message, type and code of an error that a provider sent, None where there is none."""
    error = body.get("error")
    if error is None:
        return None
    if not isinstance(error, dict):
        return str(error)[:1000], "", ""
    message = error.get("message")
    code = error.get("code") or details(error, "details").get("error_code")
    shown = message if isinstance(message, str) and message else orjson.dumps(error).decode()
    return shown[:10_000], text_field(error, "type"), "" if code is None else str(code)
