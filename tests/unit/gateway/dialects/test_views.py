"""Whatever dialect a conversation comes in, routing sees the same work."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import messages_view, responses_view
from gateway.dialects.port import Dialect
from routing.features import Features, extract
from tests.unit.gateway.dialects.requests_made import (
    ALL,
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    read,
)

ARGUMENTS = '{"city":"Paris"}'
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}}
IN_CHAT: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": [
            {"type": "text", "text": "What is this, step by step?"},
            {"type": "image_url", "image_url": {"url": "https://x"}}]},
        {"role": "assistant", "tool_calls": [{"function": {"arguments": ARGUMENTS}}]},
        {"role": "tool", "content": "Sunny"},
        {"role": "user", "content": "And def f(): return x; in code?"},
    ],
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
    "max_tokens": 300, "stream": True, "reasoning_effort": "high",
}  # fmt: skip
IN_RESPONSES: dict[str, Any] = {
    "instructions": "You are terse.",
    "input": [
        {"role": "user", "content": [
            {"type": "input_text", "text": "What is this, step by step?"},
            {"type": "input_image", "image_url": "https://x"}]},
        {"type": "function_call", "name": "f", "call_id": "c", "arguments": ARGUMENTS},
        {"type": "function_call_output", "call_id": "c", "output": "Sunny"},
        {"role": "user", "content": "And def f(): return x; in code?"},
    ],
    "tools": [{"type": "function", "name": "f"}],
    "text": {"format": {"type": "json_schema", "schema": SCHEMA}},
    "max_output_tokens": 300, "stream": True, "reasoning": {"effort": "high"},
}  # fmt: skip
IN_MESSAGES: dict[str, Any] = {
    "system": "You are terse.",
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "What is this, step by step?"},
            {"type": "image", "source": {"type": "url", "url": "https://x"}}]},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "c", "name": "f", "input": {"city": "Paris"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c", "content": "Sunny"},
            {"type": "text", "text": "And def f(): return x; in code?"}]},
    ],
    "tools": [{"name": "f", "input_schema": {}}],
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    "max_tokens": 300, "stream": True, "thinking": {"type": "adaptive"},
}  # fmt: skip
SAME = (
    "messages", "turns", "system_bytes", "last_user_text_bytes", "tools", "tool_results", "schema",
    "code", "math", "digits", "images", "audio", "files", "reasoning_asked", "max_output_tokens",
    "n", "stream", "script",
)  # fmt: skip


def seen(dialect: Dialect, **fields: Any) -> Features:
    return extract(dialect.chat_view(read(dialect, **fields)))


@pytest.mark.parametrize(
    ("dialect", "fields"), [(RESPONSES, IN_RESPONSES), (MESSAGES, IN_MESSAGES)]
)
def test_the_same_conversation_has_the_same_features(
    dialect: Dialect, fields: dict[str, Any]
) -> None:
    in_chat = seen(CHAT, **IN_CHAT)
    found = seen(dialect, **fields)
    for name in SAME:
        assert getattr(found, name) == getattr(in_chat, name), name
    texts = found.prompt_bytes - in_chat.prompt_bytes
    assert abs(texts) < 80  # tools and schemas are worded differently
    assert in_chat.tool_results == in_chat.images == 1


def test_a_chat_request_is_its_own_view() -> None:
    request = read(CHAT)
    assert CHAT.chat_view(request) is request.body


def test_reasoning_is_seen_as_each_dialect_asks_for_it() -> None:
    assert not seen(MESSAGES, thinking={"type": "disabled"}).reasoning_asked
    assert seen(MESSAGES, thinking={"type": "enabled", "budget_tokens": 2_000}).reasoning_asked
    assert not seen(RESPONSES, reasoning={"effort": "minimal"}).reasoning_asked
    assert seen(RESPONSES, reasoning={"effort": "high"}).reasoning_asked


def test_texts_to_complete_or_embed_are_what_the_user_says() -> None:
    features = seen(COMPLETIONS, prompt=["def f():", "1 + 1"], n=3, max_tokens=9)
    assert (features.turns, features.n, features.max_output_tokens) == (1, 6, 9)
    assert seen(COMPLETIONS, prompt=[1, 2]).turns == 0
    assert seen(EMBEDDINGS, input=["one", "two", [3]]).turns == 1


@pytest.mark.parametrize(("dialect", "field"), [(COMPLETIONS, "prompt"), (EMBEDDINGS, "input")])
def test_a_batch_is_as_long_as_its_longest_text(dialect: Dialect, field: str) -> None:
    alone = seen(dialect, **{field: "some words " * 50})
    batch = seen(dialect, **{field: ["short", "some words " * 50, *["a text"] * 500]})
    assert batch.prompt_tokens == alone.prompt_tokens
    formatted = {"type": "json_schema", "json_schema": SCHEMA}
    assert seen(COMPLETIONS, response_format=formatted).schema


NAMES = """
    role content type text input output arguments summary instructions system tools format
    thinking output_config reasoning user assistant tool_result tool_use message
"""
KEYS = st.sampled_from(NAMES.split())
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, ODD, max_size=6), st.lists(st.dictionaries(KEYS, ODD), max_size=4))
def test_any_request_has_a_view_and_features(
    body: dict[str, Any], items: list[dict[str, Any]]
) -> None:
    extract(responses_view.as_chat({**body, "input": items}))
    messages = [{**item, "role": "user"} for item in items]
    extract(messages_view.as_chat({**body, "messages": messages}))


@pytest.mark.parametrize("dialect", ALL)
def test_every_dialect_has_a_view(dialect: Dialect) -> None:
    assert extract(dialect.chat_view(read(dialect))).turns == 1
