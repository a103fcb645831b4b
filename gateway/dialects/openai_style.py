"""What OpenAI's dialects share: who a request is for, its service tier, and how errors look."""

from collections.abc import Mapping, Sequence
from typing import Any

from budgets.usage import UsageExtras
from gateway.dialects.port import Claims, ModelRequest, Voice
from gateway.dialects.unseen import Unseen
from gateway.errors import ApiError

# OpenAI answers to both names and bills both as priority.
_TIER_ON_THE_CARD = {"fast": "priority", "auto": "default"}


def text_field(body: Mapping[str, Any], field: str) -> str:
    """A text, empty where the field is none."""
    found = body.get(field)
    return found if isinstance(found, str) else ""


def service_tier(request: ModelRequest) -> str:
    """`service_tier` by the name that the price card uses."""
    asked = request.body.get("service_tier")
    if not asked or not isinstance(asked, str):
        return "default"
    return _TIER_ON_THE_CARD.get(asked, asked)


def claims(request: ModelRequest) -> Claims:
    """Metadata and the fields that name an end user or a conversation."""
    body = request.body
    metadata = body.get("metadata")
    conversation = body.get("conversation")
    if isinstance(conversation, dict):
        conversation = conversation.get("id")
    return Claims(
        metadata=metadata if isinstance(metadata, dict) else {},
        user=text_field(body, "user"),
        safety_identifier=text_field(body, "safety_identifier"),
        prompt_cache_key=text_field(body, "prompt_cache_key"),
        conversation=conversation if isinstance(conversation, str) else "",
        previous_response=text_field(body, "previous_response_id"),
    )


class OpenAIErrors:
    """Errors as OpenAI words them, whole and at the end of a stream (`Voice`)."""

    def error_body(self, error: ApiError, request_id: str) -> bytes:
        return error.body()

    def error_headers(self, error: ApiError, request_id: str) -> list[tuple[bytes, bytes]]:
        return error.headers()

    def error_event(self, error: ApiError, request_id: str) -> bytes:
        return error.as_sse()


class OpenAIStyle(OpenAIErrors):
    """What most of OpenAI's dialects have in common; each says for itself where it differs."""

    is_free = False
    goes_on = False

    def unseen(self, request: ModelRequest) -> Unseen | None:
        return None

    def service_tier(self, request: ModelRequest) -> str:
        return service_tier(request)

    def claims(self, request: ModelRequest) -> Claims:
        return claims(request)

    def parties(self, request: ModelRequest) -> Mapping[str, Any]:
        return request.body

    def said(self, request: ModelRequest) -> Sequence[Any]:
        return ()

    def extras_in(self, answer: object) -> UsageExtras:
        return UsageExtras()

    def id_in(self, answer: object) -> str:
        return ""


OPENAI: Voice = OpenAIErrors()
