"""Requests of every dialect, for tests."""

import json
from typing import Any

from gateway.dialects.index import BY_ROUTE
from gateway.dialects.port import Dialect, InputParts, ModelRequest

CHAT = BY_ROUTE["/v1/chat/completions"]
COMPLETIONS = BY_ROUTE["/v1/completions"]
EMBEDDINGS = BY_ROUTE["/v1/embeddings"]
RESPONSES = BY_ROUTE["/v1/responses"]
MESSAGES = BY_ROUTE["/v1/messages"]
COUNT_TOKENS = BY_ROUTE["/v1/messages/count_tokens"]
SAID = [{"role": "user", "content": "Hi"}]
PLAIN: dict[str, dict[str, Any]] = {
    CHAT.route: {"model": "m", "messages": SAID},
    COMPLETIONS.route: {"model": "m", "prompt": "Hi"},
    EMBEDDINGS.route: {"model": "m", "input": "Hi"},
    RESPONSES.route: {"model": "m", "input": "Hi"},
    MESSAGES.route: {"model": "m", "max_tokens": 64, "messages": SAID},
    COUNT_TOKENS.route: {"model": "m", "messages": SAID},
}
ALL = [BY_ROUTE[route] for route in PLAIN]


def chat_parts(body: Any) -> InputParts:
    """What of a chat completion's body becomes input tokens."""
    return CHAT.input_parts(CHAT.read(json.dumps({"model": "m", **body}).encode()))


def read(dialect: Dialect, **fields: Any) -> ModelRequest:
    """The dialect's plainest request with further fields."""
    return dialect.read(json.dumps({**PLAIN[dialect.route], **fields}).encode())
