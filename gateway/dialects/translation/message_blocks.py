"""Content blocks of messages as messages of a chat.

Tool results become messages of their own, before what the user says with them. Chat models take
texts only as the result of a tool, so images in a result follow in a message of the user.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from gateway.dialects.openai_style import text_field
from gateway.dialects.translation.chat_content import content_of, text_part
from gateway.dialects.translation.port import Losses, Target

FAILED = "Error: "
_TEXT_KEYS = frozenset({"cache_control", "text", "type"})
_IMAGE_KEYS = frozenset({"cache_control", "source", "type"})
_DOCUMENT_KEYS = frozenset({"cache_control", "citations", "source", "title", "type"})
_RESULT_KEYS = frozenset({"cache_control", "content", "is_error", "tool_use_id", "type"})
_CALL_KEYS = frozenset({"cache_control", "caller", "id", "input", "name", "type"})
Part = dict[str, Any] | None


def user_messages(content: object, where: str, losses: Losses) -> list[dict[str, Any]]:
    """Results of tools, then what is said."""
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    messages: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    for index, block in enumerate(content if isinstance(content, list) else ()):
        place = f"{where}[{index}]"
        if isinstance(block, dict) and block.get("type") == "tool_result":
            message, images = _result(block, place, losses)
            messages.append(message)
            said += images
        elif (part := _part(block, place, losses)) is not None:
            said.append(part)
    if said or not messages:
        messages.append({"role": "user", "content": content_of(said)})
    return messages


def assistant_message(
    content: object, where: str, target: Target, losses: Losses
) -> dict[str, Any]:
    """Text, calls, and reasoning where the provider wants it back."""
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[str] = []
    for index, block in enumerate(content if isinstance(content, list) else ()):
        place = f"{where}[{index}]"
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            _note(block, _TEXT_KEYS | {"citations"}, place, losses)
            texts.append(text_field(block, "text"))
        elif kind == "tool_use":
            _note(block, _CALL_KEYS, place, losses)
            calls.append(_call(block))
        elif kind == "thinking" and target.reasoning_field:
            thoughts.append(text_field(block, "thinking"))
        elif kind in ("thinking", "redacted_thinking"):
            losses.hint("messages.thinking")
        else:
            losses.refuse(place, f"is of the type {kind!r}")
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if thoughts:
        message[target.reasoning_field] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None:
        message["content"] = ""
    return message


def _call(block: Mapping[str, Any]) -> dict[str, Any]:
    arguments = orjson.dumps(block.get("input") or {}).decode()
    function = {"name": block.get("name"), "arguments": arguments}
    return {"id": block.get("id"), "type": "function", "function": function}


def _result(
    block: Mapping[str, Any], where: str, losses: Losses
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The tool's message, and the images that the user shows after it."""
    _note(block, _RESULT_KEYS, where, losses)
    content = block.get("content")
    texts: list[str] = []
    images: list[dict[str, Any]] = []
    if isinstance(content, str):
        texts.append(content)
    for index, inner in enumerate(content if isinstance(content, list) else ()):
        part = _part(inner, f"{where}.content[{index}]", losses)
        if part is not None and part["type"] == "text":
            texts.append(part["text"])
        elif part is not None:
            images.append(part)
    text = "\n".join(texts)
    if block.get("is_error"):
        text = FAILED + text
    result = {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text}
    return result, images


def _part(block: object, where: str, losses: Losses) -> Part:
    kind = block.get("type") if isinstance(block, dict) else None
    read = _PARTS.get(kind) if isinstance(kind, str) else None
    if read is None or not isinstance(block, dict):
        losses.refuse(where, f"is of the type {kind!r}")
        return None
    return read(block, where, losses)


def _text(block: Mapping[str, Any], where: str, losses: Losses) -> Part:
    _note(block, _TEXT_KEYS, where, losses)
    return text_part(text_field(block, "text"))


def _image(block: Mapping[str, Any], where: str, losses: Losses) -> Part:
    _note(block, _IMAGE_KEYS, where, losses)
    url = _url(block.get("source"))
    if url is None:
        losses.refuse(f"{where}.source", "is a file that the provider does not have")
        return None
    return {"type": "image_url", "image_url": {"url": url}}


def _document(block: Mapping[str, Any], where: str, losses: Losses) -> Part:
    """A document of plain text is text; a PDF is a file."""
    _note(block, _DOCUMENT_KEYS, where, losses)
    citations = block.get("citations")
    if isinstance(citations, dict) and citations.get("enabled"):
        losses.refuse(f"{where}.citations", "asks for citations")
    source, title = block.get("source"), text_field(block, "title")
    kind = source.get("type") if isinstance(source, dict) else None
    if isinstance(source, dict) and kind == "text":
        text = text_field(source, "data")
        return text_part(f"{title}\n\n{text}" if title else text)
    if kind == "base64":
        file = {"filename": title or "document.pdf", "file_data": _url(source)}
        return {"type": "file", "file": file}
    losses.refuse(f"{where}.source", "is a document that is not in the request")
    return None


def _url(source: object) -> str | None:
    if not isinstance(source, dict):
        return None
    if source.get("type") == "base64":
        return f"data:{source.get('media_type')};base64,{source.get('data')}"
    return text_field(source, "url") or None


def _note(block: Mapping[str, Any], known: frozenset[str], where: str, losses: Losses) -> None:
    losses.rest(block, known, f"{where}.")
    if block.get("cache_control") is not None:
        losses.hint("cache_control")


_PARTS: Mapping[str, Callable[[Mapping[str, Any], str, Losses], Part]] = {
    "text": _text,
    "image": _image,
    "document": _document,
}
