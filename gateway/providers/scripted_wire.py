"""How the scripted provider reads a chat request and words its answer, byte for byte. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

import orjson

from gateway.providers.script import Script, split_tokens

DONE = b"data: [DONE]\n\n"


class ChatRequestError(ValueError):
    """A body that is no chat request; the message names the field."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What of a chat request the answer depends on."""

    model: str
    prompt: str
    prompt_tokens: int
    max_tokens: int | None
    stream: bool
    include_usage: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer's identity and what it is charged with."""

    answer_id: str
    created_s: int
    request: ChatRequest
    script: Script

    @property
    def reasoning_tokens(self) -> int:
        limit = self.request.max_tokens
        reasoning = self.script.reasoning
        return reasoning if limit is None or self.script.runaway else min(reasoning, limit)


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


def read_chat_request(body: bytes) -> ChatRequest:
    """Read a request body; raise ChatRequestError."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ChatRequestError("the body is not JSON") from error
    if not isinstance(fields, dict):
        raise ChatRequestError("the body is not a JSON object")
    messages = fields.get("messages")
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        raise ChatRequestError("messages: must be a list of objects")
    max_tokens = fields.get("max_completion_tokens", fields.get("max_tokens"))
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        raise ChatRequestError("max_tokens: must be a positive whole number")
    texts = [_text(message.get("content")) for message in messages]
    of_user = [
        text for text, item in zip(texts, messages, strict=True) if item.get("role") == "user"
    ]
    options = fields.get("stream_options")
    return ChatRequest(
        model=str(fields.get("model", "")),
        prompt=of_user[-1] if of_user else "",
        prompt_tokens=sum(len(split_tokens(text)) for text in texts),
        max_tokens=max_tokens,
        stream=fields.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def error_body(message: str, kind: str, code: str | None = None) -> bytes:
    """An error object as OpenAI words it."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def answer_tokens(answer: Answer) -> tuple[Iterator[str], int | None]:
    """The tokens to send and the number allowed; None without a limit."""
    limit = answer.request.max_tokens
    tokens = answer.script.tokens(answer.request.prompt)
    if limit is None or answer.script.runaway:
        return tokens, None
    return tokens, limit - answer.reasoning_tokens


def whole_answer(answer: Answer) -> Iterator[Step]:
    """The body of an answer that is not streamed; half of it where the script breaks."""
    tokens, allowed = answer_tokens(answer)
    sent = list(islice(tokens, allowed))
    cut = next(tokens, None) is not None
    message: dict[str, object] = {"role": "assistant", "content": "".join(sent), "refusal": None}
    if answer.script.tool is not None:
        message["content"] = None
        message["tool_calls"] = [_tool_call(answer, "".join(sent))]
    fields = _frame(answer, "chat.completion")
    finish = _finish_reason(answer, cut)
    fields["choices"] = [
        {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    ]
    if answer.script.usage != "none":
        fields["usage"] = usage(answer, len(sent))
    body = orjson.dumps(fields)
    pause_ms = answer.script.delay_ms * len(sent)
    if answer.script.break_after is None:
        yield Step(body, len(sent), pause_ms, Served.WHOLE)
    else:
        yield Step(body[: len(body) // 2], len(sent), pause_ms)
        yield Step(b"", ending=Served.BROKEN)


def streamed_answer(answer: Answer) -> Iterator[Step]:
    """The events of a streamed answer: role, one token each, finish, usage when asked, end."""
    script = answer.script
    tokens, allowed = answer_tokens(answer)
    first: dict[str, object] = {"role": "assistant", "content": "", "refusal": None}
    if script.tool is not None:
        calls = [{"index": 0} | _tool_call(answer, "")]
        first = {"role": "assistant", "content": None, "tool_calls": calls}
    yield Step(_event(answer, first))
    sent = 0
    for piece in islice(tokens, allowed):
        if sent == script.break_after:
            break
        sent += 1
        delta: dict[str, object] = {"content": piece}
        if script.tool is not None:
            delta = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
        yield Step(_event(answer, delta), 1, script.delay_ms)
    if script.break_after is not None:
        yield Step(b"", ending=Served.BROKEN)
        return
    cut = next(tokens, None) is not None
    yield Step(_event(answer, {}, _finish_reason(answer, cut)))
    if _reports_usage(answer):
        fields = _frame(answer, "chat.completion.chunk")
        fields["choices"] = []
        fields["usage"] = usage(answer, sent)
        yield Step(b"data: " + orjson.dumps(fields) + b"\n\n")
    yield Step(DONE, ending=Served.WHOLE)


def usage(answer: Answer, sent_tokens: int) -> Mapping[str, object]:
    """The usage object for an answer of which so many tokens were sent."""
    prompt = answer.request.prompt_tokens
    completion = sent_tokens + answer.reasoning_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": min(answer.script.cached, prompt),
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens,
            "audio_tokens": 0,
        },
    }


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _tool_call(answer: Answer, arguments: str) -> dict[str, object]:
    return {
        "id": "call_" + answer.answer_id.removeprefix("chatcmpl-"),
        "type": "function",
        "function": {"name": answer.script.tool, "arguments": arguments},
    }


def _reports_usage(answer: Answer) -> bool:
    return answer.request.include_usage and answer.script.usage != "none"


def _finish_reason(answer: Answer, cut: bool) -> str:
    if cut:
        return "length"
    return "stop" if answer.script.tool is None else "tool_calls"


def _frame(answer: Answer, kind: str) -> dict[str, object]:
    return {
        "id": answer.answer_id,
        "object": kind,
        "created": answer.created_s,
        "model": answer.request.model,
        "system_fingerprint": "fp_scripted",
    }


def _event(answer: Answer, delta: Mapping[str, object], finish: str | None = None) -> bytes:
    fields = _frame(answer, "chat.completion.chunk")
    fields["choices"] = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    if _reports_usage(answer):
        fields["usage"] = None
    return b"data: " + orjson.dumps(fields) + b"\n\n"
