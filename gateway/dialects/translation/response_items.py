"""The items of a response's input as messages of a chat.

An assistant's text and the calls that follow it are one message there; results of tools are
messages of a tool. Images in a result follow in a message of the user.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.openai_style import text_field
from gateway.dialects.translation.chat_content import content_of, text_part
from gateway.dialects.translation.custom_input import INPUT
from gateway.dialects.translation.port import Losses, Target
from gateway.dialects.translation.response_tools import ToolNames

_MESSAGE_KEYS = frozenset({"content", "id", "phase", "role", "status", "type"})
_CALL_KEYS = frozenset(
    {"arguments", "call_id", "caller", "id", "input", "name", "namespace", "status", "type"}
)
_RESULT_KEYS = frozenset({"call_id", "caller", "id", "output", "status", "type"})
_TEXTS = frozenset({"input_text", "output_text", "text"})
_SYSTEM = ("system", "developer")


class ItemReader:
    """Turns the items of one request, in order, into `messages`."""

    __slots__ = ("_losses", "_names", "_target", "_thoughts", "messages")

    def __init__(self, names: ToolNames, target: Target, losses: Losses) -> None:
        self._names = names
        self._target = target
        self._losses = losses
        self._thoughts: list[str] = []
        self.messages: list[dict[str, Any]] = []

    def read(self, item: object, where: str) -> None:
        """Add one item; raise ApiError (400) for what chat has no word for."""
        kind = item.get("type") if isinstance(item, dict) else None
        if not isinstance(item, dict):
            self._losses.refuse(where, "is no object")
        elif kind == "message" or (kind is None and "role" in item):
            self._message(item, where)
        elif kind in ("function_call", "custom_tool_call"):
            self._call(item, kind, where)
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._result(item, where)
        elif kind == "reasoning":
            self._reasoning(item)
        else:
            self._losses.refuse(where, f"is an item of the type {kind!r}")

    def _message(self, item: Mapping[str, Any], where: str) -> None:
        self._losses.rest(item, _MESSAGE_KEYS, f"{where}.")
        role = item.get("role")
        parts = self._parts(item.get("content"), f"{where}.content")
        if role in _SYSTEM:
            texts = [part["text"] for part in parts if part["type"] == "text"]
            if len(texts) < len(parts):
                self._losses.refuse(f"{where}.content", "is no text")
            self.messages.append({"role": "system", "content": "\n\n".join(texts)})
        elif role == "assistant":
            text = "".join(part["text"] for part in parts if part["type"] == "text")
            self.messages.append(self._assistant(text))
        elif role == "user":
            self.messages.append({"role": "user", "content": content_of(parts)})
        else:
            self._losses.refuse(f"{where}.role", "is not known")

    def _assistant(self, text: str | None) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self._thoughts:
            message[self._target.reasoning_field] = "\n".join(self._thoughts)
            self._thoughts = []
        return message

    def _call(self, item: Mapping[str, Any], kind: str, where: str) -> None:
        self._losses.rest(item, _CALL_KEYS, f"{where}.")
        name = self._names.function(text_field(item, "name"), text_field(item, "namespace"))
        arguments = text_field(item, "arguments") or "{}"
        if kind == "custom_tool_call":
            arguments = orjson.dumps({INPUT: text_field(item, "input")}).decode()
        function = {"name": name, "arguments": arguments}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        last = self.messages[-1] if self.messages else None
        if last is None or last["role"] != "assistant" or self._thoughts:
            last = self._assistant(None)
            self.messages.append(last)
        last["content"] = last["content"] or None
        last.setdefault("tool_calls", []).append(call)

    def _result(self, item: Mapping[str, Any], where: str) -> None:
        self._losses.rest(item, _RESULT_KEYS, f"{where}.")
        parts = self._parts(item.get("output"), f"{where}.output")
        texts = [part["text"] for part in parts if part["type"] == "text"]
        shown = [part for part in parts if part["type"] != "text"]
        result = {
            "role": "tool",
            "tool_call_id": item.get("call_id"),
            "content": "\n".join(texts),
        }
        # Results of one turn stand together; what they show comes after the last of them.
        place = len(self.messages)
        while (
            place
            and self.messages[place - 1].get("role") == "user"
            and _is_shown(self.messages[place - 1])
        ):
            place -= 1
        self.messages.insert(place, result)
        if shown:
            self.messages.append({"role": "user", "content": shown})

    def _reasoning(self, item: Mapping[str, Any]) -> None:
        content = item.get("content")
        texts = [
            text_field(part, "text")
            for part in (content if isinstance(content, list) else ())
            if isinstance(part, dict)
        ]
        if self._target.reasoning_field and any(texts):
            self._thoughts += texts
        else:
            self._losses.hint("input.reasoning")

    def _parts(self, content: object, where: str) -> list[dict[str, Any]]:
        if isinstance(content, str):
            return [text_part(content)]
        parts = []
        for index, part in enumerate(content if isinstance(content, list) else ()):
            turned = self._part(part, f"{where}[{index}]")
            if turned is not None:
                parts.append(turned)
        return parts

    def _part(self, part: object, where: str) -> dict[str, Any] | None:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict):
            self._losses.refuse(where, "is no object")
        elif kind in _TEXTS:
            return text_part(text_field(part, "text"))
        elif kind == "refusal":
            return text_part(text_field(part, "refusal"))
        elif kind == "input_image" and part.get("image_url"):
            image = {"url": part["image_url"]}
            if part.get("detail") in ("low", "high"):
                image["detail"] = part["detail"]
            elif part.get("detail") not in (None, "auto"):
                self._losses.refuse(f"{where}.detail", "is not known")
            return {"type": "image_url", "image_url": image}
        elif kind == "input_file" and part.get("file_data"):
            names = ("filename", "file_data")
            file = {name: part[name] for name in names if part.get(name) is not None}
            return {"type": "file", "file": file}
        elif kind == "input_audio":
            return {"type": "input_audio", "input_audio": part.get("input_audio")}
        else:
            self._losses.refuse(where, f"is of the type {kind!r}, or not in the request")
        return None


def _is_shown(message: Mapping[str, Any]) -> bool:
    """Whether a message of the user holds what a tool showed."""
    content = message.get("content")
    return isinstance(content, list) and all(part.get("type") != "text" for part in content)
