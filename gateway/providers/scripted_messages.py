"""How the scripted provider words Anthropic's messages, and counts their tokens. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.providers.scripted_wire import (
    Answer,
    NeverStreamed,
    Said,
    ScriptedRequest,
    Wire,
    last_of_user,
    named_event,
    read_limit,
    read_messages,
    read_object,
    text_of,
    tokens_in,
)

_ERROR_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def read_message(body: bytes) -> ScriptedRequest:
    """Read the body of a message; raise RequestError."""
    return _request(read_object(body), counting=False)


def read_count(body: bytes) -> ScriptedRequest:
    """Read the body of a request to count tokens; raise RequestError."""
    return _request(read_object(body), counting=True)


def _request(fields: Mapping[str, Any], *, counting: bool) -> ScriptedRequest:
    messages = read_messages(fields, "messages")
    texts = [text_of(fields.get("system")), *(text_of(one.get("content")) for one in messages)]
    prompt, tool_answered = last_of_user(messages)
    return ScriptedRequest(
        model=str(fields.get("model", "")),
        prompt=prompt,
        prompts=() if counting else (prompt,),
        prompt_tokens=tokens_in(texts),
        max_tokens=0 if counting else read_limit(fields, "max_tokens", least=0),
        stream=not counting and fields.get("stream") is True,
        tool_answered=tool_answered,
        fields=fields,
    )


def anthropic_error(status: int, message: str, kind: str, code: str | None = None) -> bytes:
    """An error as Anthropic words it."""
    plain = "invalid_request_error" if status < 500 else "api_error"
    error = {"type": _ERROR_TYPES.get(status, plain), "message": message}
    return orjson.dumps({"type": "error", "error": error, "request_id": None})


def usage(answer: Answer, output_tokens: int) -> dict[str, object]:
    """The usage object: the input counts do not overlap, the output count includes thinking."""
    return {
        "input_tokens": answer.request.prompt_tokens - answer.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": answer.cached_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {
            "thinking_tokens": min(answer.reasoning_tokens, output_tokens),
        },
        "server_tool_use": None,
        "service_tier": "standard",
    }


class MessageWords:
    """The words of a message (`Wording`): one block, a text or the call of a tool."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def opening(self) -> bytes:
        block = self._block("")
        if self._answer.script.tool is not None:
            block["input"] = {}
        begun = {"type": "content_block_start", "index": 0, "content_block": block}
        return b"".join(
            (
                named_event({"type": "message_start", "message": self._message([], None, 0)}),
                named_event(begun),
                named_event({"type": "ping"}),
            )
        )

    def piece(self, index: int, text: str) -> bytes:
        delta = {"type": "text_delta", "text": text}
        if self._answer.script.tool is not None:
            delta = {"type": "input_json_delta", "partial_json": text}
        return named_event({"type": "content_block_delta", "index": 0, "delta": delta})

    def closing(self, said: Sequence[Said]) -> Sequence[bytes]:
        (one,) = said
        delta = {"stop_reason": self._stop_reason(one), "stop_sequence": None}
        last: dict[str, object] = {"type": "message_delta", "delta": delta}
        if self._answer.reports_usage:
            last["usage"] = usage(self._answer, one.tokens + self._answer.reasoning_tokens)
        return [
            named_event({"type": "content_block_stop", "index": 0}),
            named_event(last),
            named_event({"type": "message_stop"}),
        ]

    def whole(self, said: Sequence[Said]) -> bytes:
        (one,) = said
        sent = one.tokens + self._answer.reasoning_tokens
        content = [self._block(one.text)]
        return orjson.dumps(self._message(content, self._stop_reason(one), sent))

    def _message(
        self, content: list[dict[str, Any]], stop_reason: str | None, output_tokens: int
    ) -> dict[str, object]:
        message: dict[str, object] = {
            "id": self._answer.answer_id,
            "type": "message",
            "role": "assistant",
            "model": self._answer.request.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
        }
        if self._answer.reports_usage:
            message["usage"] = usage(self._answer, output_tokens)
        return message

    def _block(self, text: str) -> dict[str, Any]:
        tool = self._answer.script.tool
        if tool is None:
            return {"type": "text", "text": text, "citations": None}
        call_id = "toolu_" + self._answer.answer_id.removeprefix("msg-")
        return {"type": "tool_use", "id": call_id, "name": tool, "input": _arguments(text)}

    def _stop_reason(self, said: Said) -> str:
        if said.cut:
            return "max_tokens"
        return "end_turn" if self._answer.script.tool is None else "tool_use"


def _arguments(text: str) -> object:
    """The arguments of a call; none where the limit cut them."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}


class CountWords(NeverStreamed):
    """The words of a count."""

    def whole(self, said: Sequence[Said]) -> bytes:
        return orjson.dumps({"input_tokens": self._answer.request.prompt_tokens})


MESSAGES = Wire("msg", read_message, MessageWords, anthropic_error)
COUNT_TOKENS = Wire("count", read_count, CountWords, anthropic_error, is_free=True)
