"""Nothing that may reach a model is left out of what is counted as input."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import chat, completions, embeddings, media_style, messages, responses
from gateway.dialects.port import Dialect
from tests.unit.gateway.dialects.requests_made import (
    ALL,
    CHAT,
    COMPLETIONS,
    COUNT_TOKENS,
    EMBEDDINGS,
    IMAGES,
    MESSAGES,
    RESPONSES,
    SPEECH,
    read,
)

CONTROLS = {
    CHAT: chat.CONTROLS,
    COMPLETIONS: completions.CONTROLS,
    EMBEDDINGS: embeddings.CONTROLS,
    RESPONSES: responses.CONTROLS,
    MESSAGES: messages.CONTROLS,
    COUNT_TOKENS: messages.CONTROLS,
    IMAGES: media_style.CONTROLS,
    SPEECH: media_style.CONTROLS,
}
FIELDS = st.sampled_from(
    ["tools", "functions", "response_format", "prediction", "text", "instructions", "system",
     "tool_choice", "suffix", "output_config", "mcp_servers", "web_search_options", "novel"]
)  # fmt: skip
JSON = st.recursive(
    st.booleans() | st.integers(0, 99) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


def name_of(value: object) -> str | None:
    return getattr(value, "name", None)


def leaves(value: Any) -> Iterator[str]:
    """Every key and scalar of a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)
    else:
        yield str(value)


@pytest.mark.parametrize("dialect", ALL, ids=name_of)
@given(fields=st.dictionaries(FIELDS, JSON, max_size=5))
def test_every_text_that_does_not_only_steer_is_in_one_of_the_parts(
    dialect: Dialect, fields: dict[str, Any]
) -> None:
    request = read(dialect, **fields)
    parts = dialect.input_parts(request)
    steering = CONTROLS[dialect]
    counted = sorted([*leaves(parts.said), *leaves(parts.rest)])
    expected = sorted(
        leaf
        for name, value in request.body.items()
        if name not in steering
        for leaf in leaves(value)
    )
    names = {"messages", "input", "prompt", "instructions", "system"}
    missing = [leaf for leaf in expected if leaf not in counted and leaf not in names]
    empty = [leaf for leaf in missing if leaf not in ("", "False", "0")]
    assert empty == []


@pytest.mark.parametrize(
    ("dialect", "fields", "frames", "token_ids"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "a"}] * 3}, 3, 0),
        (COMPLETIONS, {"prompt": "a"}, 1, 0),
        (COMPLETIONS, {"prompt": ["a", "b"]}, 2, 0),
        (COMPLETIONS, {"prompt": [1, 2, 3]}, 1, 3),
        (COMPLETIONS, {"prompt": [[1, 2], [3]]}, 2, 3),
        (EMBEDDINGS, {"input": "a"}, 1, 0),
        (EMBEDDINGS, {"input": ["a", "b"]}, 2, 0),
        (EMBEDDINGS, {"input": [5, 6]}, 1, 2),
        (EMBEDDINGS, {"input": [[5, 6], [7]]}, 2, 3),
        (EMBEDDINGS, {"input": [{"text": "a"}, ["b"]]}, 2, 0),
        (RESPONSES, {"input": "a"}, 1, 0),
        (RESPONSES, {"input": "a", "instructions": "b"}, 2, 0),
        (RESPONSES, {"input": [{"role": "user", "content": "a"}] * 3}, 3, 0),
        (RESPONSES, {"input": None, "previous_response_id": "r"}, 0, 0),
        (MESSAGES, {}, 1, 0),
        (MESSAGES, {"system": "a"}, 2, 0),
        (MESSAGES, {"messages": [{"role": "user", "content": [{"type": "text"}] * 4}]}, 4, 0),
        (COUNT_TOKENS, {"system": [{"type": "text", "text": "a"}]}, 2, 0),
    ],
)
def test_every_message_item_and_input_is_framed_once(
    dialect: Dialect, fields: dict[str, Any], frames: int, token_ids: int
) -> None:
    parts = dialect.input_parts(read(dialect, **fields))
    assert (parts.frames, parts.token_ids) == (frames, token_ids)
    assert dialect.frames(read(dialect, **fields)) == frames
    if token_ids:
        assert parts.said == []


def test_what_only_steers_is_in_neither_part() -> None:
    for dialect, controls in CONTROLS.items():
        parts = dialect.input_parts(read(dialect, temperature=0.5, metadata={"a": "b"}))
        assert not set(parts.rest) & controls
