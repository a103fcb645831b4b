"""A chat completion request on the wire: read it strictly, and change only the bytes that must.

The parsed body is for looking; the raw bytes are what goes upstream, with single values spliced in.
So fields Weir has never heard of, number formats and key order reach the provider as they came.
"""

import json
import re
from collections.abc import Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

import orjson

from budgets.value import value
from gateway.errors import ApiError, bad_request
from gateway.media import Media

_MODEL_VALUE = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')
_HIDE_A_KEY = (b'\\\\"', b" :", b"\n:", b"\t:", b"\r:")
_HIDDEN_LETTER = re.compile(rb"\\u00[2-7]")
_SPACE = " \t\r\n"
_NESTING = (dict, list)
LIMIT_FIELDS = ("max_completion_tokens", "max_tokens")
# llama.cpp heeds these before the usual fields, which would then bound nothing.
OTHER_LIMITS = {"n_predict": "max_tokens", "n_cmpl": "n"}
_DECODER = json.JSONDecoder(strict=False)
# Far below what the second reading of a body, which is recursive, can bear.
MAX_DEPTH = 200


@value
class ModelRequest:
    """A checked request body: the bytes as they came and a view of them.

    `media` is set where images or sound are asked for. `content_type` is how the provider is to
    read the bytes, empty where they are JSON.
    """

    raw: bytes
    body: Mapping[str, Any]
    model: str
    stream: bool
    wants_usage: bool
    output_tokens: int | None
    choices: int
    media: Media | None = None
    content_type: bytes = b""


def read_chat_request(raw: bytes) -> ModelRequest:
    """Parse and check the fields Weir acts on; raise ApiError (400) naming the field and the fix.

    What Weir does not act on is the provider's to judge.
    """
    body = parse_object(raw)
    model = model_of(body)
    check_messages(body)
    stream = flag(body, "stream")
    options = stream_options(body)
    refuse_other_limits(body)
    # Some servers make `best_of` answers, bill them all and send the best `n`.
    choices = max(positive(body, "n") or 1, positive(body, "best_of") or 1)
    return ModelRequest(
        raw=raw,
        body=body,
        model=model,
        stream=stream,
        wants_usage=bool(options.get("include_usage")),
        output_tokens=_output_limit(body),
        choices=choices,
    )


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object of a body; raise ApiError (400) for other JSON, duplicate keys and depth."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        where = f" (line {error.lineno}, column {error.colno})"
        raise bad_request(
            f"The request body is not valid JSON: {error.msg}{where}.", "body", "invalid_json"
        ) from error
    if not isinstance(body, dict):
        raise bad_request("The request body must be a JSON object.", "body", "invalid_json")
    keys, depth = _measure(body)
    if depth > MAX_DEPTH:
        raise bad_request(
            f"The request body is nested more than {MAX_DEPTH} levels deep.", "body", "invalid_json"
        )
    if not _surely_without_duplicates(raw, keys):
        _refuse_duplicates(raw)
    return body


def _surely_without_duplicates(raw: bytes, keys: int) -> bool:
    """True only where no object has a key twice; a cheap count that may doubt but never errs.

    Every key is followed by `":`, and inside a string that reads `\\":`. A string that begins with
    a colon is counted too, so the count is never too low and an equal one is proof. What could hide
    a key from it, a space before the colon or a backslash before the quote, is never trusted.
    """
    if any(hiding in raw for hiding in _HIDE_A_KEY):
        return False
    return raw.count(b'":') - raw.count(b'\\":') == keys


def _measure(body: dict[str, Any]) -> tuple[int, int]:
    """How many keys all objects have together, and how many levels deep they lie."""
    keys = depth = 0
    level: list[Any] = [body]
    while level:
        depth += 1
        below: list[Any] = []
        for item in level:
            keys += len(item) if isinstance(item, dict) else 0
            children = item.values() if isinstance(item, dict) else item
            below += [child for child in children if isinstance(child, _NESTING)]
        level = below
    return keys, depth


def _refuse_duplicates(raw: bytes) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, content in pairs:
            if key in seen:
                raise bad_request(
                    f"The key `{key[:80]}` stands twice in one object; keep one of them.",
                    key[:80],
                    "duplicate_key",
                )
            seen[key] = content
        return seen

    json.loads(raw, object_pairs_hook=unique, strict=False)


def model_of(body: Mapping[str, Any]) -> str:
    """The model's name; raise ApiError (400) where there is none."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise bad_request(
            '`model` must be a name such as "auto".'
            if "model" in body
            else '`model` is missing: name one, for example "auto".',
            "model",
            "invalid_type" if "model" in body else "missing_required_parameter",
        )
    return model


def flag(body: Mapping[str, Any], field: str) -> bool:
    """A field that is true or not; raise ApiError (400) for anything but a truth value."""
    found = body.get(field)
    if found is not None and not isinstance(found, bool):
        raise bad_request(f"`{field}` must be true or false.", field, "invalid_type")
    return bool(found)


def stream_options(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the client wants of its stream; raise ApiError (400) where it is no object."""
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise bad_request("`stream_options` must be an object.", "stream_options", "invalid_type")
    return options or {}


def check_messages(body: Mapping[str, Any]) -> None:
    """Raise ApiError (400) where `messages` is no list of objects that each have a role."""
    messages = body.get("messages")
    if messages is None:
        raise bad_request(
            "`messages` is missing: send a list of messages such as "
            '[{"role": "user", "content": "Hello"}].',
            "messages",
            "missing_required_parameter",
        )
    if not isinstance(messages, list) or not messages:
        raise bad_request("`messages` must be a list with at least one message.", "messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise bad_request(
                f"`messages[{index}]` must be an object with `role` and `content`.",
                f"messages[{index}]",
                "invalid_type",
            )
        if not isinstance(message.get("role"), str):
            raise bad_request(
                f'`messages[{index}].role` must be a text such as "user".',
                f"messages[{index}].role",
                "invalid_type" if "role" in message else "missing_required_parameter",
            )


def positive(body: Mapping[str, Any], field: str, least: int = 1) -> int | None:
    """A count, None where there is none; raise ApiError (400) for anything else."""
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 1 << 31:
        raise bad_request(f"`{field}` must be a whole number of at least {least}.", field)
    return value


def refuse_other_limits(body: Mapping[str, Any]) -> None:
    """Raise ApiError (400) for a field that some servers heed before the ones that bound them."""
    for field, usual in OTHER_LIMITS.items():
        if body.get(field) is not None:
            raise bad_request(
                f"`{field}` would set aside what bounds the cost of a request; use `{usual}`.",
                field,
                "unsupported_parameter",
            )


def _output_limit(body: Mapping[str, Any]) -> int | None:
    """What bounds the answer; the smaller one where both fields are set."""
    limits = [value for field in LIMIT_FIELDS if (value := positive(body, field)) is not None]
    return min(limits, default=None)


def upstream_body(
    request: ModelRequest, upstream_model: str, output_tokens: int | None, limit_field: str
) -> bytes:
    """The bytes for the provider: the model's own name, and usage reported on streams.

    `output_tokens` bounds the answer where the client set no bound or a larger one; None leaves the
    client's word. Of two bounds the smaller is written into both, because providers differ in which
    they heed. Everything else is as it came.
    """
    changes: dict[str, Any] = {}
    if upstream_model != request.model:
        changes["model"] = upstream_model
    if request.stream and not request.wants_usage:
        options = request.body.get("stream_options") or {}
        changes["stream_options"] = {**options, "include_usage": True}
    bound = request.output_tokens if output_tokens is None else output_tokens
    if request.output_tokens is None and bound is not None:
        changes[limit_field] = bound
    elif bound is not None:
        for field in LIMIT_FIELDS:
            if (request.body.get(field) or 0) > bound:
                changes[field] = bound
    return splice(request.raw, request.body, changes) if changes else request.raw


def renamed(request: ModelRequest, upstream_model: str) -> bytes:
    """The bytes for the provider where it reads no more than another name for the model."""
    if upstream_model == request.model:
        return request.raw
    return splice(request.raw, request.body, {"model": upstream_model})


def unanswered(raw: bytes, body: Mapping[str, Any], model: str) -> ModelRequest:
    """A request for which nothing is generated, so that nothing limits or streams it."""
    return ModelRequest(
        raw=raw,
        body=body,
        model=model,
        stream=False,
        wants_usage=True,
        output_tokens=0,
        choices=1,
    )


def asks_for_an_hour(raw: bytes) -> bool:
    """Whether a body may ask for a cache that is kept for an hour (`ttl` of `1h`); never too few.

    Plain letters that are written as escapes could hide the word.
    """
    return b'"1h"' in raw or _HIDDEN_LETTER.search(raw) is not None


def splice(raw: bytes, body: Mapping[str, Any], changes: Mapping[str, Any]) -> bytes:
    """Replace or add top-level values of a JSON object, leaving every other byte alone."""
    present = {key: value for key, value in changes.items() if key in body}
    # An escape could write the key "model" in another way, so that the one found is a nested one.
    if list(present) == ["model"] and raw.count(b'"model"') == 1 and b"\\u00" not in raw:
        found = _MODEL_VALUE.search(raw)
        if found is not None:
            raw = raw[: found.start(1)] + orjson.dumps(changes["model"]) + raw[found.end(1) :]
            present = {}
    if present:
        raw = _splice_present(raw, present)
    added = {key: value for key, value in changes.items() if key not in body}
    if added:
        raw = _append(raw, added, bool(body))
    return raw


def splice_inside(
    raw: bytes, member: str, inner: Mapping[str, Any], changes: Mapping[str, Any]
) -> bytes:
    """The same for the object that is a member of the outermost one; `inner` is its content."""
    text = raw.decode()
    for key, start, end in _members(text):
        if key == member:
            inside = splice(text[start:end].encode(), inner, changes)
            return b"".join((text[:start].encode(), inside, text[end:].encode()))
    raise ValueError(f"no member is called {member!r}")


def _append(raw: bytes, added: Mapping[str, Any], has_members: bool) -> bytes:
    end = raw.rindex(b"}")
    members = orjson.dumps(added)[1:-1]
    return raw[:end] + (b"," if has_members else b"") + members + raw[end:]


def _splice_present(raw: bytes, changes: Mapping[str, Any]) -> bytes:
    text = raw.decode()
    pieces: list[str] = []
    copied = 0
    for key, start, end in _members(text):
        if key in changes:
            pieces += (text[copied:start], orjson.dumps(changes[key]).decode())
            copied = end
    pieces.append(text[copied:])
    return "".join(pieces).encode()


def _members(text: str) -> list[tuple[str, int, int]]:
    """Key and span of the value of each top-level member of valid JSON text."""
    members: list[tuple[str, int, int]] = []
    at = _skip_space(text, text.index("{") + 1)
    while text[at] != "}":
        key, at = scanstring(text, at + 1, False)
        start = _skip_space(text, _skip_space(text, at) + 1)
        _, end = _DECODER.raw_decode(text, start)
        members.append((key, start, end))
        at = _skip_space(text, end)
        if text[at] == ",":
            at = _skip_space(text, at + 1)
    return members


def _skip_space(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at


__all__ = [
    "ApiError",
    "ModelRequest",
    "asks_for_an_hour",
    "check_messages",
    "flag",
    "model_of",
    "parse_object",
    "positive",
    "read_chat_request",
    "refuse_other_limits",
    "splice",
    "splice_inside",
    "stream_options",
    "upstream_body",
]
