"""The dialect of messages carried by a chat provider.

What each field becomes is listed in docs/providers.md. Hints, on which the answer does not depend,
are named and left out: cache marks, metadata, thinking where the provider has no switch for it.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.anthropic_style import AnthropicErrors
from gateway.dialects.openai_style import text_field
from gateway.dialects.translation import chat_content
from gateway.dialects.translation.message_blocks import assistant_message, user_messages
from gateway.dialects.translation.messages_answer import MessageWriter, error_object
from gateway.dialects.translation.port import Asked, Losses, Target
from gateway.errors import ApiError
from gateway.wire import check_messages, parse_object

_KNOWN = frozenset(
    {
        "cache_control",
        "context_management",
        "inference_geo",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "output_format",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_p",
    }
)
_TOOL_KEYS = frozenset(
    {"cache_control", "description", "eager_input_streaming", "input_schema", "name", "strict"}
    | {"type"}
)
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
# Anthropic's efforts beyond those that every chat provider knows.
_EFFORTS = {"max": "high", "xhigh": "high"}
# Thinking budgets become efforts at these limits, in tokens.
_LOW_BELOW, _MEDIUM_BELOW = 4_096, 16_384


class MessagesToChat:
    """`/messages` over `/chat/completions` (`Translation`)."""

    source = "/messages"
    speech = "messages"
    goal = "/chat/completions"
    goal_speech = "chat"

    def ask(self, raw: bytes, target: Target, now_s: int) -> Asked:
        body = parse_object(raw)
        check_messages(body)
        losses = Losses(target.drop_unsupported)
        losses.rest(body, _KNOWN)
        sent: dict[str, Any] = {"model": body.get("model"), "messages": []}
        sent["messages"] = _messages(body, target, losses)
        _steering(body, sent, target, losses)
        _tools(body, sent, losses)
        _reasoning(body, sent, target, losses)
        if body.get("stream"):
            sent["stream"] = True
            sent["stream_options"] = {"include_usage": True}
        return Asked(self.goal, orjson.dumps(sent), tuple(losses.dropped), MessageWriter())

    def error_body(self, status: int, body: bytes) -> bytes:
        return orjson.dumps(error_object(*chat_content.error_of(status, body), status))

    def refusal_body(self, error: ApiError) -> bytes:
        return AnthropicErrors().error_body(error, "")


def _messages(body: Mapping[str, Any], target: Target, losses: Losses) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if body.get("system"):
        messages.append({"role": "system", "content": _system(body["system"], "system", losses)})
    found = body.get("messages")
    asked = found if isinstance(found, list) else []
    for index, message in enumerate(asked):
        where = f"messages[{index}]"
        role, content = message.get("role"), message.get("content")
        losses.rest(message, frozenset({"role", "content"}), f"{where}.")
        if role == "user":
            messages += user_messages(content, f"{where}.content", losses)
        elif role == "assistant":
            if index == len(asked) - 1:
                losses.refuse(where, "begins the answer, which chat models do not go on from")
            messages.append(assistant_message(content, f"{where}.content", target, losses))
        elif role == "system":
            text = _system(content, f"{where}.content", losses)
            messages.append({"role": "system", "content": text})
        else:
            losses.refuse(f"{where}.role", "is neither user, assistant nor system")
    return chat_content.with_one_system(messages)


def _system(system: object, where: str, losses: Losses) -> str:
    if isinstance(system, str):
        return system
    texts = []
    for index, block in enumerate(system if isinstance(system, list) else ()):
        place = f"{where}[{index}]"
        if not isinstance(block, dict) or block.get("type") != "text":
            losses.refuse(place, "is no text")
            continue
        _note_cache(block, place, losses)
        texts.append(text_field(block, "text"))
    return "\n\n".join(texts)


def _note_cache(block: Mapping[str, Any], where: str, losses: Losses) -> None:
    if block.get("cache_control") is not None:
        losses.hint("cache_control")


def _steering(
    body: Mapping[str, Any], sent: dict[str, Any], target: Target, losses: Losses
) -> None:
    for name, theirs in (
        ("max_tokens", target.limit_field),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("stop_sequences", "stop"),
    ):
        if body.get(name) is not None and body[name] != []:
            sent[theirs] = body[name]
    for name in ("cache_control", "metadata"):
        if body.get(name) is not None:
            losses.hint(name)
    if body.get("service_tier") not in (None, "auto"):
        losses.hint("service_tier")
    for name, plain in (("speed", "standard"), ("inference_geo", "global")):
        if body.get(name) not in (None, plain):
            losses.refuse(name, "chooses how Anthropic serves the request")
    _context_management(body.get("context_management"), losses)


def _context_management(asked: object, losses: Losses) -> None:
    """Clearing old thinking changes nothing here, all other edits change what the model reads."""
    if asked is None:
        return
    edits = asked.get("edits") if isinstance(asked, dict) else None
    kinds = [edit.get("type") for edit in edits or () if isinstance(edit, dict)]
    if all(str(kind).startswith("clear_thinking") for kind in kinds):
        losses.hint("context_management")
    else:
        losses.refuse("context_management", "edits the conversation at the provider's")


def _tools(body: Mapping[str, Any], sent: dict[str, Any], losses: Losses) -> None:
    tools = []
    found = body.get("tools")
    for index, tool in enumerate(found if isinstance(found, list) else ()):
        where = f"tools[{index}]"
        if not isinstance(tool, dict) or tool.get("type") not in (None, "custom"):
            losses.refuse(where, "is a tool that Anthropic defines or runs")
            continue
        losses.rest(tool, _TOOL_KEYS, f"{where}.")
        _note_cache(tool, where, losses)
        function = {"name": tool.get("name"), "parameters": tool.get("input_schema")}
        for name in ("description", "strict"):
            if tool.get(name) is not None:
                function[name] = tool[name]
        tools.append({"type": "function", "function": function})
    if not tools:
        return
    sent["tools"] = tools
    choice = body.get("tool_choice")
    if not isinstance(choice, dict):
        return
    kind = choice.get("type")
    if kind == "tool":
        sent["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif isinstance(kind, str) and kind in _CHOICES:
        sent["tool_choice"] = _CHOICES[kind]
    else:
        losses.refuse("tool_choice", "is not known")
    if choice.get("disable_parallel_tool_use"):
        sent["parallel_tool_calls"] = False


def _reasoning(
    body: Mapping[str, Any], sent: dict[str, Any], target: Target, losses: Losses
) -> None:
    """Effort and answer format; thinking is a leave to think, which a model may not need."""
    config = body.get("output_config")
    config = config if isinstance(config, dict) else {}
    losses.rest(config, frozenset({"effort", "format"}), "output_config.")
    thinking = body.get("thinking")
    thinking = thinking if isinstance(thinking, dict) else {}
    asks = thinking.get("type") in ("enabled", "adaptive")
    effort = text_field(config, "effort")
    if not effort and asks:
        effort = _effort_of(thinking.get("budget_tokens"))
    if target.reasoning_effort:
        if thinking.get("type") == "disabled":
            sent["reasoning_effort"] = "none"
        elif effort:
            sent["reasoning_effort"] = _EFFORTS.get(effort, effort)
    else:
        if thinking:
            losses.hint("thinking")
        if config.get("effort") is not None:
            losses.hint("output_config.effort")
    form = config.get("format") or body.get("output_format")
    if form is None:
        return
    if isinstance(form, dict) and form.get("type") == "json_schema":
        schema = {"name": "answer", "schema": form.get("schema"), "strict": True}
        sent["response_format"] = {"type": "json_schema", "json_schema": schema}
    else:
        losses.refuse("output_config.format", "is not a JSON schema")


def _effort_of(budget_tokens: object) -> str:
    if type(budget_tokens) is not int:
        return ""
    if budget_tokens < _LOW_BELOW:
        return "low"
    return "medium" if budget_tokens < _MEDIUM_BELOW else "high"
