"""Requests of every dialect, for tests."""

import json
from collections.abc import Mapping
from typing import Any

from gateway.dialects.index import BY_ROUTE
from gateway.dialects.port import Dialect, InputParts, ModelRequest

CHAT = BY_ROUTE["/v1/chat/completions"]
COMPLETIONS = BY_ROUTE["/v1/completions"]
EMBEDDINGS = BY_ROUTE["/v1/embeddings"]
RESPONSES = BY_ROUTE["/v1/responses"]
MESSAGES = BY_ROUTE["/v1/messages"]
COUNT_TOKENS = BY_ROUTE["/v1/messages/count_tokens"]
IMAGES = BY_ROUTE["/v1/images/generations"]
SPEECH = BY_ROUTE["/v1/audio/speech"]
SAID = [{"role": "user", "content": "Hi"}]
PLAIN: dict[str, dict[str, Any]] = {
    CHAT.route: {"model": "m", "messages": SAID},
    COMPLETIONS.route: {"model": "m", "prompt": "Hi"},
    EMBEDDINGS.route: {"model": "m", "input": "Hi"},
    RESPONSES.route: {"model": "m", "input": "Hi"},
    MESSAGES.route: {"model": "m", "max_tokens": 64, "messages": SAID},
    COUNT_TOKENS.route: {"model": "m", "messages": SAID},
    IMAGES.route: {"model": "m", "prompt": "Hi"},
    SPEECH.route: {"model": "m", "input": "Hi", "voice": "alloy"},
}
# What is asked in forms: the fields, and the field of the file.
FORMS: dict[str, tuple[dict[str, str], str]] = {
    "/v1/images/edits": ({"model": "m", "prompt": "Hi"}, "image"),
    "/v1/audio/transcriptions": ({"model": "m"}, "file"),
    "/v1/audio/translations": ({"model": "m"}, "file"),
}
DELIMITER = b"weir-test-delimiter"
ALL = [BY_ROUTE[route] for route in PLAIN]


def chat_parts(body: Any) -> InputParts:
    """What of a chat completion's body becomes input tokens."""
    return CHAT.input_parts(CHAT.read(json.dumps({"model": "m", **body}).encode()))


def form(fields: Mapping[str, str], *files: tuple[str, bytes]) -> bytes:
    """A form with these fields and files, as SDKs write it."""
    parts = [
        b'Content-Disposition: form-data; name="%b"\r\n\r\n%b' % (name.encode(), text.encode())
        for name, text in fields.items()
    ]
    parts += [
        b'Content-Disposition: form-data; name="%b"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%b" % (name.encode(), data)
        for name, data in files
    ]
    return b"".join(b"--%b\r\n%b\r\n" % (DELIMITER, part) for part in parts) + (
        b"--%b--\r\n" % DELIMITER
    )


def plain_body(route: str, model: str = "m") -> bytes:
    """The plainest request of a route, as JSON or as a form."""
    if route in FORMS:
        fields, name = FORMS[route]
        return form({**fields, "model": model}, (name, b"\x00\x01"))
    return json.dumps({**PLAIN.get(route, {"input": "x"}), "model": model}).encode()


def read(dialect: Dialect, **fields: Any) -> ModelRequest:
    """The dialect's plainest request with further fields."""
    return dialect.read(json.dumps({**PLAIN[dialect.route], **fields}).encode())
