"""What an error of litellm's stands for: the provider's response, or how far the call got. Pure.

litellm words errors anew and sometimes changes their status; the provider's own words are in the
error that it came from.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from budgets.value import value
from gateway.providers.port import UpstreamFault

# Errors by which libraries below litellm say that there was no connection.
_NO_CONNECTION = frozenset(
    {
        "ClientConnectorError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectionRefusedError",
        "ConnectionTimeoutError",
        "EndpointConnectionError",
        "gaierror",
    }
)
_TIMEOUTS = frozenset({"APITimeoutError", "ReadTimeout", "SocketTimeoutError", "Timeout"})
# litellm's word for all that it cannot place.
_UNPLACED = "APIConnectionError"
MAX_MESSAGE_CHARS = 10_000


@value
class Told:
    """An error response of the provider's."""

    status: int
    message: str
    kind: str
    code: str | None = None
    param: str | None = None
    retry_after: str = ""


def error_body(message: str, kind: str, param: str | None = None, code: str | None = None) -> bytes:
    """An error as OpenAI words it."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def fault_kind(error: BaseException) -> UpstreamFault:
    """How far a call got that brought no response."""
    names = {type(one).__name__ for one in _chain(error)}
    if names & _NO_CONNECTION:
        return UpstreamFault.CONNECT
    return UpstreamFault.FIRST_BYTE_TIMEOUT if names & _TIMEOUTS else UpstreamFault.BROKEN


def told_by(error: BaseException) -> Told | None:
    """The response that an error stands for; None where it stands for none."""
    if type(error).__name__ == _UNPLACED or fault_kind(error) is not UpstreamFault.BROKEN:
        return None
    chain = list(_chain(error))
    statuses = [status for one in chain[:2] if (status := _status(one))]
    if not statuses or not _status(error):
        return None
    status = statuses[-1]
    words = next(filter(None, map(_words, chain)), {})
    message = words.get("message")
    details = words.get("details")
    code = words.get("code")
    if code is None and isinstance(details, dict):
        code = details.get("error_code")
    param = words.get("param")
    return Told(
        status=status,
        message=(message if isinstance(message, str) else _message(error))[:MAX_MESSAGE_CHARS],
        kind=str(words.get("type") or words.get("status") or _kind_of(status)),
        code=None if code is None else str(code),
        param=param if isinstance(param, str) else None,
        retry_after=next(filter(None, map(_retry_after, chain)), ""),
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it came from, the nearest first."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop(0)
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            left += [one.__cause__, one.__context__]


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if type(status) is int and 400 <= status < 600 else None


def _message(error: BaseException) -> str:
    return str(getattr(error, "message", "") or error)


def _words(error: BaseException) -> dict[str, Any]:
    """The provider's own error object, where an error carries one."""
    body = getattr(error, "body", None)
    if not isinstance(body, dict):
        text = _message(error)
        try:
            body = orjson.loads(text[text.find("{") :])
        except orjson.JSONDecodeError:
            return {}
    inner = body.get("error", body) if isinstance(body, dict) else None
    return inner if isinstance(inner, dict) and isinstance(inner.get("message"), str) else {}


def _retry_after(error: BaseException) -> str:
    response = getattr(error, "response", None)
    for headers in (
        getattr(error, "litellm_response_headers", None),
        getattr(error, "headers", None),
        getattr(response, "headers", None),
    ):
        read = getattr(headers, "get", None)
        found = read("retry-after") if read is not None else None
        if isinstance(found, str) and found.isascii() and found.isprintable():
            return found
    return ""


def _kind_of(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    if status in (401, 403):
        return "authentication_error"
    return "invalid_request_error" if status < 500 else "server_error"
