"""Responses: the dialect of `/v1/responses`.

A request may go on from what the provider keeps (`previous_response_id`, `conversation`), and let
the provider run tools. `unseen` says so, and `unseen.py` bounds it. What would be answered after
the connection is over, or be read from a template that the gateway does not know, is refused.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from budgets.usage import TokenUsage, UsageExtras, UsageFault, usage_from_responses
from gateway.dialects.openai_style import OpenAIStyle, text_field
from gateway.dialects.port import Bounds, InputParts, Meter, ModelRequest
from gateway.dialects.responses_stream import (
    ResponseMeter,
    error_event,
    generated_in,
    tool_uses_in,
)
from gateway.dialects.responses_view import as_chat, items_of
from gateway.dialects.unseen import Unseen, any_object
from gateway.errors import ApiError, bad_request
from gateway.wire import (
    flag,
    model_of,
    parse_object,
    positive,
    refuse_other_limits,
    splice,
    stream_options,
)

LIMIT_FIELD = "max_output_tokens"
TOOL_LIMIT_FIELD = "max_tool_calls"
CONTROLS = frozenset(
    {
        "background",
        "client_metadata",
        "context_management",
        "conversation",
        "include",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
# Tools that stand in the request with all that the model reads of them.
PLAIN_TOOLS = frozenset({"function", "custom", "namespace"})
# Tools that the provider runs: after each use the model reads its whole input again.
HOSTED_TOOLS = frozenset(
    {"code_interpreter", "file_search", "image_generation", "mcp", "programmatic_tool_calling"}
)
HOSTED_PREFIXES = ("web_search",)
# Items of the input that bring tools along.
_TOOL_ITEMS = ("additional_tools", "tool_search_output")


class Responses(OpenAIStyle):
    """The dialect of `/v1/responses`."""

    name = "responses"
    speech = "responses"
    route = "/v1/responses"
    path = "/responses"
    goes_on = True

    def read(self, raw: bytes) -> ModelRequest:
        body = parse_object(raw)
        model = model_of(body)
        _check_input(body)
        _refuse_what_escapes(body)
        stream = flag(body, "stream")
        stream_options(body)
        positive(body, TOOL_LIMIT_FIELD, least=0)
        return ModelRequest(
            raw=raw,
            body=body,
            model=model,
            stream=stream,
            wants_usage=True,
            output_tokens=positive(body, LIMIT_FIELD),
            choices=1,
        )

    def upstream_body(self, request: ModelRequest, upstream_model: str, bounds: Bounds) -> bytes:
        changes: dict[str, Any] = {}
        if upstream_model != request.model:
            changes["model"] = upstream_model
        for field, bound in (
            (LIMIT_FIELD, bounds.output_tokens),
            (TOOL_LIMIT_FIELD, bounds.tool_uses),
        ):
            asked = request.body.get(field)
            if bound is not None and (asked is None or asked > bound):
                changes[field] = bound
        return splice(request.raw, request.body, changes) if changes else request.raw

    def frames(self, request: ModelRequest) -> int:
        return len(items_of(request.body)) + bool(request.body.get("instructions"))

    def input_parts(self, request: ModelRequest) -> InputParts:
        body = request.body
        items = items_of(body)
        said = [body["instructions"], *items] if body.get("instructions") else items
        left = CONTROLS | {"input", "instructions"}
        rest = {name: value for name, value in body.items() if name not in left}
        return InputParts(said, rest, self.frames(request))

    def unseen(self, request: ModelRequest) -> Unseen | None:
        """What the provider keeps, files, large images, and the results of tools that it runs."""
        body = request.body
        previous = text_field(body, "previous_response_id")
        fields = ["previous_response_id"] if previous else []
        fields += _kept_elsewhere(body)
        uses: int | None = 0
        tools = None if body.get("tool_choice") == "none" else _tools_of(body)
        if tools:
            hosted, hidden = _sorted_tools(tools)
            fields += ["tools"] if hosted or hidden else []
            if hosted:
                uses = positive(body, TOOL_LIMIT_FIELD, least=0)
        compactions = _compactions(body)
        fields += ["context_management"] if compactions else []
        if not fields:
            return None
        return Unseen(
            tuple(fields),
            response_id=previous if fields == ["previous_response_id"] else "",
            tool_uses=uses,
            compactions=compactions,
            limit_field=TOOL_LIMIT_FIELD,
        )

    def chat_view(self, request: ModelRequest) -> Mapping[str, Any]:
        return as_chat(request.body)

    def said(self, request: ModelRequest) -> Sequence[Any]:
        return items_of(request.body)

    def usage_in(self, answer: object) -> TokenUsage | UsageFault:
        return usage_from_responses(answer.get("usage") if isinstance(answer, dict) else None)

    def extras_in(self, answer: object) -> UsageExtras:
        return UsageExtras(tool_uses=tool_uses_in(answer) if isinstance(answer, dict) else {})

    def id_in(self, answer: object) -> str:
        return text_field(answer, "id") if isinstance(answer, dict) else ""

    def texts_in(self, answer: object) -> Iterable[str]:
        return generated_in(answer) if isinstance(answer, dict) else ()

    def meter(self, limit_tokens: int, count: Callable[[str], int]) -> Meter:
        return ResponseMeter(limit_tokens, count)

    def error_event(self, error: ApiError, request_id: str) -> bytes:
        return error_event(error, 0)


def _check_input(body: Mapping[str, Any]) -> None:
    found = body.get("input")
    if found is None:
        if body.get("previous_response_id") or body.get("conversation"):
            return
        raise bad_request(
            '`input` is missing: send a text such as "Hello" or a list of items.',
            "input",
            "missing_required_parameter",
        )
    if isinstance(found, str):
        return
    if not isinstance(found, list):
        raise bad_request("`input` must be a text or a list of items.", "input", "invalid_type")
    for index, item in enumerate(found):
        if not isinstance(item, dict):
            raise bad_request(
                f"`input[{index}]` must be an object such as a message.",
                f"input[{index}]",
                "invalid_type",
            )


def _refuse_what_escapes(body: Mapping[str, Any]) -> None:
    refuse_other_limits(body)
    previous = body.get("previous_response_id")
    if previous is not None and not isinstance(previous, str):
        raise bad_request(
            "`previous_response_id` must be a text.", "previous_response_id", "invalid_type"
        )
    if flag(body, "background"):
        raise bad_request(
            "`background` would be answered after the request is over, where its cost cannot be "
            "seen. Leave it out and stream the answer instead.",
            "background",
            "unsupported_parameter",
        )
    if body.get("prompt") is not None:
        raise bad_request(
            "`prompt` names a template whose text and tools are not in the request, so its cost "
            "cannot be bounded. Send its text as `instructions` and `input`.",
            "prompt",
            "unsupported_parameter",
        )


def _kept_elsewhere(body: Mapping[str, Any]) -> list[str]:
    """Fields whose content the provider has, or that are read as more than their bytes."""
    fields = ["conversation"] if body.get("conversation") else []
    items = items_of(body)
    # A reference may come as an id alone, without a type.
    if any(map(_is_reference, items)) or any_object(items, _is_larger_than_it_looks):
        fields.append("input")
    return fields


def _compactions(body: Mapping[str, Any]) -> int:
    """How often the conversation may be read once more to be shortened."""
    asked = body.get("context_management")
    entries = asked if isinstance(asked, list) else [asked]
    compactions = sum(entry is not None for entry in entries)
    for item in items_of(body):
        if isinstance(item, dict) and item.get("type") == "compaction_trigger":
            compactions += 1
    return compactions


def _is_reference(item: object) -> bool:
    return isinstance(item, dict) and item.get("type") is None and "role" not in item


def _is_larger_than_it_looks(part: Mapping[str, Any]) -> bool:
    """A file, or an image at full size: how many tokens it has, its bytes do not bound."""
    return (
        part.get("type") in ("input_file", "item_reference")
        or part.get("file_id") is not None
        or part.get("detail") == "original"
    )


def _tools_of(body: Mapping[str, Any]) -> list[Any]:
    """Every tool that the model is told of, those inside of a namespace or the input included."""
    tools: list[Any] = []
    found = body.get("tools")
    pending = list(found) if isinstance(found, list) else []
    for item in items_of(body):
        if isinstance(item, dict) and item.get("type") in _TOOL_ITEMS:
            brought = item.get("tools")
            pending += brought if isinstance(brought, list) else []
    while pending:
        tool = pending.pop()
        tools.append(tool)
        inner = tool.get("tools") if isinstance(tool, dict) else None
        pending += inner if isinstance(inner, list) else []
    return tools


def _sorted_tools(tools: list[Any]) -> tuple[bool, bool]:
    """Whether the provider runs any of the tools, and whether it adds to what is told of any."""
    hosted = hidden = False
    for tool in tools:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(kind, str) or kind in PLAIN_TOOLS:
            continue
        hidden = True
        hosted |= kind in HOSTED_TOOLS or kind.startswith(HOSTED_PREFIXES)
        hosted |= kind == "tool_search" and tool.get("execution") != "client"
        if kind == "shell":
            place = tool.get("environment")
            hosted |= isinstance(place, dict) and place.get("type") != "local"
    return hosted, hidden
