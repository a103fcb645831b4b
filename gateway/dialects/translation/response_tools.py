"""The tools of a response as functions of a chat, and their names on the way back.

A custom tool, whose input is a text, becomes a function with one text. Functions of a namespace get
the namespace before their names.
"""

from collections.abc import Mapping
from typing import Any

from budgets.value import value
from gateway.dialects.openai_style import text_field
from gateway.dialects.translation.custom_input import INPUT
from gateway.dialects.translation.port import Losses

_FUNCTION_KEYS = frozenset({"description", "name", "parameters", "strict", "type"})
_CUSTOM_KEYS = frozenset({"description", "format", "name", "type"})
_NAMESPACE_KEYS = frozenset({"description", "name", "tools", "type"})
_JOIN = "__"


@value
class Tool:
    """A tool as the caller knows it."""

    name: str
    namespace: str = ""
    custom: bool = False


class ToolNames:
    """Which of the caller's tools each function is."""

    __slots__ = ("_functions", "_tools")

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}
        self._functions: dict[tuple[str, str], str] = {}

    def add(self, tool: Tool) -> str:
        """The function's name for a tool."""
        joined = tool.name
        if tool.namespace:
            joined = f"{tool.namespace.rstrip('_')}{_JOIN}{tool.name}"
        self._tools[joined] = tool
        self._functions[tool.namespace, tool.name] = joined
        return joined

    def function(self, name: str, namespace: str = "") -> str:
        """The function's name for a tool that was called or chosen."""
        return self._functions.get((namespace, name)) or self.add(Tool(name, namespace))

    def tool(self, function: str) -> Tool:
        """The tool for a function; a model may also call one that there is not."""
        return self._tools.get(function, Tool(function))


def tools_of(found: object, names: ToolNames, losses: Losses) -> list[dict[str, Any]]:
    """The functions for a list of tools; what chat has no word for is refused."""
    functions: list[dict[str, Any]] = []
    for index, tool in enumerate(found if isinstance(found, list) else ()):
        where = f"tools[{index}]"
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind == "namespace":
            losses.rest(tool, _NAMESPACE_KEYS, f"{where}.")
            functions += _of_namespace(tool, where, names, losses)
        elif kind in ("function", "custom"):
            functions.append(_one(tool, "", where, names, losses))
        else:
            losses.refuse(where, f"is a tool of the type {kind!r}")
    return functions


def _of_namespace(
    namespace: Mapping[str, Any], where: str, names: ToolNames, losses: Losses
) -> list[dict[str, Any]]:
    functions = []
    name = text_field(namespace, "name")
    inner = namespace.get("tools")
    for index, tool in enumerate(inner if isinstance(inner, list) else ()):
        place = f"{where}.tools[{index}]"
        if isinstance(tool, dict) and tool.get("type") in ("function", "custom"):
            functions.append(_one(tool, name, place, names, losses))
        else:
            losses.refuse(place, "is neither a function nor a custom tool")
    about = text_field(namespace, "description")
    for function in functions if about else ():
        told = function["function"]
        told["description"] = f"{about}\n\n{told.get('description', '')}".strip()
    return functions


def _one(
    tool: Mapping[str, Any], namespace: str, where: str, names: ToolNames, losses: Losses
) -> dict[str, Any]:
    custom = tool.get("type") == "custom"
    losses.rest(tool, _CUSTOM_KEYS if custom else _FUNCTION_KEYS, f"{where}.")
    name = names.add(Tool(text_field(tool, "name"), namespace, custom))
    function: dict[str, Any] = {"name": name}
    if custom:
        about = _about_custom(tool)
        function["description"] = about
        text = {"type": "string", "description": "The whole input of the tool."}
        function["parameters"] = {
            "type": "object",
            "properties": {INPUT: text},
            "required": [INPUT],
            "additionalProperties": False,
        }
    else:
        for field in ("description", "parameters", "strict"):
            if tool.get(field) is not None:
                function[field] = tool[field]
    return {"type": "function", "function": function}


def _about_custom(tool: Mapping[str, Any]) -> str:
    """The description, and the grammar of the input, which a function can only be told of."""
    about = text_field(tool, "description")
    form = tool.get("format")
    if isinstance(form, dict) and form.get("type") == "grammar":
        syntax, grammar = text_field(form, "syntax"), text_field(form, "definition")
        about += f"\n\nThe input must follow this grammar ({syntax}):\n{grammar}"
    return about.strip()


def choice_of(
    choice: object, functions: list[dict[str, Any]], names: ToolNames, losses: Losses
) -> tuple[object, list[dict[str, Any]]]:
    """`tool_choice` for chat, and the functions that it leaves."""
    if choice is None or isinstance(choice, str):
        return choice, functions
    kind = choice.get("type") if isinstance(choice, dict) else None
    if isinstance(choice, dict) and kind in ("function", "custom"):
        return _chosen(choice, names), functions
    if isinstance(choice, dict) and kind == "allowed_tools":
        allowed = choice.get("tools")
        kept = {
            names.function(text_field(tool, "name"), text_field(tool, "namespace"))
            for tool in (allowed if isinstance(allowed, list) else ())
            if isinstance(tool, dict)
        }
        left = [one for one in functions if one["function"]["name"] in kept]
        return text_field(choice, "mode") or "auto", left
    losses.refuse("tool_choice", "chooses a tool that the provider runs")
    return None, functions


def _chosen(choice: Mapping[str, Any], names: ToolNames) -> dict[str, Any]:
    name = names.function(text_field(choice, "name"), text_field(choice, "namespace"))
    return {"type": "function", "function": {"name": name}}
