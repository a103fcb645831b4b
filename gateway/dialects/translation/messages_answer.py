"""A chat completion written as an Anthropic message, event by event or whole.

Events come in Anthropic's order: one block at a time, each started, filled and stopped. What is
generated is passed on with the event that brought it, so that a meter sees it in time.
"""

from collections.abc import Mapping
from typing import Any

from gateway.dialects.events import named_event
from gateway.dialects.translation.chat_pieces import (
    ChatReader,
    Kind,
    Piece,
    arguments_object,
    details,
    error_in,
)
from gateway.dialects.translation.port import Omissions
from gateway.providers.unsigned import UNSIGNED

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
# The parts of a usage report that messages have a count for.
_COUNTS = frozenset(
    {"completion_tokens", "completion_tokens_details", "prompt_tokens", "prompt_tokens_details"}
    | {"total_tokens"}
)
_INPUT_COUNTS = frozenset({"cache_write_1h_tokens", "cache_write_tokens", "cached_tokens"})
_OUTPUT_COUNTS = frozenset({"reasoning_tokens"})
_DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}


class MessageWriter:
    """Writes one message (`AnswerWriter`)."""

    __slots__ = ("_arguments", "_blocks", "_failed", "_open", "_reader", "_refused", "_started")

    def __init__(self) -> None:
        self._reader = ChatReader()
        self._blocks: list[dict[str, Any]] = []
        self._arguments: list[str] = []
        self._open = ""
        self._started = False
        self._refused = False
        self._failed = False

    @property
    def omissions(self) -> Omissions:
        """What was left out so far."""
        return self._reader.omissions

    def event(self, body: Mapping[str, Any]) -> bytes:
        """The message's events for one chunk; raise InterleavedCalls."""
        if (error := error_in(body)) is not None:
            self._failed = True
            return named_event("error", error_object(*error))
        out = []
        pieces = self._reader.read(body)
        if isinstance(body.get("usage"), dict):
            self._note_counts(body["usage"])
        if not self._started:
            self._started = True
            out.append(named_event("message_start", self._start()))
        for piece in pieces:
            out += self._piece(piece)
        return b"".join(out)

    def end(self) -> bytes:
        """Stop reason, usage and the end, if the completion had one."""
        if self._failed or not self._reader.finish:
            return b""
        delta = {"stop_reason": self._stop_reason(), "stop_sequence": self._stop_sequence()}
        last = {"type": "message_delta", "delta": delta, "usage": usage_of(self._reader.usage)}
        return b"".join(
            (
                *self._close(),
                named_event("message_delta", last),
                named_event("message_stop", {"type": "message_stop"}),
            )
        )

    def whole(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The message for a whole completion."""
        self.event(answer)
        self._close()
        return {
            **self._start()["message"],
            "content": self._blocks,
            "stop_reason": self._stop_reason(),
            "stop_sequence": self._stop_sequence(),
            "usage": usage_of(self._reader.usage),
        }

    def _note_counts(self, usage: Mapping[str, Any]) -> None:
        noted = self.omissions
        noted.rest(usage, _COUNTS, "usage.")
        noted.rest(details(usage, "prompt_tokens_details"), _INPUT_COUNTS, "usage.")
        noted.rest(details(usage, "completion_tokens_details"), _OUTPUT_COUNTS, "usage.")

    def _start(self) -> dict[str, Any]:
        """SDKs want a count of the input, which is not known yet: meters take 0 for none."""
        message: dict[str, Any] = {
            "id": f"msg_{self._reader.id}",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": self._reader.model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return {"type": "message_start", "message": message}

    def _piece(self, piece: Piece) -> list[bytes]:
        if piece.kind is Kind.CALL:
            call = {"type": "tool_use", "id": piece.call_id, "name": piece.text, "input": {}}
            return self._begin("tool_use", call)
        if piece.kind is Kind.ARGUMENTS:
            self._arguments.append(piece.text)
            return [self._delta({"type": "input_json_delta", "partial_json": piece.text})]
        self._refused |= piece.kind is Kind.REFUSAL
        kind = "thinking" if piece.kind is Kind.REASONING else "text"
        out = []
        if self._open != kind:
            empty: dict[str, Any] = {"type": kind, kind: ""}
            if kind == "thinking":
                empty["signature"] = ""
            out = self._begin(kind, empty)
        delta, field = _DELTAS[kind]
        self._blocks[-1][field] += piece.text
        return [*out, self._delta({"type": delta, field: piece.text})]

    def _begin(self, kind: str, block: dict[str, Any]) -> list[bytes]:
        out = self._close()
        self._open = kind
        start = {"type": "content_block_start", "index": len(self._blocks), "content_block": block}
        out.append(named_event("content_block_start", start))
        self._blocks.append(block)
        return out

    def _close(self) -> list[bytes]:
        """Stop the open block; a call's input is whole now, and thinking gets its mark."""
        if not self._open:
            return []
        out = []
        block = self._blocks[-1]
        if self._open == "tool_use":
            block["input"] = arguments_object("".join(self._arguments))
            self._arguments = []
        elif self._open == "thinking":
            block["signature"] = UNSIGNED
            out.append(self._delta({"type": "signature_delta", "signature": UNSIGNED}))
        self._open = ""
        stop = {"type": "content_block_stop", "index": len(self._blocks) - 1}
        return [*out, named_event("content_block_stop", stop)]

    def _delta(self, delta: dict[str, str]) -> bytes:
        index = len(self._blocks) - 1
        event = {"type": "content_block_delta", "index": index, "delta": delta}
        return named_event("content_block_delta", event)

    def _stop_reason(self) -> str:
        if self._refused:
            return "refusal"
        if self._reader.stop_text:
            return "stop_sequence"
        reason = _STOP_REASONS.get(self._reader.finish, "end_turn")
        called = any(block["type"] == "tool_use" for block in self._blocks)
        return "tool_use" if called and reason == "end_turn" else reason

    def _stop_sequence(self) -> str | None:
        return self._reader.stop_text or None


def usage_of(usage: Mapping[str, Any] | None) -> dict[str, Any]:
    """A chat usage report in Anthropic's disjoint counts; without one, the input is left out.

    Counts that are no numbers stay as they came, so that the meter finds the fault.
    """
    if usage is None:
        return {"output_tokens": 0}
    inputs = details(usage, "prompt_tokens_details")
    outputs = details(usage, "completion_tokens_details")
    total = usage.get("prompt_tokens")
    cached, written = inputs.get("cached_tokens") or 0, inputs.get("cache_write_tokens") or 0
    hour = inputs.get("cache_write_1h_tokens") or 0
    fresh, all_written = total, written
    if all(type(count) is int for count in (total, cached, written, hour)):
        all_written = written + hour
        fresh = total - cached - all_written  # type: ignore[operator]
    report: dict[str, Any] = {
        "input_tokens": fresh,
        "cache_creation_input_tokens": all_written,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.get("completion_tokens"),
    }
    if hour:
        lives = {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": hour}
        report["cache_creation"] = lives
    if reasoning := outputs.get("reasoning_tokens"):
        report["output_tokens_details"] = {"thinking_tokens": reasoning}
    return report


_ERROR_TYPES = {
    "rate_limit_error": "rate_limit_error",
    "rate_limit_exceeded": "rate_limit_error",
    "authentication_error": "authentication_error",
    "permission_error": "permission_error",
    "invalid_request_error": "invalid_request_error",
    "insufficient_quota": "billing_error",
    "overloaded_error": "overloaded_error",
}
_TYPE_OF_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_object(message: str, kind: str, code: str, status: int = 0) -> dict[str, Any]:
    """An error of a chat provider as Anthropic words it; the code goes along in `details`."""
    named = _TYPE_OF_STATUS.get(status) or _ERROR_TYPES.get(code) or _ERROR_TYPES.get(kind)
    error: dict[str, Any] = {"type": named or "api_error", "message": message}
    if code:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": None}
