"""How the scripted provider words OpenAI's responses, every required field filled. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.providers.scripted_wire import (
    Answer,
    RequestError,
    Said,
    ScriptedRequest,
    Wire,
    last_of_user,
    named_event,
    openai_error,
    read_limit,
    read_messages,
    read_object,
    text_of,
    tokens_in,
)

# Fields of the request that a response repeats, and what stands there by default.
_REPEATED: Mapping[str, object] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def read_response(body: bytes) -> ScriptedRequest:
    """Read the body of a response's request; raise RequestError."""
    fields = read_object(body)
    found = fields.get("input", "")
    items: list[Mapping[str, Any]] = [{"role": "user", "content": found}]
    if not isinstance(found, str):
        items = read_messages(fields, "input")
    instructions, previous = fields.get("instructions"), fields.get("previous_response_id")
    if not isinstance(previous, str | None):
        raise RequestError("previous_response_id: must be a text")
    texts = [text_of(instructions)]
    for item in items:
        texts += [text_of(item.get(name)) for name in ("content", "output", "arguments")]
    prompt, tool_answered = last_of_user(items)
    return ScriptedRequest(
        model=str(fields.get("model", "")),
        prompt=prompt,
        prompts=(prompt,),
        prompt_tokens=tokens_in(texts),
        max_tokens=read_limit(fields, "max_output_tokens"),
        stream=fields.get("stream") is True,
        previous=previous or "",
        tool_answered=tool_answered,
        fields=fields,
    )


def usage(answer: Answer, sent_tokens: int) -> dict[str, object]:
    """The usage object of a response of which so many tokens were sent."""
    prompt = answer.request.prompt_tokens
    output = sent_tokens + answer.reasoning_tokens
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": prompt + output,
    }


class ResponseWords:
    """The words of a response (`Wording`): one item, a message or the call of a function."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._number = -1
        tool = answer.script.tool
        own = answer.answer_id.removeprefix("resp-")
        self._item_id = f"msg_{own}" if tool is None else f"fc_{own}"
        self._at = {"item_id": self._item_id, "output_index": 0}
        self._in_text = {**self._at, "content_index": 0}

    def opening(self) -> bytes:
        begun = self._response("in_progress", [], None)
        events = [
            self._event("response.created", response=begun),
            self._event("response.in_progress", response=begun),
            self._event(
                "response.output_item.added", output_index=0, item=self._item("", "in_progress")
            ),
        ]
        if self._answer.script.tool is None:
            events.append(
                self._event("response.content_part.added", **self._in_text, part=_text_part(""))
            )
        return b"".join(events)

    def piece(self, index: int, text: str) -> bytes:
        if self._answer.script.tool is not None:
            return self._event("response.function_call_arguments.delta", **self._at, delta=text)
        return self._event("response.output_text.delta", **self._in_text, delta=text, logprobs=[])

    def closing(self, said: Sequence[Said]) -> Sequence[bytes]:
        (one,) = said
        done = self._item(one.text, "incomplete" if one.cut else "completed")
        events: list[bytes] = []
        if self._answer.script.tool is not None:
            name = self._answer.script.tool
            events.append(
                self._event(
                    "response.function_call_arguments.done",
                    **self._at,
                    name=name,
                    arguments=one.text,
                )
            )
        else:
            events += [
                self._event(
                    "response.output_text.done", **self._in_text, text=one.text, logprobs=[]
                ),
                self._event(
                    "response.content_part.done", **self._in_text, part=_text_part(one.text)
                ),
            ]
        events.append(self._event("response.output_item.done", output_index=0, item=done))
        status = "incomplete" if one.cut else "completed"
        last = self._response(status, [done], one.tokens)
        return [*events, self._event(f"response.{status}", response=last)]

    def whole(self, said: Sequence[Said]) -> bytes:
        (one,) = said
        status = "incomplete" if one.cut else "completed"
        return orjson.dumps(self._response(status, [self._item(one.text, status)], one.tokens))

    def _event(self, kind: str, **fields: object) -> bytes:
        self._number += 1
        return named_event({"type": kind, "sequence_number": self._number, **fields})

    def _item(self, text: str, status: str) -> dict[str, object]:
        tool = self._answer.script.tool
        if tool is not None:
            call_id = "call_" + self._answer.answer_id.removeprefix("resp-")
            return {
                "type": "function_call",
                "id": self._item_id,
                "call_id": call_id,
                "name": tool,
                "arguments": text,
                "status": status,
            }
        return {
            "type": "message",
            "id": self._item_id,
            "role": "assistant",
            "status": status,
            "content": [] if status == "in_progress" else [_text_part(text)],
        }

    def _response(
        self, status: str, output: list[dict[str, object]], sent_tokens: int | None
    ) -> dict[str, object]:
        request = self._answer.request
        given = {name: request.fields.get(name) for name in _REPEATED}
        repeated = {
            name: default if given[name] is None else given[name]
            for name, default in _REPEATED.items()
        }
        reported = sent_tokens is not None and self._answer.reports_usage
        return {
            "id": self._answer.answer_id,
            "object": "response",
            "created_at": self._answer.created_s,
            "status": status,
            "error": None,
            "incomplete_details": (
                {"reason": "max_output_tokens"} if status == "incomplete" else None
            ),
            "model": request.model,
            "output": output,
            **repeated,
            "usage": usage(self._answer, sent_tokens or 0) if reported else None,
        }


def _text_part(text: str) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


RESPONSES = Wire("resp", read_response, ResponseWords, openai_error)
