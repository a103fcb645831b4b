"""Parts of chat requests and errors that every translation writes or reads."""

from typing import Any

import orjson

from gateway.dialects.translation.chat_pieces import error_in

_ERROR_TEXT_BYTES = 2_000


def content_of(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Parts as the content of a message: one text alone is a plain string, as all servers take."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def with_one_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leading system messages as one, since the templates of many models take no second."""
    leading = 0
    while leading < len(messages) and messages[leading]["role"] == "system":
        leading += 1
    if leading < 2:
        return messages
    texts = [message["content"] for message in messages[:leading]]
    return [{"role": "system", "content": "\n\n".join(filter(None, texts))}, *messages[leading:]]


def error_of(status: int, body: bytes) -> tuple[str, str, str]:
    """Message, type and code of an error response, whatever its shape."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict):
        told = error_in(found)
        if told is not None:
            return told
        for name in ("message", "detail"):
            if isinstance(found.get(name), str):
                return found[name], "", ""
    text = body[:_ERROR_TEXT_BYTES].decode("utf-8", "replace").strip()
    return text or f"The provider answered with status {status}.", "", ""
