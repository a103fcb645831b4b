"""The lines of a batch's input file, each read as the request it is. Pure.

    {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {...}}

Whatever is wrong with a line is an ApiError (400) that names line and field. Source: OpenAI's API
reference, "The request input object".
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from budgets.value import value
from gateway.dialects.index import BY_ROUTE
from gateway.dialects.port import Dialect
from gateway.errors import ApiError, bad_request
from gateway.wire import ModelRequest, parse_object, splice_inside

# What OpenAI takes in a batch, of that which this gateway serves and can bound line by line.
BATCHED: Mapping[str, Dialect] = {
    route: BY_ROUTE[route]
    for route in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
}
# OpenAI's own limit.
MAX_LINES = 50_000
# No line of a batch goes on from what a provider keeps: whose that is would have to be asked.
_KEPT_FIELDS = ("previous_response_id", "conversation")
_PLAIN_TIERS = (None, "auto", "default")


@value
class BatchLine:
    """One request of a batch; `text` is the line as it came."""

    number: int
    custom_id: str
    url: str
    text: bytes
    request: ModelRequest

    @property
    def dialect(self) -> Dialect:
        return BATCHED[self.url]


def spans(raw: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each line between two places; blank ones at the end are none.

    Raise ApiError (400) for a blank line before the last one, no line, or too many.
    """
    while end > start and raw[end - 1] in b" \t\r\n":
        end -= 1
    number = 0
    while start < end:
        number += 1
        if number > MAX_LINES:
            raise bad_request(f"The file has more than {MAX_LINES} lines; split it.", "file")
        stop = raw.find(b"\n", start, end)
        stop = end if stop < 0 else stop
        if not raw[start:stop].strip():
            raise line_fault(number, "it is blank; take it out.")
        yield number, start, stop
        start = stop + 1
    if number == 0:
        raise bad_request("The file has no line; a batch has at least one request.", "file")


def read_line(number: int, text: bytes) -> BatchLine:
    """The request of a line; raise ApiError (400) naming line and field."""
    try:
        line = parse_object(text)
    except ApiError as error:
        raise line_fault(number, error.message, code=error.code) from error
    custom_id, url, body = line.get("custom_id"), line.get("url"), line.get("body")
    if not isinstance(custom_id, str) or not custom_id:
        raise line_fault(number, "`custom_id` must be a text of your own.", "custom_id")
    if line.get("method") != "POST":
        raise line_fault(number, '`method` must be "POST".', "method")
    if not isinstance(url, str) or url not in BATCHED:
        known = ", ".join(BATCHED)
        raise line_fault(number, f"`url` must be one of {known}.", "url")
    if not isinstance(body, dict):
        raise line_fault(number, "`body` must be an object: the request itself.", "body")
    try:
        request = BATCHED[url].read(orjson.dumps(body))
        _refuse_what_escapes(body, request)
    except ApiError as error:
        where = "body" if error.param in (None, "body") else f"body.{error.param}"
        raise line_fault(number, error.message, where, error.code) from error
    return BatchLine(number, custom_id, url, text, request)


def renamed_line(line: BatchLine, upstream_model: str) -> bytes:
    """The line for a provider that knows the model by another name; else the bytes as they came."""
    if line.request.model == upstream_model:
        return line.text
    return splice_inside(line.text, "body", line.request.body, {"model": upstream_model})


def line_fault(
    number: int, why: str, field: str | None = None, code: str = "invalid_value"
) -> ApiError:
    """400: what is wrong with a line of the file, counted from 1."""
    error = bad_request(f"Line {number}: {why}", "file" if field is None else field, code)
    return replace(error, details={"line": number})


def _refuse_what_escapes(body: Mapping[str, Any], request: ModelRequest) -> None:
    """Raise ApiError (400) for what cannot be in a batch, or what would change its price."""
    if request.stream:
        raise bad_request(
            "`stream` cannot be true: a batch is answered in a file.",
            "stream",
            "unsupported_parameter",
        )
    if body.get("service_tier") not in _PLAIN_TIERS:
        raise bad_request(
            "`service_tier` does not go with a batch, which has a price of its own: leave it out.",
            "service_tier",
            "unsupported_parameter",
        )
    for field in _KEPT_FIELDS:
        if body.get(field):
            raise bad_request(
                f"`{field}` cannot be used in a batch: send what went before in the line.",
                field,
                "unsupported_parameter",
            )
