"""A message's request in the shape of a chat completion, for those who look at messages.

It is a view for routing and never sent. Tool results, which Anthropic carries in messages of the
user, become messages of a tool; calls become `tool_calls`.
"""

from collections.abc import Mapping
from typing import Any

import orjson

_RESULT_SUFFIX = "tool_result"
_CALL_SUFFIX = "tool_use"


def as_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Messages, tools, format, limit and reasoning where a chat completion has them."""
    messages: list[dict[str, Any]] = []
    if body.get("system"):
        messages.append({"role": "system", "content": body["system"]})
    for message in body["messages"]:
        messages += _messages_of(message)
    thinking = body.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    return {
        "messages": messages,
        "tools": body.get("tools"),
        "response_format": _format_of(body),
        "max_tokens": body.get("max_tokens"),
        "reasoning": {"enabled": kind in ("enabled", "adaptive")},
        "stream": body.get("stream"),
    }


def _format_of(body: Mapping[str, Any]) -> object:
    config = body.get("output_config")
    asked = config.get("format") if isinstance(config, dict) else None
    return asked if asked is not None else body.get("output_format")


def _messages_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The message without its tool results and calls, and those as messages of their own kind."""
    role, content = message["role"], message.get("content")
    if not isinstance(content, list):
        return [{"role": role, "content": content}]
    said: list[object] = []
    calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else None
        if not isinstance(kind, str):
            said.append(block)
        elif kind.endswith(_RESULT_SUFFIX):
            results.append({"role": "tool", "content": block.get("content")})
        elif kind.endswith(_CALL_SUFFIX):
            calls.append({"function": {"arguments": _json(block.get("input"))}})
        else:
            said.append(block)
    if said or calls or not results:
        plain: dict[str, Any] = {"role": role, "content": said}
        if calls:
            plain["tool_calls"] = calls
        results.append(plain)
    return results


def _json(value: object) -> str:
    """As JSON text; empty for what JSON writers refuse."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""
