"""Messages: Anthropic's dialect of `/v1/messages` and `/v1/messages/count_tokens`.

The output limit is `max_tokens`, thinking included. Tools that Anthropic runs or defines itself,
documents, and conversations that it keeps are read beyond the request's own bytes: `unseen` says
so. What other models would answer, or what is billed at rates that are not on the price card, is
refused.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from budgets.usage import (
    TokenUsage,
    UsageExtras,
    UsageFault,
    extras_from_anthropic,
    usage_from_anthropic,
)
from gateway.dialects.anthropic_style import AnthropicErrors
from gateway.dialects.messages_stream import MessageMeter, generated_in
from gateway.dialects.messages_view import as_chat
from gateway.dialects.openai_style import text_field
from gateway.dialects.port import Bounds, Claims, InputParts, Meter, ModelRequest
from gateway.dialects.sessions import split_user
from gateway.dialects.unseen import Unseen, any_object
from gateway.errors import bad_request
from gateway.wire import (
    check_messages,
    flag,
    model_of,
    parse_object,
    positive,
    refuse_other_limits,
    renamed,
    splice,
    unanswered,
)

LIMIT_FIELD = "max_tokens"
CONTROLS = frozenset(
    {
        "billing_policy",
        "cache_control",
        "container",
        "context_management",
        "diagnostics",
        "fallback_credit_token",
        "inference_geo",
        "max_tokens",
        "metadata",
        "model",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "temperature",
        "thinking",
        "thread",
        "top_k",
        "top_p",
        "user_profile_id",
        "workspace_id",
    }
)
# Tools that Anthropic runs: after each use the model reads its whole input again.
HOSTED_PREFIXES = ("web_search", "web_fetch", "code_execution", "tool_search", "mcp_toolset")
_DOCUMENTS = ("document", "container_upload")


class Messages(AnthropicErrors):
    """The dialect of `/v1/messages`."""

    name = "messages"
    speech = "messages"
    route = "/v1/messages"
    path = "/messages"
    is_free = False
    goes_on = False

    def read(self, raw: bytes) -> ModelRequest:
        body = parse_object(raw)
        model = model_of(body)
        check_messages(body)
        stream = flag(body, "stream")
        refuse_other_limits(body)
        _refuse_what_escapes(body)
        return ModelRequest(
            raw=raw,
            body=body,
            model=model,
            stream=stream,
            wants_usage=True,
            output_tokens=positive(body, LIMIT_FIELD, least=0),
            choices=1,
        )

    def upstream_body(self, request: ModelRequest, upstream_model: str, bounds: Bounds) -> bytes:
        changes: dict[str, Any] = {}
        if upstream_model != request.model:
            changes["model"] = upstream_model
        asked, bound = request.output_tokens, bounds.output_tokens
        if bound is not None and (asked is None or asked > bound):
            changes[LIMIT_FIELD] = bound
        return splice(request.raw, request.body, changes) if changes else request.raw

    def frames(self, request: ModelRequest) -> int:
        """Each block of a message may be framed by itself."""
        body = request.body
        return bool(body.get("system")) + sum(map(_frames, body["messages"]))

    def input_parts(self, request: ModelRequest) -> InputParts:
        body = request.body
        messages = body["messages"]
        said = [body["system"], messages] if body.get("system") else [messages]
        left = CONTROLS | {"messages", "system"}
        rest = {name: value for name, value in body.items() if name not in left}
        return InputParts(said, rest, self.frames(request))

    def unseen(self, request: ModelRequest) -> Unseen | None:
        """Kept conversations, documents, and the results and words of Anthropic's own tools."""
        body = request.body
        thread = body.get("thread")
        fields = ["thread"] if isinstance(thread, dict) and thread.get("type") != "create" else []
        if any_object([body["messages"], body.get("system")], _is_document):
            fields.append("messages")
        uses: int | None = 0
        if not _is_off(body.get("tool_choice")):
            own, uses = _own_tools(body)
            fields += own
        compactions = _compactions(body)
        fields += ["context_management"] if compactions else []
        if not fields:
            return None
        return Unseen(tuple(fields), tool_uses=uses, compactions=compactions)

    def service_tier(self, request: ModelRequest) -> str:
        """Anthropic's tiers say which capacity serves; the rates are those of the default."""
        return "default"

    def chat_view(self, request: ModelRequest) -> Mapping[str, Any]:
        return as_chat(request.body)

    def claims(self, request: ModelRequest) -> Claims:
        metadata = request.body.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        user, session = split_user(text_field(metadata, "user_id"))
        return Claims(metadata=metadata, user=user, session=session)

    def parties(self, request: ModelRequest) -> Mapping[str, Any]:
        """The user without the session, which would make each conversation a user of its own."""
        return {**request.body, "user": self.claims(request).user}

    def said(self, request: ModelRequest) -> Sequence[Any]:
        messages: list[Any] = request.body["messages"]
        return messages

    def usage_in(self, answer: object) -> TokenUsage | UsageFault:
        return usage_from_anthropic(answer.get("usage") if isinstance(answer, dict) else None)

    def extras_in(self, answer: object) -> UsageExtras:
        return extras_from_anthropic(answer.get("usage") if isinstance(answer, dict) else None)

    def id_in(self, answer: object) -> str:
        return ""

    def texts_in(self, answer: object) -> Iterable[str]:
        return generated_in(answer) if isinstance(answer, dict) else ()

    def meter(self, limit_tokens: int, count: Callable[[str], int]) -> Meter:
        return MessageMeter(limit_tokens, count)


class CountTokens(Messages):
    """The dialect of `/v1/messages/count_tokens`: it generates nothing and costs nothing."""

    name = "messages.count_tokens"
    speech = "count_tokens"
    route = "/v1/messages/count_tokens"
    path = "/messages/count_tokens"
    is_free = True

    def read(self, raw: bytes) -> ModelRequest:
        body = parse_object(raw)
        model = model_of(body)
        check_messages(body)
        return unanswered(raw, body, model)

    def upstream_body(self, request: ModelRequest, upstream_model: str, bounds: Bounds) -> bytes:
        return renamed(request, upstream_model)

    def unseen(self, request: ModelRequest) -> Unseen | None:
        return None

    def usage_in(self, answer: object) -> TokenUsage | UsageFault:
        """Nothing is used, whatever is counted."""
        return TokenUsage()


def _frames(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    return max(1, len(content)) if isinstance(content, list) else 1


def _is_off(choice: object) -> bool:
    return isinstance(choice, dict) and choice.get("type") == "none"


def _refuse_what_escapes(body: Mapping[str, Any]) -> None:
    if body.get("fallbacks"):
        raise bad_request(
            "`fallbacks` lets other models answer, whose prices are not held. Leave it out.",
            "fallbacks",
            "unsupported_parameter",
        )
    if body.get("speed") not in (None, "standard"):
        raise bad_request(
            "`speed` is billed at rates that are not on the price card. Leave it out.",
            "speed",
            "unsupported_parameter",
        )
    if body.get("inference_geo") not in (None, "global"):
        raise bad_request(
            "`inference_geo` is billed at rates that are not on the price card. Leave it out.",
            "inference_geo",
            "unsupported_parameter",
        )
    tools = body.get("tools")
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and kind.startswith("advisor"):
            raise bad_request(
                f"`tools[{index}]` asks another model, whose price is not held. Leave it out.",
                f"tools[{index}]",
                "unsupported_parameter",
            )


def _is_document(part: Mapping[str, Any]) -> bool:
    """A document's bytes do not bound its tokens: its pages are read as images too."""
    return part.get("type") in _DOCUMENTS or part.get("file_id") is not None


def _own_tools(body: Mapping[str, Any]) -> tuple[list[str], int | None]:
    """Where Anthropic's own tools are asked for, and how often those it runs may be used."""
    fields: list[str] = []
    uses: int | None = 0
    tools = body.get("tools")
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(kind, str) or kind == "custom":
            continue
        fields.append(f"tools[{index}]")
        if kind.startswith(HOSTED_PREFIXES):
            most = tool.get("max_uses")
            is_count = type(most) is int and most >= 0
            uses = uses + most if is_count and uses is not None else None
    if body.get("mcp_servers"):
        return [*fields, "mcp_servers"], None
    return fields, uses


def _compactions(body: Mapping[str, Any]) -> int:
    """How often the conversation may be read once more to be shortened."""
    management = body.get("context_management")
    edits = management.get("edits") if isinstance(management, dict) else None
    asked = sum(
        isinstance(edit, dict) and str(edit.get("type")).startswith("compact")
        for edit in (edits if isinstance(edits, list) else ())
    )
    return asked + bool(body.get("compaction"))
