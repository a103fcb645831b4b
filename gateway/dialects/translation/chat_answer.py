"""An Anthropic message written as a chat completion, chunk by chunk or whole.

Thinking is `reasoning_content`; its seal, which the next request must bring back, goes along in
`thinking_blocks`.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.openai_style import text_field
from gateway.dialects.translation.chat_pieces import details, error_in
from gateway.dialects.translation.port import Omissions

_FINISH = {
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "stop",
    "refusal": "content_filter",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
}
_INPUT_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
DONE = b"data: [DONE]\n\n"
# What is carried of a message and its events, or says nothing that a chunk does not say by itself.
_OF_A_MESSAGE = frozenset(
    {"content", "id", "model", "role", "stop_reason", "stop_sequence", "type", "usage"}
)
_OF_A_COUNT = frozenset({"cache_creation", "output_tokens", "output_tokens_details"})
_OF_A_COUNT |= frozenset(_INPUT_COUNTS)
_OF_CREATION = frozenset({"ephemeral_1h_input_tokens", "ephemeral_5m_input_tokens"})
_OF_A_LAST_EVENT = frozenset({"delta", "type", "usage"})
_OF_A_LAST_DELTA = frozenset({"stop_reason", "stop_sequence"})
_OF_A_BLOCK: Mapping[str, frozenset[str]] = {
    "text": frozenset({"text", "type"}),
    "tool_use": frozenset({"id", "input", "name", "type"}),
}
_THINKING = ("thinking", "redacted_thinking")
_SILENT = frozenset({"content_block_stop", "message_stop", "ping"})


class ChatWriter:
    """Writes one chat completion (`AnswerWriter`)."""

    __slots__ = (
        "_block",
        "_calls",
        "_failed",
        "_finish",
        "_id",
        "_model",
        "_now_s",
        "_over",
        "_seals",
        "_stop_text",
        "_usage",
        "_wants_usage",
        "omissions",
    )

    def __init__(self, now_s: int, *, wants_usage: bool) -> None:
        self._now_s = now_s
        self._wants_usage = wants_usage
        self._id = self._model = self._finish = self._stop_text = ""
        self.omissions = Omissions()
        self._usage: dict[str, Any] = {}
        self._block: dict[str, Any] = {}
        self._calls = self._seals = 0
        self._failed = self._over = False

    def event(self, body: Mapping[str, Any]) -> bytes:
        """The chunks for one event of a message."""
        kind = body.get("type")
        if kind == "message_start":
            message = body.get("message")
            message = message if isinstance(message, dict) else {}
            self._begin(message)
            return self._chunk({"role": "assistant", "content": ""})
        if kind == "content_block_start":
            return self._start(details(body, "content_block"))
        if kind == "content_block_delta":
            return self._delta(details(body, "delta"))
        if kind == "content_block_stop":
            return self._stop()
        if kind == "message_delta":
            self.omissions.rest(body, _OF_A_LAST_EVENT)
            self.omissions.rest(details(body, "delta"), _OF_A_LAST_DELTA)
            self._merge(body.get("usage"))
            self._ended(details(body, "delta"))
        elif kind == "message_stop":
            self._over = True
        elif (error := error_in(body)) is not None:
            self._failed = True
            message, named, code = error
            told = {"message": message, "type": named, "param": None, "code": code or None}
            return b"data: " + orjson.dumps({"error": told}) + b"\n\n"
        elif kind not in _SILENT:
            self.omissions.note(str(kind))
        return b""

    def end(self) -> bytes:
        """How it ended, the usage, and the end; a torn stream gets none of them."""
        if self._failed or not self._over:
            return b""
        out = self._chunk({}, finish=self._finish or "stop")
        if self._wants_usage:
            report = {**self._head("chat.completion.chunk"), "choices": []}
            report["usage"] = usage_of(self._usage)
            out += b"data: " + orjson.dumps(report) + b"\n\n"
        return out + DONE

    def whole(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The completion for a whole message."""
        self._begin(answer)
        texts: list[str] = []
        thoughts: list[str] = []
        seals: list[Any] = []
        calls: list[dict[str, Any]] = []
        content = answer.get("content")
        for block in content if isinstance(content, list) else ():
            if not isinstance(block, dict):
                continue
            self._note(block)
            kind = block.get("type")
            if kind == "text":
                texts.append(text_field(block, "text"))
            elif kind in _THINKING:
                thoughts.append(text_field(block, "thinking"))
                seals.append(block)
            elif kind == "tool_use":
                arguments = orjson.dumps(block.get("input") or {}).decode()
                calls.append(_call(block, arguments))
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
        if seals:
            message["reasoning_content"] = "".join(thoughts)
            message["thinking_blocks"] = seals
        if calls:
            message["tool_calls"] = calls
        self._ended(answer)
        choice = {
            "index": 0,
            "message": message | {"refusal": None},
            "logprobs": None,
            "finish_reason": self._finish or "stop",
            **self._what_stopped(),
        }
        head = self._head("chat.completion")
        return {**head, "choices": [choice], "usage": usage_of(self._usage)}

    def _begin(self, message: Mapping[str, Any]) -> None:
        self._id, self._model = text_field(message, "id"), text_field(message, "model")
        self.omissions.rest(message, _OF_A_MESSAGE)
        self._merge(message.get("usage"))

    def _ended(self, told: Mapping[str, Any]) -> None:
        """Keep why it ended, and at which stop sequence."""
        if reason := text_field(told, "stop_reason"):
            self._finish = _FINISH.get(reason, "stop")
        self._stop_text = text_field(told, "stop_sequence") or self._stop_text

    def _what_stopped(self) -> dict[str, str]:
        """The stop sequence that ended the text, where vLLM tells it as well."""
        return {"stop_reason": self._stop_text} if self._stop_text else {}

    def _note(self, block: Mapping[str, Any]) -> None:
        """Note a block, or a part of one, that chat has no word for; thinking goes along whole."""
        kind = block.get("type")
        known = _OF_A_BLOCK.get(str(kind))
        if known is not None:
            self.omissions.rest(block, known, f"content.{kind}.")
        elif kind not in _THINKING:
            self.omissions.note(f"content.{kind}")

    def _merge(self, report: object) -> None:
        """Later counts stand: they are cumulative."""
        if isinstance(report, dict):
            self.omissions.rest(report, _OF_A_COUNT, "usage.")
            self.omissions.rest(details(report, "cache_creation"), _OF_CREATION, "usage.")
            self._usage |= {name: found for name, found in report.items() if found is not None}

    def _start(self, block: Mapping[str, Any]) -> bytes:
        self._block = dict(block)
        self._note(block)
        kind = block.get("type")
        if kind == "tool_use":
            self._calls += 1
            call = {"index": self._calls - 1, **_call(block, "")}
            return self._chunk({"tool_calls": [call]})
        if text := text_field(block, "text"):
            return self._chunk({"content": text})
        if thought := text_field(block, "thinking"):
            return self._chunk({"reasoning_content": thought})
        return b""

    def _delta(self, delta: Mapping[str, Any]) -> bytes:
        kind = delta.get("type")
        if kind == "text_delta":
            return self._chunk({"content": text_field(delta, "text")})
        if kind == "thinking_delta":
            thought = text_field(delta, "thinking")
            self._block["thinking"] = self._block.get("thinking", "") + thought
            return self._chunk({"reasoning_content": thought})
        if kind == "signature_delta":
            self._block["signature"] = text_field(delta, "signature")
        elif kind == "input_json_delta":
            # What a tool of the provider's is given belongs to no call of the client's.
            if self._block.get("type") == "tool_use" and delta.get("partial_json"):
                function = {"arguments": text_field(delta, "partial_json")}
                call = {"index": self._calls - 1, "function": function}
                return self._chunk({"tool_calls": [call]})
        else:
            self.omissions.note(f"content.{kind}")
        return b""

    def _stop(self) -> bytes:
        """Thinking is whole now, with its seal."""
        block, self._block = self._block, {}
        if block.get("type") in ("thinking", "redacted_thinking"):
            self._seals += 1  # SDKs add lists up by the index of their parts
            return self._chunk({"thinking_blocks": [{"index": self._seals - 1, **block}]})
        return b""

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._id}",
            "object": kind,
            "created": self._now_s,
            "model": self._model,
        }

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice: dict[str, Any] = {"index": 0, "delta": delta, "logprobs": None}
        choice["finish_reason"] = finish
        if finish is not None:
            choice |= self._what_stopped()
        chunk = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _call(block: Mapping[str, Any], arguments: str) -> dict[str, Any]:
    function = {"name": block.get("name"), "arguments": arguments}
    return {"id": block.get("id"), "type": "function", "function": function}


def usage_of(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Anthropic's disjoint counts as a chat usage report; None where the input is not told.

    A count that is no number makes the sum fail, so it is passed as it came for the meter to find.
    """
    if not any(report.get(name) for name in _INPUT_COUNTS):
        return None
    fresh, output = report.get("input_tokens") or 0, report.get("output_tokens") or 0
    cached = report.get("cache_read_input_tokens") or 0
    written = report.get("cache_creation_input_tokens") or 0
    hour = details(report, "cache_creation").get("ephemeral_1h_input_tokens") or 0
    thought = details(report, "output_tokens_details").get("thinking_tokens") or 0
    counts = (fresh, cached, written, hour, output)
    if not all(type(count) is int for count in counts):
        return {"prompt_tokens": fresh, "completion_tokens": output, "total_tokens": None}
    return {
        "prompt_tokens": fresh + cached + written,
        "completion_tokens": output,
        "total_tokens": fresh + cached + written + output,
        "prompt_tokens_details": {
            "cached_tokens": cached,
            "cache_write_tokens": written - hour,
            "cache_write_1h_tokens": hour,
        },
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
