"""A response's request in the shape of a chat completion, for those who look at messages.

It is a view for routing and never sent. Content passes by reference; the parts of a message have
the same names in both shapes, or are told apart by routing/features.py already.
"""

from collections.abc import Mapping
from typing import Any


def items_of(body: Mapping[str, Any]) -> list[Any]:
    """The items of the input; a text is one message of the user."""
    found = body.get("input")
    if isinstance(found, str):
        return [{"role": "user", "content": found}]
    return found if isinstance(found, list) else []


def as_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Messages, tools, format, limit and reasoning where a chat completion has them."""
    messages: list[dict[str, Any]] = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    messages += [_message(item) for item in items_of(body) if isinstance(item, dict)]
    text = body.get("text")
    return {
        "messages": messages,
        "tools": body.get("tools"),
        "response_format": text.get("format") if isinstance(text, dict) else None,
        "max_tokens": body.get("max_output_tokens"),
        "reasoning": body.get("reasoning"),
        "stream": body.get("stream"),
    }


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    kind = item.get("type")
    if "role" in item:
        return {"role": item["role"], "content": item.get("content")}
    if isinstance(kind, str) and kind.endswith("_output"):
        return {"role": "tool", "content": item.get("output")}
    call = {"arguments": item.get("arguments", item.get("input"))}
    return {
        "role": "assistant",
        "content": item.get("summary"),
        "tool_calls": [{"function": call}],
    }
