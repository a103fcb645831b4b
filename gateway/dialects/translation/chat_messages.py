"""Messages of a chat as Anthropic's system and turns.

Thinking that came with an earlier answer goes back in `thinking_blocks`, as it came; without its
seal it cannot go back.
"""

from collections.abc import Mapping
from typing import Any

from gateway.dialects.openai_style import text_field
from gateway.dialects.translation.chat_pieces import arguments_object
from gateway.dialects.translation.port import Losses

_KNOWN = {
    "user": frozenset({"content", "role"}),
    "system": frozenset({"content", "role"}),
    "developer": frozenset({"content", "role"}),
    "assistant": frozenset(
        {"annotations", "content", "reasoning", "reasoning_content", "refusal", "role"}
        | {"thinking_blocks", "tool_calls"}
    ),
    "tool": frozenset({"content", "role", "tool_call_id"}),
}
_DATA = "data:"
Block = dict[str, Any]


def turns_of(messages: object, losses: Losses) -> tuple[list[Block], list[dict[str, Any]]]:
    """The system's blocks, and the turns of user and assistant, each with blocks."""
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        where = f"messages[{index}]"
        role = message.get("role")
        if role not in _KNOWN:
            losses.refuse(f"{where}.role", "is not known")
            continue
        losses.rest(message, _KNOWN[role], f"{where}.")
        if role in ("system", "developer"):
            if turns:
                losses.refuse(f"{where}.role", "stands after the first message of the user")
            system += _blocks(message.get("content"), f"{where}.content", losses)
            continue
        if role == "tool":
            turn, blocks = "user", [_result(message, where, losses)]
        elif role == "assistant":
            turn, blocks = "assistant", _said(message, where, losses)
        else:
            turn, blocks = "user", _blocks(message.get("content"), f"{where}.content", losses)
        if turns and turns[-1]["role"] == turn:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": turn, "content": blocks})
    return system, turns


def _result(message: Mapping[str, Any], where: str, losses: Losses) -> Block:
    content = message.get("content")
    if not isinstance(content, str):
        content = _blocks(content, f"{where}.content", losses)
    return {
        "type": "tool_result",
        "tool_use_id": message.get("tool_call_id"),
        "content": content,
    }


def _said(message: Mapping[str, Any], where: str, losses: Losses) -> list[Block]:
    """Thinking first, as Anthropic wants it, then text, then calls."""
    thinking = message.get("thinking_blocks")
    blocks: list[Block] = [
        {name: found for name, found in block.items() if name != "index"}
        for block in (thinking if isinstance(thinking, list) else ())
        if isinstance(block, dict)
    ]
    if not blocks and (message.get("reasoning_content") or message.get("reasoning")):
        losses.hint("messages.reasoning_content")
    blocks += _blocks(message.get("content"), f"{where}.content", losses)
    if refusal := text_field(message, "refusal"):
        blocks.append({"type": "text", "text": refusal})
    calls = message.get("tool_calls")
    for index, call in enumerate(calls if isinstance(calls, list) else ()):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            losses.refuse(f"{where}.tool_calls[{index}]", "calls no function")
            continue
        blocks.append(
            {
                "type": "tool_use",
                "id": call.get("id"),
                "name": function.get("name"),
                "input": arguments_object(text_field(function, "arguments")),
            }
        )
    return blocks


def _blocks(content: object, where: str, losses: Losses) -> list[Block]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    blocks = []
    for index, part in enumerate(content if isinstance(content, list) else ()):
        block = _block(part, f"{where}[{index}]", losses)
        if block is not None:
            if part.get("cache_control") is not None:
                block["cache_control"] = part["cache_control"]
            blocks.append(block)
    return blocks


def _block(part: object, where: str, losses: Losses) -> Block | None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict):
        losses.refuse(where, "is no object")
    elif kind in ("text", "refusal"):
        text = text_field(part, kind)
        return {"type": "text", "text": text} if text else None
    elif kind == "image_url":
        image = part.get("image_url")
        url = text_field(image, "url") if isinstance(image, dict) else ""
        if isinstance(image, dict) and image.get("detail") not in (None, "auto"):
            losses.hint("messages.image_url.detail")
        return {"type": "image", "source": _source(url)}
    elif kind == "file":
        file = part.get("file")
        data = text_field(file, "file_data") if isinstance(file, dict) else ""
        if isinstance(file, dict) and data.startswith(_DATA):
            block = {"type": "document", "source": _source(data)}
            if name := text_field(file, "filename"):
                block["title"] = name
            return block
        losses.refuse(where, "is a file that is not in the request")
    else:
        losses.refuse(where, f"is of the type {kind!r}")
    return None


def _source(url: str) -> Block:
    """A URL as Anthropic names it; the bytes themselves where they are in it."""
    head, comma, data = url.partition(",")
    if head.startswith(_DATA) and comma and head.endswith(";base64"):
        media = head.removeprefix(_DATA).removesuffix(";base64")
        return {"type": "base64", "media_type": media.partition(";")[0], "data": data}
    return {"type": "url", "url": url}
