"""A chat completion written as a response, event by event or whole.

Every event carries its `sequence_number`, every item its `output_index`, and each item is begun,
filled and done before the next. What is generated is passed on with the event that brought it.
"""

from collections.abc import Mapping
from typing import Any

from gateway.dialects.events import named_event
from gateway.dialects.translation.chat_pieces import (
    ChatReader,
    Kind,
    Piece,
    details,
    error_in,
)
from gateway.dialects.translation.custom_input import CustomInput
from gateway.dialects.translation.port import Omissions
from gateway.dialects.translation.response_tools import ToolNames

_PART_OF = {Kind.TEXT: "output_text", Kind.REFUSAL: "refusal", Kind.REASONING: "reasoning_text"}
_EVENT_OF = {
    "output_text": "response.output_text",
    "refusal": "response.refusal",
    "reasoning_text": "response.reasoning_text",
}
_FIELD_OF = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text"}
# The details are passed as they come.
_COUNTS = frozenset(
    {"completion_tokens", "completion_tokens_details", "prompt_tokens", "prompt_tokens_details"}
    | {"total_tokens"}
)
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseWriter:
    """Writes one response (`AnswerWriter`). `echo` is what a response repeats of its request."""

    __slots__ = (
        "_custom",
        "_echo",
        "_failed",
        "_item",
        "_names",
        "_number",
        "_output",
        "_part",
        "_reader",
        "_started",
    )

    def __init__(self, echo: Mapping[str, Any], names: ToolNames) -> None:
        self._echo = echo
        self._names = names
        self._reader = ChatReader()
        self._output: list[dict[str, Any]] = []
        self._item: dict[str, Any] | None = None
        self._part: dict[str, Any] | None = None
        self._custom = CustomInput()
        self._number = 0
        self._started = False
        self._failed = False

    @property
    def omissions(self) -> Omissions:
        """What was left out so far."""
        return self._reader.omissions

    def event(self, body: Mapping[str, Any]) -> bytes:
        """The response's events for one chunk; raise InterleavedCalls."""
        pieces = self._reader.read(body)
        if isinstance(body.get("usage"), dict):
            self.omissions.rest(body["usage"], _COUNTS, "usage.")
        if self._reader.stop_text:
            self.omissions.note("choices.stop_reason")
        out = []
        if not self._started:
            self._started = True
            for kind in ("created", "in_progress"):
                out.append(self._event(f"response.{kind}", response=self._response("in_progress")))
        for piece in pieces:
            out += self._piece(piece)
        if (error := error_in(body)) is not None:
            out += self._fail(*error)
        return b"".join(out)

    def end(self) -> bytes:
        """The last item's end and that of the response, if the completion had one."""
        if self._failed or not self._reader.finish:
            return b""
        out = self._close()
        status = self._status()
        out.append(self._event(f"response.{status}", response=self._response(status)))
        return b"".join(out)

    def whole(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The response for a whole completion."""
        self.event(answer)
        self._close()
        return self._response(self._status())

    def _status(self) -> str:
        return "incomplete" if self._reader.finish in _INCOMPLETE else "completed"

    def _response(self, status: str) -> dict[str, Any]:
        reader = self._reader
        why = _INCOMPLETE.get(reader.finish) if status == "incomplete" else None
        over = status in ("completed", "incomplete")
        return {
            "id": f"resp_{reader.id}",
            "object": "response",
            "status": status,
            "error": None,
            "incomplete_details": {"reason": why} if why else None,
            "model": reader.model,
            "output": list(self._output) if over or status == "failed" else [],
            "usage": usage_of(reader.usage) if over else None,
            **self._echo,
        }

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return named_event(kind, event)

    def _fail(self, message: str, kind: str, code: str) -> list[bytes]:
        """`response.failed` for clients that look at the response, `error` for those that raise."""
        self._failed = True
        error = {"code": code or kind or "server_error", "message": message}
        failed = {**self._response("failed"), "error": error}
        told = {"message": message, "type": kind or "server_error", "param": None, "code": code}
        return [
            self._event("response.failed", response=failed),
            self._event("error", code=code or None, message=message, param=None, error=told),
        ]

    def _piece(self, piece: Piece) -> list[bytes]:
        if piece.kind is Kind.CALL:
            return self._begin_call(piece)
        if piece.kind is Kind.ARGUMENTS:
            return self._arguments(piece.text)
        kind = _PART_OF[piece.kind]
        out = []
        holder = "reasoning" if piece.kind is Kind.REASONING else "message"
        if self._item is None or self._item["type"] != holder:
            out += self._begin(holder)
        if self._part is None or self._part["type"] != kind:
            out += self._close_part()
            out += self._begin_part(kind)
        assert self._part is not None
        self._part[_FIELD_OF[kind]] += piece.text
        more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        out.append(
            self._event(f"{_EVENT_OF[kind]}.delta", **self._at_part(), delta=piece.text, **more)
        )
        return out

    def _at(self) -> dict[str, Any]:
        assert self._item is not None
        return {"item_id": self._item["id"], "output_index": len(self._output) - 1}

    def _at_part(self) -> dict[str, Any]:
        assert self._item is not None
        return {**self._at(), "content_index": len(self._item["content"]) - 1}

    def _added(self, item: dict[str, Any]) -> bytes:
        self._item = item
        self._output.append(item)
        index = len(self._output) - 1
        return self._event("response.output_item.added", output_index=index, item=item)

    def _begin(self, kind: str) -> list[bytes]:
        out = self._close()
        place = len(self._output)
        item: dict[str, Any] = {"type": kind, "status": "in_progress", "content": []}
        if kind == "message":
            item |= {"id": f"msg_{self._reader.id}_{place}", "role": "assistant"}
        else:
            item |= {"id": f"rs_{self._reader.id}_{place}", "summary": []}
        out.append(self._added(item))
        return out

    def _begin_part(self, kind: str) -> list[bytes]:
        assert self._item is not None
        part: dict[str, Any] = {"type": kind, _FIELD_OF[kind]: ""}
        if kind == "output_text":
            part |= {"annotations": [], "logprobs": []}
        self._part = part
        self._item["content"].append(part)
        return [self._event("response.content_part.added", **self._at_part(), part=part)]

    def _close_part(self) -> list[bytes]:
        part = self._part
        if part is None:
            return []
        kind = part["type"]
        field = _FIELD_OF[kind]
        more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        done = {field: part[field], **more}
        out = [
            self._event(f"{_EVENT_OF[kind]}.done", **self._at_part(), **done),
            self._event("response.content_part.done", **self._at_part(), part=part),
        ]
        self._part = None
        return out

    def _begin_call(self, piece: Piece) -> list[bytes]:
        out = self._close()
        tool = self._names.tool(piece.text)
        place = len(self._output)
        item: dict[str, Any] = {
            "id": f"{'ctc' if tool.custom else 'fc'}_{self._reader.id}_{place}",
            "type": "custom_tool_call" if tool.custom else "function_call",
            "status": "in_progress",
            "call_id": piece.call_id,
            "name": tool.name,
            "input" if tool.custom else "arguments": "",
        }
        if tool.namespace:
            item["namespace"] = tool.namespace
        self._custom = CustomInput()
        out.append(self._added(item))
        return out

    def _arguments(self, text: str) -> list[bytes]:
        item = self._item
        assert item is not None
        if item["type"] == "function_call":
            item["arguments"] += text
            return [self._event("response.function_call_arguments.delta", **self._at(), delta=text)]
        written = self._custom.feed(text)
        item["input"] += written
        if not written:
            return []
        return [self._event("response.custom_tool_call_input.delta", **self._at(), delta=written)]

    def _close(self) -> list[bytes]:
        """End the open item, and what is open in it."""
        out = self._close_part()
        item = self._item
        if item is None:
            return out
        if item["type"] == "function_call":
            item["arguments"] = item["arguments"] or "{}"
            told = {"arguments": item["arguments"], "name": item["name"]}
            out.append(self._event("response.function_call_arguments.done", **self._at(), **told))
        elif item["type"] == "custom_tool_call":
            rest = self._custom.end()
            if rest:
                item["input"] += rest
                out.append(
                    self._event("response.custom_tool_call_input.delta", **self._at(), delta=rest)
                )
            out.append(
                self._event(
                    "response.custom_tool_call_input.done", **self._at(), input=item["input"]
                )
            )
        cut = self._reader.finish in _INCOMPLETE
        item["status"] = "incomplete" if cut else "completed"
        index = len(self._output) - 1
        out.append(self._event("response.output_item.done", output_index=index, item=item))
        self._item = None
        return out


def usage_of(usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A chat usage report by the names that responses use; the counts are the same."""
    if usage is None:
        return None
    inputs = details(usage, "prompt_tokens_details")
    outputs = details(usage, "completion_tokens_details")
    report = {
        "input_tokens": usage.get("prompt_tokens"),
        "input_tokens_details": {"cached_tokens": 0, **inputs},
        "output_tokens": usage.get("completion_tokens"),
        "output_tokens_details": {"reasoning_tokens": 0, **outputs},
    }
    total = usage.get("total_tokens")
    counts = (report["input_tokens"], report["output_tokens"])
    if total is None and all(type(count) is int for count in counts):
        total = sum(counts)  # type: ignore[arg-type]
    return report | {"total_tokens": total}
