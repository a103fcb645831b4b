"""What the scripted provider's answers have in common, whatever dialect they are worded in. Pure.

Wire            how one route is spoken: reads the request, words answer and errors
Wording         the words of one answer, whole or piece by piece
steps_of        the same as steps: bytes, pauses, and what they are charged with
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any, Protocol

import orjson

from gateway.providers.script import Script, split_tokens

_RESULT_ITEMS = frozenset({"function_call_output", "custom_tool_call_output"})


class RequestError(ValueError):
    """A body that is no request of its dialect; the message names the field."""


@dataclass(frozen=True, slots=True)
class ScriptedRequest:
    """What of a request the answer depends on.

    `prompt` is the last thing the user says, which may hold a script. `prompts` has one entry for
    each choice to make: what it would echo. `previous` is the answer it goes on from. `fields` is
    the whole body. `tool_answered` where a tool's result is the last word, not the user.
    """

    model: str
    prompt: str
    prompts: tuple[str, ...]
    prompt_tokens: int
    max_tokens: int | None
    stream: bool
    include_usage: bool = False
    previous: str = ""
    tool_answered: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def offered_tools(self) -> frozenset[str]:
        """The names of the tools that the request offers."""
        return frozenset(_tool_names(self.fields.get("tools")))


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer's identity and what it is charged with."""

    answer_id: str
    created_s: int
    request: ScriptedRequest
    script: Script

    @property
    def reasoning_tokens(self) -> int:
        limit = self.request.max_tokens
        reasoning = self.script.reasoning
        return reasoning if limit is None or self.script.runaway else min(reasoning, limit)

    @property
    def cached_tokens(self) -> int:
        return min(self.script.cached, self.request.prompt_tokens)

    @property
    def reports_usage(self) -> bool:
        return self.script.usage != "none"


class Served(StrEnum):
    """How an answer ended: all sent, let go by the caller, or broken off by the script."""

    WHOLE = "whole"
    CUT = "cut"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes to send after a pause, the tokens they carry, and whether the answer ends with them."""

    data: bytes
    tokens: int = 0
    pause_ms: int = 0
    ending: Served | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """One choice: its text, its tokens, and whether the limit cut it."""

    text: str
    tokens: int
    cut: bool


class Wording(Protocol):
    """How one answer is worded."""

    def opening(self) -> bytes:
        """What a stream begins with."""

    def piece(self, index: int, text: str) -> bytes:
        """One token of a choice."""

    def closing(self, said: Sequence[Said]) -> Sequence[bytes]:
        """What a stream ends with, one item or more."""

    def whole(self, said: Sequence[Said]) -> bytes:
        """The body of an answer that is not streamed."""


class NeverStreamed:
    """What answers that only come whole say of a stream: nothing."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def opening(self) -> bytes:
        return b""

    def piece(self, index: int, text: str) -> bytes:
        return b""

    def closing(self, said: Sequence[Said]) -> Sequence[bytes]:
        return [b""]


@dataclass(frozen=True, slots=True)
class Wire:
    """How one route is spoken. `prefix` begins the ids of its answers; `is_free` is not billed.

    `kind` is the content type of an answer, where it is neither JSON nor, in a stream, events.
    """

    prefix: str
    read: Callable[[bytes], ScriptedRequest]
    words: Callable[[Answer], Wording]
    error_body: Callable[[int, str, str, str | None], bytes]
    is_free: bool = False
    kind: Callable[[ScriptedRequest], bytes] | None = None


def steps_of(answer: Answer, words: Wording) -> Iterator[Step]:
    """The answer as it is sent; half of it where the script breaks."""
    return _streamed(answer, words) if answer.request.stream else _whole(answer, words)


def _allowed(answer: Answer) -> int | None:
    """How many tokens a choice may have; None without a limit."""
    limit = answer.request.max_tokens
    if limit is None or answer.script.runaway:
        return None
    return limit - answer.reasoning_tokens


def _whole(answer: Answer, words: Wording) -> Iterator[Step]:
    said = []
    for prompt in answer.request.prompts:
        tokens = answer.script.tokens(prompt)
        sent = list(islice(tokens, _allowed(answer)))
        said.append(Said("".join(sent), len(sent), next(tokens, None) is not None))
    body = words.whole(said)
    count = sum(one.tokens for one in said)
    pause_ms = answer.script.delay_ms * count
    if answer.script.break_after is None:
        yield Step(body, count, pause_ms, Served.WHOLE)
    else:
        yield Step(body[: len(body) // 2], count, pause_ms)
        yield Step(b"", ending=Served.BROKEN)


def _streamed(answer: Answer, words: Wording) -> Iterator[Step]:
    script = answer.script
    yield Step(words.opening())
    said: list[Said] = []
    count = 0
    for index, prompt in enumerate(answer.request.prompts):
        tokens = script.tokens(prompt)
        sent: list[str] = []
        for text in islice(tokens, _allowed(answer)):
            if count == script.break_after:
                break
            count += 1
            sent.append(text)
            yield Step(words.piece(index, text), 1, script.delay_ms)
        said.append(Said("".join(sent), len(sent), next(tokens, None) is not None))
    if script.break_after is not None:
        yield Step(b"", ending=Served.BROKEN)
        return
    *others, last = words.closing(said)
    for data in others:
        yield Step(data)
    yield Step(last, ending=Served.WHOLE)


# -- reading ------------------------------------------------------------------------------------


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a request; raise RequestError."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError("the body is not JSON") from error
    if not isinstance(fields, dict):
        raise RequestError("the body is not a JSON object")
    return fields


def read_limit(fields: Mapping[str, Any], *names: str, least: int = 1) -> int | None:
    """The first of these fields that is set, a bound of the answer; raise RequestError."""
    for name in names:
        limit = fields.get(name)
        if limit is not None:
            if type(limit) is not int or limit < least:
                raise RequestError(f"{name}: must be a whole number of at least {least}")
            return limit
    return None


def read_messages(fields: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A list of messages or items; raise RequestError."""
    messages = fields.get(name)
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        raise RequestError(f"{name}: must be a list of objects")
    return messages


def last_of_user(messages: Iterable[Mapping[str, Any]]) -> tuple[str, bool]:
    """The text of the last message of a user, empty where there is none; did a tool answer since?

    Anthropic's clients send the results of tools as messages of the user, with notes beside them.
    """
    text, tool_answered = "", False
    for item in messages:
        if _is_result(item):
            tool_answered = True
        elif item.get("role") == "user":
            text, tool_answered = text_of(item.get("content")), False
    return text, tool_answered


def _is_result(item: Mapping[str, Any]) -> bool:
    """Whether a message or an item is what a tool answered, in any dialect."""
    if item.get("role") == "tool" or item.get("type") in _RESULT_ITEMS:
        return True
    content = item.get("content")
    return isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") == "tool_result" for part in content
    )


def _tool_names(tools: object) -> Iterator[str]:
    """The names in a list of tools, whatever its dialect; a namespace holds further tools."""
    if not isinstance(tools, list):
        return
    for tool in tools:
        if isinstance(tool, dict):
            function = tool.get("function")
            named = function if isinstance(function, dict) else tool
            if isinstance(named.get("name"), str):
                yield named["name"]
            yield from _tool_names(tool.get("tools"))


def text_of(content: object) -> str:
    """The text of a content: a text itself, or the texts of its parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def tokens_in(texts: Iterable[str]) -> int:
    """Tokens of texts, as this provider counts."""
    return sum(len(split_tokens(text)) for text in texts)


# -- wording ------------------------------------------------------------------------------------


def event(payload: Mapping[str, object]) -> bytes:
    """A server-sent event without a name."""
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def named_event(payload: Mapping[str, object]) -> bytes:
    """A server-sent event that is named after its `type`."""
    return b"event: %b\n%b" % (str(payload["type"]).encode(), event(payload))


def openai_error(status: int, message: str, kind: str, code: str | None = None) -> bytes:
    """An error object as OpenAI words it."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})
