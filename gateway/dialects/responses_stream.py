"""The events of a response stream: what they generate, what they report, and how they end.

Every event names itself in `type`. What is generated comes in events that end in `.delta`; the end
is `response.completed`, `.incomplete` or `.failed`, which carries the usage.
Source: OpenAI API reference, streaming events of responses.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from budgets.usage import UsageExtras, usage_from_responses
from gateway.dialects.events import EventMeter, data_of, named_event, object_in
from gateway.dialects.openai_style import text_field
from gateway.errors import ApiError
from gateway.meter import Sighting

CREATED = "response.created"
ENDS = frozenset(
    {
        "response.completed",
        "response.incomplete",
        "response.failed",
        "response.cancelled",
    }
)
FAILURES = frozenset({"response.failed", "response.cancelled"})
ITEM_ADDED = "response.output_item.added"
ITEM_DONE = "response.output_item.done"
# Sound in base64 is no text, its transcript comes in events of its own; and what a tool puts out is
# not generated.
_NOT_GENERATED = ("audio.delta", "call_output")
# Calls of tools that the provider runs itself, by the type of their items.
_HOSTED_CALLS = frozenset(
    {
        "code_interpreter_call",
        "file_search_call",
        "image_generation_call",
        "mcp_call",
        "web_search_call",
    }
)


class ResponseMeter(EventMeter):
    """Meters one response stream."""

    __slots__ = ("_created", "_number", "_tool_uses")

    def __init__(self, limit_tokens: int, count: Callable[[str], int]) -> None:
        super().__init__(limit_tokens, count)
        self._created: bytes | None = None
        self._number = -1
        self._tool_uses: dict[str, int] = {}

    def fail(self, error: ApiError, request_id: str) -> bytes:
        """`response.failed` for clients that look at the response, `error` for those that raise.

        Nothing can fail before it was created, so a stream without a beginning has the error only.
        """
        number = self._number + 1
        created = None if self._created is None else object_in(data_of(self._created) or b"")
        response = None if created is None else created.get("response")
        if not isinstance(response, dict):
            return error_event(error, number)
        failed = {
            "type": "response.failed",
            "sequence_number": number,
            "response": {
                **response,
                "status": "failed",
                "error": {"code": failure_code(error), "message": error.message},
            },
        }
        return named_event("response.failed", failed) + error_event(error, number + 1)

    def _look_into(self, event: bytes, body: Mapping[str, Any]) -> Sighting:
        if body.get("error") is not None:
            self.error_seen = True
        kind = body.get("type")
        if not isinstance(kind, str):
            return Sighting(event)
        number = body.get("sequence_number")
        if type(number) is int:
            self._number = number
        if kind.endswith(".delta"):
            if not any(part in kind for part in _NOT_GENERATED) and self.take(body.get("delta")):
                self.text_events += 1
        elif kind in ENDS:
            return self._end(event, kind, body)
        elif kind == CREATED:
            self._created = event
            self._note_id(body)
        elif kind == "error":
            self.error_seen = True
        elif kind in (ITEM_ADDED, ITEM_DONE):
            self._look_at(body.get("item"), kind)
        return Sighting(event)

    def _end(self, event: bytes, kind: str, body: Mapping[str, Any]) -> Sighting:
        self.finished = True
        self.error_seen |= kind in FAILURES
        self._note_id(body)
        response = body.get("response")
        report = response.get("usage") if isinstance(response, dict) else None
        if report is not None:
            self._keep(usage_from_responses(report))
        return Sighting(event, done=True)

    def _note_id(self, body: Mapping[str, Any]) -> None:
        response = body.get("response")
        if isinstance(response, dict):
            self.response_id = text_field(response, "id") or self.response_id

    def _look_at(self, item: object, kind: str) -> None:
        """The name of a call comes with its item; a tool's use is counted when it is over."""
        if not isinstance(item, dict):
            return
        if kind == ITEM_ADDED:
            if self.take(item.get("name")):
                self.text_events += 1
            return
        call = item.get("type")
        if isinstance(call, str) and call in _HOSTED_CALLS:
            self._tool_uses[call] = self._tool_uses.get(call, 0) + 1
            self.extras = UsageExtras(tool_uses=self._tool_uses)


def error_event(error: ApiError, number: int) -> bytes:
    """The `error` event: its fields as documented, and the object that makes SDKs raise."""
    detail = {
        "message": error.message,
        "type": error.kind,
        "param": error.param,
        "code": error.code,
        **error.details,
    }
    return named_event(
        "error",
        {
            "type": "error",
            "sequence_number": number,
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "error": detail,
        },
    )


def failure_code(error: ApiError) -> str:
    """The nearest of the codes that clients of `response.failed` know.

    Codex, for one, tries again after any code that it does not know to be final.
    """
    if error.status in (402, 403):
        return "insufficient_quota"
    if error.status == 429:
        return "rate_limit_exceeded"
    return "server_error" if error.status >= 500 else "invalid_prompt"


def generated_in(response: Mapping[str, Any]) -> Iterator[str]:
    """The generated texts of a whole response: messages, reasoning, and the calls of tools."""
    output = response.get("output")
    for item in output if isinstance(output, list) else ():
        if not isinstance(item, dict):
            continue
        for name in ("name", "arguments", "input", "code"):
            if text := text_field(item, name):
                yield text
        for name in ("content", "summary"):
            parts = item.get(name)
            for part in parts if isinstance(parts, list) else ():
                if isinstance(part, dict):
                    yield from _texts_of(part)


def _texts_of(part: Mapping[str, Any]) -> Iterator[str]:
    for name in ("text", "refusal", "transcript"):
        if text := text_field(part, name):
            yield text


def tool_uses_in(response: Mapping[str, Any]) -> dict[str, int]:
    """How often each tool of the provider was used in a whole response."""
    uses: dict[str, int] = {}
    output = response.get("output")
    for item in output if isinstance(output, list) else ():
        kind = item.get("type") if isinstance(item, dict) else None
        if isinstance(kind, str) and kind in _HOSTED_CALLS:
            uses[kind] = uses.get(kind, 0) + 1
    return uses
