"""What litellm would read over inside the fields of a chat request. Pure.

litellm refuses fields that a model does not take, but passes in silence over much of what stands in
messages and tools. That is refused here, or left out and named, before litellm sees it. What it
passes over depends on the dialect that it writes: `Written` names those that are measured
(docs/fidelity.md). An address that litellm would fetch by itself is refused as well: the gateway
asks nobody but the provider.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

# Parts of a message that litellm knows; others are errors of its own, without a word to the caller.
PARTS = frozenset(
    {"audio_url", "document", "file", "image_url", "input_audio", "redacted_thinking", "refusal"}
    | {"text", "thinking", "tool_result", "video_url"}
)
_SAID = frozenset(
    {"cache_control", "content", "function_call", "provider_specific_fields", "role"}
    | {"thinking_blocks", "tool_call_id", "tool_calls"}
)
# What stands in earlier answers without being said to the model.
_ECHOES = frozenset({"annotations", "reasoning", "reasoning_content"})
_TOOL = frozenset({"cache_control", "function", "type"})
_CLAUDE_TOOL = frozenset({"allowed_callers", "defer_loading", "input_examples"})
_FUNCTION = frozenset({"cache_control", "description", "name", "parameters"})
_OF_TOOLS = frozenset({"parallel_tool_calls", "tool_choice", "tools"})
_PENALTIES = ("frequency_penalty", "presence_penalty")
_PENALIZED = re.compile(r"gemini-[12]")
_MAX_NAME = 120


class Written(StrEnum):
    """The dialect that litellm writes."""

    CHAT = "chat"
    CLAUDE = "claude"
    GEMINI = "gemini"
    UNMEASURED = "unmeasured"


def written_for(vendor: str, model: str, *, speaks_chat: bool) -> Written:
    """The dialect in which a model of a vendor's is asked."""
    if speaks_chat:
        return Written.CHAT
    if vendor == "anthropic" or (vendor == "vertex_ai" and "claude" in model):
        return Written.CLAUDE
    if vendor == "gemini" or (vendor == "vertex_ai" and "gemini" in model):
        return Written.GEMINI
    return Written.UNMEASURED


class RequestFault(ValueError):
    """A request that cannot be carried; `param` names the field."""

    def __init__(self, message: str, param: str, code: str) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class Losses:
    """Collects what of one request is left out."""

    def __init__(self, *, may_drop: bool) -> None:
        self._may_drop = may_drop
        self.dropped: dict[str, None] = {}

    def hint(self, name: str) -> None:
        """Note a field that the answer does not depend on."""
        self.dropped[name[:_MAX_NAME]] = None

    def refuse(self, name: str, why: str) -> None:
        """Note a field that the answer depends on; raise RequestFault unless it may be lost."""
        if not self._may_drop:
            raise unsupported(name, f"{why}. Leave it out, or set `drop_unsupported = true`")
        self.hint(name)


def unsupported(name: str, why: str) -> RequestFault:
    """A field that cannot be carried."""
    name = name[:_MAX_NAME]
    return RequestFault(f"`{name}`: {why} for the provider.", name, "unsupported_parameter")


def carried(
    arguments: Mapping[str, Any], written: Written, losses: Losses, *, takes_addresses: bool
) -> dict[str, Any]:
    """The arguments with nothing in them that litellm would pass over; raise RequestFault.

    `takes_addresses` says whether `https:` addresses reach a provider of another dialect than chat.
    """
    reading = _Reading(written, losses, takes_addresses)
    found = {**arguments, "messages": reading.messages(arguments["messages"])}
    if isinstance(tools := found.get("tools"), list) and written is not Written.CHAT:
        found["tools"] = reading.tools(tools)
        if not found["tools"]:
            found = {name: value for name, value in found.items() if name not in _OF_TOOLS}
    for name in reading.read_over(found):
        del found[name]
    return found


class _Reading:
    """One request, read for one dialect."""

    def __init__(self, written: Written, losses: Losses, takes_addresses: bool) -> None:
        self._written = written
        self._losses = losses
        self._takes_addresses = takes_addresses
        self._is_measured = written in (Written.CLAUDE, Written.GEMINI)

    def read_over(self, found: Mapping[str, Any]) -> list[str]:
        """Fields that litellm says it takes, and does not."""
        names = []
        if self._written is Written.CLAUDE:
            form = found.get("response_format")
            if isinstance(form, dict) and form.get("type") == "json_object":
                self._losses.refuse("response_format", "JSON without a schema cannot be asked for")
                names.append("response_format")
        if self._written is Written.GEMINI:
            if found.get("parallel_tool_calls") is False:
                self._losses.refuse("parallel_tool_calls", "calls cannot be kept apart")
                names.append("parallel_tool_calls")
            if not _PENALIZED.search(found["model"]):
                for name in _PENALTIES:
                    if found.get(name):
                        self._losses.refuse(name, "this model takes no such field")
                        names.append(name)
            for name in found.get("web_search_options") or ():
                self._losses.hint(f"web_search_options.{name}")
        return names

    # -- messages -------------------------------------------------------------------------------

    def messages(self, messages: list[Any]) -> list[Any]:
        return [
            self._message(message, f"messages[{place}]") if isinstance(message, dict) else message
            for place, message in enumerate(messages)
        ]

    def _message(self, message: dict[str, Any], where: str) -> dict[str, Any]:
        found = {**message}
        if isinstance(parts := found.get("content"), list):
            found["content"] = self._parts(parts, f"{where}.content")
        if not self._is_measured:
            return found
        for name in [name for name in found if name not in _SAID and name != "refusal"]:
            self._left_over(found, name, where)
        refusal = found.pop("refusal", None)
        if refusal:
            said = found.get("content") or []
            texts = [{"type": "text", "text": said}] if isinstance(said, str) else said
            found["content"] = [*texts, {"type": "text", "text": refusal}]
        if self._written is Written.GEMINI:
            self._without_marks(found)
            if found.pop("thinking_blocks", None):
                self._losses.hint("messages.thinking_blocks")
        calls = found.get("tool_calls")
        for place, call in enumerate(calls if isinstance(calls, list) else ()):
            if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
                why = "calls no function, and that cannot be carried"
                raise unsupported(f"{where}.tool_calls[{place}]", f"{why} by this model")
        return found

    def _left_over(self, message: dict[str, Any], name: str, where: str) -> None:
        """Take out what a message says beside its content, or refuse it."""
        if self._written is Written.GEMINI and name == "reasoning_content":
            return
        told = message.pop(name)
        if not told:
            return
        if name in _ECHOES or (name == "name" and message.get("role") in ("tool", "function")):
            self._losses.hint(f"messages.{name}")
        else:
            self._losses.refuse(f"{where}.{name}", "messages of this model say no such thing")

    def _parts(self, parts: list[Any], where: str) -> list[Any]:
        found = [
            carried
            for place, part in enumerate(parts)
            if (carried := self._part(part, f"{where}[{place}]")) is not None
        ]
        if parts and not found:
            raise unsupported(where, "nothing of it can be carried")
        return found

    def _part(self, part: Any, where: str) -> Any:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict) or not isinstance(kind, str):
            raise unsupported(where, "is no part of a message")
        if kind not in PARTS or (kind == "input_audio" and self._written is Written.CLAUDE):
            self._losses.refuse(where, f"a part of the type {kind[:40]!r} cannot be carried")
            return None
        address = _address(part, kind)
        if address and self._would_be_fetched(address, kind):
            why = "the gateway fetches no addresses; send the bytes as a data URL"
            self._losses.refuse(f"{where}.{kind}", why)
            return None
        if not self._is_measured:
            return part
        found = {**part}
        if kind == "refusal":
            return {"type": "text", "text": part.get("refusal")}
        if self._written is Written.CLAUDE and isinstance(image := part.get("image_url"), dict):
            found["image_url"] = {key: told for key, told in image.items() if key != "detail"}
            if image.get("detail") not in (None, "auto"):
                self._losses.hint("messages.image_url.detail")
        if isinstance(file := part.get("file"), dict) and file.get("filename"):
            self._losses.hint("messages.file.filename")
        if self._written is Written.GEMINI:
            self._without_marks(found)
        return found

    def _would_be_fetched(self, address: str, kind: str) -> bool:
        """Whether litellm would fetch it, here in the gateway's network."""
        if self._written is Written.CHAT:
            return kind == "file"
        return not (self._takes_addresses and address.startswith("https:"))

    def _without_marks(self, found: dict[str, Any], where: str = "messages") -> None:
        """Left in, a mark may make litellm keep a cache with the provider, by calls of its own."""
        if found.pop("cache_control", None) is not None:
            self._losses.hint(f"{where}.cache_control")

    # -- tools ----------------------------------------------------------------------------------

    def tools(self, tools: list[Any]) -> list[Any]:
        return [
            carried
            for place, tool in enumerate(tools)
            if (carried := self._tool(tool, f"tools[{place}]")) is not None
        ]

    def _tool(self, tool: Any, where: str) -> Any:
        if not isinstance(tool, dict):
            raise unsupported(where, "is no tool")
        function = tool.get("function")
        if not isinstance(function, dict):
            foreign = self._written is Written.GEMINI and "type" in tool
            if foreign or tool.get("type") in ("custom", "function"):
                self._losses.refuse(where, "this model takes no such tool")
                return None
            return tool
        if not self._is_measured:
            return tool
        known = _TOOL | (_CLAUDE_TOOL if self._written is Written.CLAUDE else frozenset())
        found = self._known(tool, known, where)
        found["function"] = self._known(function, _FUNCTION, f"{where}.function")
        if self._written is Written.GEMINI:
            self._without_marks(found, "tools")
            self._without_marks(found["function"], "tools")
        return found

    def _known(self, told: Mapping[str, Any], known: frozenset[str], where: str) -> dict[str, Any]:
        for name in told.keys() - known:
            if name == "strict":
                if told[name]:
                    self._losses.hint("tools.function.strict")
            elif told[name] is not None:
                self._losses.refuse(f"{where}.{name}", "tools of this model say no such thing")
        return {name: found for name, found in told.items() if name in known}


def _address(part: Mapping[str, Any], kind: str) -> str:
    """The address of a picture, sound or file that somebody would have to fetch; or nothing."""
    held = part.get(kind)
    told = [held] if isinstance(held, str) else []
    if isinstance(held, dict):
        told += [held[name] for name in ("url", "file_id", "file_data") if name in held]
    found = [text for text in told if isinstance(text, str)]
    return next((text for text in found if text[:8].lower().startswith(("http:", "https:"))), "")
