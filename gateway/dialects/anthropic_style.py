"""Errors as Anthropic words them, whole and inside a stream.

Anthropic's SDKs choose the class by the status and show `type` and `details.error_code`; inside a
stream, where the status is 200, these two are all there is.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.events import named_event
from gateway.dialects.port import Voice
from gateway.errors import ApiError

_TYPE_OF_STATUS: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
# A 503 of ours is a shortage in these cases, and a fault in all others.
_SHORTAGES = frozenset({"overloaded", "provider_down"})


def error_type(error: ApiError) -> str:
    """Anthropic's name for a kind of error."""
    if error.code in _SHORTAGES:
        return "overloaded_error"
    plain = "invalid_request_error" if error.status < 500 else "api_error"
    return _TYPE_OF_STATUS.get(error.status, plain)


def error_object(error: ApiError, request_id: str) -> dict[str, Any]:
    """`{"type": "error", "error": {"type", "message", "details"}, "request_id"}`.

    `details` holds our stable code, the field at fault, and the error's own details.
    """
    details = {"error_code": error.code, "param": error.param, **error.details}
    return {
        "type": "error",
        "error": {"type": error_type(error), "message": error.message, "details": details},
        "request_id": request_id or None,
    }


def error_event(error: ApiError, request_id: str) -> bytes:
    """The event that makes an SDK raise in the middle of a stream."""
    return named_event("error", error_object(error, request_id))


class AnthropicErrors:
    """What Anthropic's dialects share (`Voice`)."""

    def error_body(self, error: ApiError, request_id: str) -> bytes:
        return orjson.dumps(error_object(error, request_id))

    def error_headers(self, error: ApiError, request_id: str) -> list[tuple[bytes, bytes]]:
        """With the request's id where Anthropic's SDKs look for it, if it has one."""
        own = [(b"request-id", request_id.encode())] if request_id else []
        return [*error.headers(), *own]

    def error_event(self, error: ApiError, request_id: str) -> bytes:
        return error_event(error, request_id)


ANTHROPIC: Voice = AnthropicErrors()
