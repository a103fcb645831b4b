"""The dialect of responses carried by a chat provider.

What each field becomes is listed in docs/providers.md. Nothing is kept between requests, so what
goes on from an earlier response is refused.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.responses_view import items_of
from gateway.dialects.translation import chat_content
from gateway.dialects.translation.port import Asked, Losses, Target
from gateway.dialects.translation.response_items import ItemReader
from gateway.dialects.translation.response_tools import ToolNames, choice_of, tools_of
from gateway.dialects.translation.responses_answer import ResponseWriter
from gateway.errors import ApiError
from gateway.wire import parse_object

_HINTS = (
    "client_metadata",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "store",
)
_SAYS_NOTHING: tuple[object, ...] = (None, False, {})
_CARRIED = ("temperature", "top_p", "user")
_KNOWN = frozenset(
    {
        "background",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "model",
        "parallel_tool_calls",
        "reasoning",
        "service_tier",
        "stream",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "truncation",
        *_HINTS,
        *_CARRIED,
    }
)
# Asked for in `include`, and only there where something of the kind is: nothing to add.
_NOTHING_TO_INCLUDE = frozenset(
    {
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "web_search_call.action.sources",
        "web_search_call.results",
    }
)


class ResponsesToChat:
    """`/responses` over `/chat/completions` (`Translation`)."""

    source = "/responses"
    speech = "responses"
    goal = "/chat/completions"
    goal_speech = "chat"

    def ask(self, raw: bytes, target: Target, now_s: int) -> Asked:
        body = parse_object(raw)
        losses = Losses(target.drop_unsupported)
        losses.rest(body, _KNOWN)
        names = ToolNames()
        sent: dict[str, Any] = {"model": body.get("model"), "messages": []}
        _tools(body, sent, names, losses)
        sent["messages"] = _messages(body, names, target, losses)
        _steering(body, sent, target, losses)
        _text(body, sent, losses)
        _reasoning(body, sent, target, losses)
        _service(body, sent, losses)
        if body.get("stream"):
            sent["stream"] = True
            sent["stream_options"] = {"include_usage": True}
        writer = ResponseWriter(_echo(body, now_s), names)
        return Asked(self.goal, orjson.dumps(sent), tuple(losses.dropped), writer)

    def error_body(self, status: int, body: bytes) -> bytes:
        """OpenAI's two dialects word errors alike."""
        return body

    def refusal_body(self, error: ApiError) -> bytes:
        return error.body()


def _messages(
    body: Mapping[str, Any], names: ToolNames, target: Target, losses: Losses
) -> list[dict[str, Any]]:
    reader = ItemReader(names, target, losses)
    if body.get("instructions"):
        reader.messages.append({"role": "system", "content": body["instructions"]})
    for index, item in enumerate(items_of(body)):
        reader.read(item, f"input[{index}]")
    return chat_content.with_one_system(reader.messages)


def _tools(body: Mapping[str, Any], sent: dict[str, Any], names: ToolNames, losses: Losses) -> None:
    functions = tools_of(body.get("tools"), names, losses)
    choice, functions = choice_of(body.get("tool_choice"), functions, names, losses)
    if not functions:
        return
    sent["tools"] = functions
    if choice is not None:
        sent["tool_choice"] = choice
    if body.get("parallel_tool_calls") is not None:
        sent["parallel_tool_calls"] = body["parallel_tool_calls"]


def _steering(
    body: Mapping[str, Any], sent: dict[str, Any], target: Target, losses: Losses
) -> None:
    for name in _CARRIED:
        if body.get(name) is not None:
            sent[name] = body[name]
    if body.get("max_output_tokens") is not None:
        sent[target.limit_field] = body["max_output_tokens"]
    for name in _HINTS:
        if body.get(name) not in _SAYS_NOTHING:
            losses.hint(name)
    if body.get("truncation") not in (None, "disabled"):
        losses.refuse("truncation", "shortens the input at the provider's")
    if body.get("top_logprobs"):
        losses.refuse("top_logprobs", "asks for probabilities")
    include = body.get("include")
    for name in include if isinstance(include, list) else ():
        if name == "reasoning.encrypted_content":
            losses.hint("include")
        elif name not in _NOTHING_TO_INCLUDE:
            losses.refuse("include", f"asks for {str(name)[:80]}")


def _text(body: Mapping[str, Any], sent: dict[str, Any], losses: Losses) -> None:
    text = body.get("text")
    if not isinstance(text, dict):
        return
    losses.rest(text, frozenset({"format", "verbosity"}), "text.")
    if text.get("verbosity") is not None:
        losses.hint("text.verbosity")
    form = text.get("format")
    kind = form.get("type") if isinstance(form, dict) else None
    if isinstance(form, dict) and kind == "json_schema":
        names = ("name", "description", "schema", "strict")
        schema = {name: form[name] for name in names if form.get(name) is not None}
        sent["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind == "json_object":
        sent["response_format"] = {"type": "json_object"}
    elif kind not in (None, "text"):
        losses.refuse("text.format", "is not known")


def _reasoning(
    body: Mapping[str, Any], sent: dict[str, Any], target: Target, losses: Losses
) -> None:
    reasoning = body.get("reasoning")
    if not isinstance(reasoning, dict):
        return
    losses.rest(
        reasoning,
        frozenset({"context", "effort", "generate_summary", "mode", "summary"}),
        "reasoning.",
    )
    for name, asked in reasoning.items():
        if asked is None:
            continue
        if name == "effort" and target.reasoning_effort:
            sent["reasoning_effort"] = asked
        else:
            losses.hint(f"reasoning.{name}")


def _service(body: Mapping[str, Any], sent: dict[str, Any], losses: Losses) -> None:
    """A tier that is priced by itself must be served, too."""
    if body.get("service_tier") not in (None, "auto", "default"):
        sent["service_tier"] = body["service_tier"]


def _echo(body: Mapping[str, Any], now_s: int) -> dict[str, Any]:
    """What a response repeats of its request, with OpenAI's own defaults."""
    text = body.get("text")
    reasoning = body.get("reasoning")
    return {
        "created_at": now_s,
        "background": False,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None, **(reasoning or {})},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": body.get("service_tier") or "default",
        "store": False,
        "temperature": body.get("temperature"),
        "text": {"format": {"type": "text"}, **(text or {})},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_logprobs": 0,
        "top_p": body.get("top_p"),
        "truncation": "disabled",
        "user": body.get("user"),
    }
