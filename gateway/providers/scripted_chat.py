"""How the scripted provider words chat completions and text completions. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.providers.scripted_wire import (
    Answer,
    RequestError,
    Said,
    ScriptedRequest,
    Wire,
    event,
    last_of_user,
    openai_error,
    read_limit,
    read_messages,
    read_object,
    text_of,
    tokens_in,
)

DONE = b"data: [DONE]\n\n"
# What OpenAI generates for a text completion where nothing is said.
DEFAULT_COMPLETION_TOKENS = 16


def read_chat(body: bytes) -> ScriptedRequest:
    """Read the body of a chat completion; raise RequestError."""
    fields = read_object(body)
    messages = read_messages(fields, "messages")
    prompt, tool_answered = last_of_user(messages)
    return ScriptedRequest(
        model=str(fields.get("model", "")),
        prompt=prompt,
        prompts=(prompt,),
        prompt_tokens=tokens_in(text_of(message.get("content")) for message in messages),
        max_tokens=read_limit(fields, "max_completion_tokens", "max_tokens"),
        stream=fields.get("stream") is True,
        include_usage=_wants_usage(fields),
        tool_answered=tool_answered,
        fields=fields,
    )


def read_completion(body: bytes) -> ScriptedRequest:
    """Read the body of a text completion; raise RequestError."""
    fields = read_object(body)
    prompt = fields.get("prompt")
    prompts = prompt if isinstance(prompt, list) and not _are_tokens(prompt) else [prompt]
    if not all(isinstance(one, str) or _are_tokens(one) for one in prompts):
        raise RequestError("prompt: must be texts or tokens")
    texts = [one if isinstance(one, str) else "" for one in prompts]
    tokens = sum(len(one) for one in prompts if isinstance(one, list))
    each = read_limit(fields, "n") or 1
    limit = read_limit(fields, "max_tokens", least=0)
    return ScriptedRequest(
        model=str(fields.get("model", "")),
        prompt=texts[-1] if texts else "",
        prompts=tuple(text for text in texts for _ in range(each)),
        prompt_tokens=tokens_in(texts) + tokens,
        max_tokens=DEFAULT_COMPLETION_TOKENS if limit is None else limit,
        stream=fields.get("stream") is True,
        include_usage=_wants_usage(fields),
        fields=fields,
    )


def _wants_usage(fields: Mapping[str, Any]) -> bool:
    options = fields.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _are_tokens(found: object) -> bool:
    return isinstance(found, list) and bool(found) and all(type(one) is int for one in found)


def usage(answer: Answer, sent_tokens: int) -> Mapping[str, object]:
    """The usage object for an answer of which so many tokens were sent."""
    prompt = answer.request.prompt_tokens
    completion = sent_tokens + answer.reasoning_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens,
            "audio_tokens": 0,
        },
    }


class _Words:
    """What both have in common: the frame, the report, and how a stream ends."""

    kind = ""
    chunk_kind = ""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def closing(self, said: Sequence[Said]) -> Sequence[bytes]:
        """A finish for each choice, usage when asked, and the end."""
        ends = [self._finish(index, one) for index, one in enumerate(said)]
        if self._tells_usage:
            fields = self._frame(self.chunk_kind)
            fields["choices"] = []
            fields["usage"] = usage(self._answer, sum(one.tokens for one in said))
            ends.append(event(fields))
        return [*ends, DONE]

    def whole(self, said: Sequence[Said]) -> bytes:
        fields = self._frame(self.kind)
        fields["choices"] = [self._choice(index, one) for index, one in enumerate(said)]
        if self._answer.reports_usage:
            fields["usage"] = usage(self._answer, sum(one.tokens for one in said))
        return orjson.dumps(fields)

    def _choice(self, index: int, said: Said) -> dict[str, object]:
        raise NotImplementedError

    def _finish(self, index: int, said: Said) -> bytes:
        raise NotImplementedError

    @property
    def _tells_usage(self) -> bool:
        return self._answer.request.include_usage and self._answer.reports_usage

    def _frame(self, kind: str) -> dict[str, object]:
        return {
            "id": self._answer.answer_id,
            "object": kind,
            "created": self._answer.created_s,
            "model": self._answer.request.model,
            "system_fingerprint": "fp_scripted",
        }

    def _event(self, choice: Mapping[str, object]) -> bytes:
        fields = self._frame(self.chunk_kind)
        fields["choices"] = [choice]
        if self._tells_usage:
            fields["usage"] = None
        return event(fields)


class ChatWords(_Words):
    """The words of a chat completion (`Wording`)."""

    kind, chunk_kind = "chat.completion", "chat.completion.chunk"

    def opening(self) -> bytes:
        first: dict[str, object] = {"role": "assistant", "content": "", "refusal": None}
        if self._answer.script.tool is not None:
            calls = [{"index": 0} | self._tool_call("")]
            first = {"role": "assistant", "content": None, "tool_calls": calls}
        return self._delta(first)

    def piece(self, index: int, text: str) -> bytes:
        if self._answer.script.tool is None:
            return self._delta({"content": text})
        return self._delta({"tool_calls": [{"index": 0, "function": {"arguments": text}}]})

    def _choice(self, index: int, said: Said) -> dict[str, object]:
        message: dict[str, object] = {"role": "assistant", "content": said.text, "refusal": None}
        if self._answer.script.tool is not None:
            message["content"] = None
            message["tool_calls"] = [self._tool_call(said.text)]
        finish = self._finish_reason(said)
        return {"index": index, "message": message, "logprobs": None, "finish_reason": finish}

    def _finish(self, index: int, said: Said) -> bytes:
        return self._delta({}, self._finish_reason(said))

    def _delta(self, delta: Mapping[str, object], finish: str | None = None) -> bytes:
        return self._event({"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish})

    def _finish_reason(self, said: Said) -> str:
        if said.cut:
            return "length"
        return "stop" if self._answer.script.tool is None else "tool_calls"

    def _tool_call(self, arguments: str) -> dict[str, object]:
        return {
            "id": "call_" + self._answer.answer_id.removeprefix("chatcmpl-"),
            "type": "function",
            "function": {"name": self._answer.script.tool, "arguments": arguments},
        }


class CompletionWords(_Words):
    """The words of a text completion (`Wording`); its choices come one after the other."""

    kind = chunk_kind = "text_completion"

    def opening(self) -> bytes:
        """Nothing but a comment: a text completion has no role to begin with."""
        return b": begun\n\n"

    def piece(self, index: int, text: str) -> bytes:
        return self._event(_text_choice(index, text, None))

    def _choice(self, index: int, said: Said) -> dict[str, object]:
        return _text_choice(index, said.text, "length" if said.cut else "stop")

    def _finish(self, index: int, said: Said) -> bytes:
        return self._event(_text_choice(index, "", "length" if said.cut else "stop"))


def _text_choice(index: int, text: str, finish: str | None) -> dict[str, object]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


CHAT = Wire("chatcmpl", read_chat, ChatWords, openai_error)
COMPLETIONS = Wire("cmpl", read_completion, CompletionWords, openai_error)
