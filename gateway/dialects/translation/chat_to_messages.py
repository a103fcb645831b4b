"""The dialect of chat completions carried by a provider of messages.

What each field becomes is listed in docs/providers.md. Anthropic wants an output limit in every
request; where there is none, `DEFAULT_TOKENS` is sent.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.openai_style import text_field
from gateway.dialects.translation.chat_answer import ChatWriter
from gateway.dialects.translation.chat_content import error_of
from gateway.dialects.translation.chat_messages import turns_of
from gateway.dialects.translation.port import Asked, Losses, Target
from gateway.errors import ApiError
from gateway.wire import check_messages, parse_object

DEFAULT_TOKENS = 4_096
_HINTS = (
    "metadata",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "verbosity",
)
_KNOWN = frozenset(
    {
        "cache_control",
        "frequency_penalty",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "modalities",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "user",
        *_HINTS,
    }
)
_FUNCTION_KEYS = frozenset({"description", "name", "parameters", "strict"})
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
# The models that were given a budget for thinking; all later ones take an effort. A closed list.
_BUDGETED = re.compile(
    r"claude-(?:[23]|(?:opus|sonnet|haiku)-4(?:-[015])?(?:-\d{8}|@\d{8}|-v\d|$))"
)
_BUDGETS = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384}
_LARGEST_BUDGET = 32_768
_LEAST_BUDGET = 1_024
_EFFORTS = {"minimal": "low"}


class ChatToMessages:
    """`/chat/completions` over `/messages` (`Translation`)."""

    source = "/chat/completions"
    speech = "chat"
    goal = "/messages"
    goal_speech = "messages"

    def ask(self, raw: bytes, target: Target, now_s: int) -> Asked:
        body = parse_object(raw)
        check_messages(body)
        losses = Losses(target.drop_unsupported)
        losses.rest(body, _KNOWN)
        limits = [body[name] for name in ("max_tokens", "max_completion_tokens") if body.get(name)]
        sent: dict[str, Any] = {
            "model": body.get("model"),
            "max_tokens": min(limits, default=DEFAULT_TOKENS),
        }
        system, sent["messages"] = turns_of(body.get("messages"), losses)
        if system:
            sent["system"] = system
        _refuse_what_chat_alone_has(body, losses)
        _steering(body, sent, losses)
        _tools(body, sent, losses)
        _reasoning(body, sent, losses)
        if body.get("stream"):
            sent["stream"] = True
        options = body.get("stream_options")
        wants_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        writer = ChatWriter(now_s, wants_usage=wants_usage)
        return Asked(self.goal, orjson.dumps(sent), tuple(losses.dropped), writer)

    def error_body(self, status: int, body: bytes) -> bytes:
        message, kind, code = error_of(status, body)
        error = {"message": message, "type": kind or None, "param": None, "code": code or None}
        return orjson.dumps({"error": error})

    def refusal_body(self, error: ApiError) -> bytes:
        return error.body()


def _refuse_what_chat_alone_has(body: Mapping[str, Any], losses: Losses) -> None:
    if body.get("n") not in (None, 1):
        losses.refuse("n", "asks for several answers")
    for name in ("frequency_penalty", "presence_penalty"):
        if body.get(name):
            losses.refuse(name, "has no counterpart")
    if body.get("logprobs"):
        losses.refuse("logprobs", "asks for probabilities")
    if body.get("modalities") not in (None, ["text"]):
        losses.refuse("modalities", "asks for more than text")
    if body.get("service_tier") not in (None, "auto", "default"):
        losses.refuse("service_tier", "is a tier of OpenAI's")


def _steering(body: Mapping[str, Any], sent: dict[str, Any], losses: Losses) -> None:
    for name in ("temperature", "top_p", "top_k", "cache_control"):
        if body.get(name) is not None:
            sent[name] = body[name]
    stop = body.get("stop")
    if stop:
        sent["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    user = text_field(body, "safety_identifier") or text_field(body, "user")
    if user:
        sent["metadata"] = {"user_id": user}
    for name in _HINTS:
        if body.get(name) is not None:
            losses.hint(name)
    if body.get("store"):
        losses.hint("store")
    form = body.get("response_format")
    kind = form.get("type") if isinstance(form, dict) else None
    if isinstance(form, dict) and kind == "json_schema":
        named = form.get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
        sent["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    elif kind not in (None, "text"):
        losses.refuse("response_format", "asks for JSON without a schema")


def _tools(body: Mapping[str, Any], sent: dict[str, Any], losses: Losses) -> None:
    found = body.get("tools")
    tools = []
    for index, tool in enumerate(found if isinstance(found, list) else ()):
        where = f"tools[{index}]"
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type") != "function":
            losses.refuse(where, "is no function")
            continue
        losses.rest(tool, frozenset({"cache_control", "function", "type"}), f"{where}.")
        losses.rest(function, _FUNCTION_KEYS, f"{where}.function.")
        turned = {
            "name": function.get("name"),
            "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
        }
        for name in ("description", "strict"):
            if function.get(name) is not None:
                turned[name] = function[name]
        if tool.get("cache_control") is not None:
            turned["cache_control"] = tool["cache_control"]
        tools.append(turned)
    if not tools:
        return
    sent["tools"] = tools
    choice = _choice(body.get("tool_choice"), losses)
    if body.get("parallel_tool_calls") is False:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        sent["tool_choice"] = choice


def _choice(choice: object, losses: Losses) -> dict[str, Any] | None:
    if choice is None:
        return None
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    function = choice.get("function") if isinstance(choice, dict) else None
    if isinstance(function, dict):
        return {"type": "tool", "name": function.get("name")}
    losses.refuse("tool_choice", "is not known")
    return None


def _reasoning(body: Mapping[str, Any], sent: dict[str, Any], losses: Losses) -> None:
    """Effort as thinking; a model with budgets thinks within the output limit, or not at all."""
    effort = text_field(body, "reasoning_effort")
    if not effort:
        return
    if effort == "none":
        sent["thinking"] = {"type": "disabled"}
    elif _BUDGETED.search(text_field(body, "model")):
        budget = min(_BUDGETS.get(effort, _LARGEST_BUDGET), sent["max_tokens"] // 2)
        if budget < _LEAST_BUDGET or _lacks_thinking(sent["messages"]):
            losses.refuse("reasoning_effort", "leaves no room to think, or comes in mid-turn")
            return
        sent["thinking"] = {"type": "enabled", "budget_tokens": budget}
    else:
        sent["thinking"] = {"type": "adaptive"}
        config = {**sent.get("output_config", {}), "effort": _EFFORTS.get(effort, effort)}
        sent["output_config"] = config


def _lacks_thinking(turns: list[dict[str, Any]]) -> bool:
    """Whether results answer calls without the thinking that went before: it is refused then."""
    if not turns or turns[-1]["role"] != "user":
        return False
    if not any(block.get("type") == "tool_result" for block in turns[-1]["content"]):
        return False
    before = turns[-2]["content"] if len(turns) > 1 else []
    return not any(block.get("type", "").endswith("thinking") for block in before)
