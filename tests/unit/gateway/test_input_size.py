"""The bound of the input holds for whatever a request is made of."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.input_size import (
    MEDIA_TOKENS,
    MESSAGE_OVERHEAD_TOKENS,
    InputSize,
    exact_size,
    whole_size,
)
from tests.unit.gateway.dialects.requests_made import chat_parts

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


FREE = frozenset({"role", "content", "type", "text"})


def text_bytes(value: Any, free: frozenset[str] = frozenset()) -> int:
    """Every key and scalar, spelled out by a plain recursion."""
    if isinstance(value, dict):
        keys = sum(len(key.encode()) for key in value if key not in free)
        return keys + sum(text_bytes(inner, free) for inner in value.values())
    if isinstance(value, list):
        return sum(text_bytes(inner, free) for inner in value)
    return 0 if value is None else len(str(value).encode())


@given(st.dictionaries(st.text(max_size=8).filter(lambda key: key != "type"), VALUES))
def test_no_text_is_left_out_wherever_it_stands(fields: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": [fields, "x"]}]
    body = {"messages": messages, "extra": fields, "tools": [fields]}
    size = exact_size(chat_parts(body))
    if size.media == 0:
        other = len("extra") + len("tools") + 2 * text_bytes(fields)
        assert size.other_bytes == other
        assert size.text_bytes == text_bytes(messages, FREE) + other
        assert sum(len(text.encode()) for text in size.spoken) == text_bytes(messages, FREE)
    assert size.text_bytes <= whole_size(orjson.dumps(body), 1).text_bytes


def test_what_only_steers_a_request_is_no_part_of_its_prompt() -> None:
    plain = {"messages": [{"role": "user", "content": "x"}]}
    steered = {
        **plain,
        "model": "m" * 90,
        "max_tokens": 50,
        "user": "u" * 90,
        "metadata": {"note": "n" * 90},
        "stop": ["s" * 90],
    }
    assert exact_size(chat_parts(steered)) == exact_size(chat_parts(plain))
    assert exact_size(chat_parts({**plain, "unheard_of": "u" * 90})).text_bytes > 90


def test_messages_are_counted_in_a_known_vocabulary_and_all_else_by_bytes() -> None:
    body = {
        "messages": [{"role": "user", "content": "Tell me about foxes, please."}],
        "tools": [{"type": "function", "function": {"name": "hunt"}}],
    }
    size = exact_size(chat_parts(body))
    assert set(size.spoken) == {"user", "Tell me about foxes, please."}
    plain = MESSAGE_OVERHEAD_TOKENS + 5
    assert size.bound_tokens(5, spoken_tokens=9) == 9 + size.other_bytes + plain
    assert size.bound_tokens(5, spoken_tokens=10**6) == size.text_bytes + plain
    assert size.bound_tokens(5) == size.text_bytes + plain


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": "https://x.test/i.png"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "AAAA"}},
        {"type": "document", "source": {"data": "AAAA"}},
    ],
)
def test_a_medium_counts_once_and_its_bytes_do_not(part: dict[str, Any]) -> None:
    body = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "abc"}]}]}
    size = exact_size(chat_parts(body))
    assert size.media == 1
    assert size.text_bytes < 100


@pytest.mark.parametrize(
    "disguised",
    [
        {"type": "image_url", "text": "x" * 1_000},
        {"type": "image_url", "image_url": ["x" * 1_000]},
        {"type": "image_url", "image_url": "i.png", "caption": "x" * 1_000},
        {"type": ["image_url"], "image_url": "x" * 1_000},
        "data:" + "x" * 1_000,
    ],
)
def test_text_does_not_pass_for_a_medium(disguised: Any) -> None:
    body = {"messages": [{"role": "user", "content": [disguised]}]}
    assert exact_size(chat_parts(body)).text_bytes >= 1_000


def test_the_bound_grows_with_messages_media_and_the_models_own_template() -> None:
    expected = 100 + 2 * MESSAGE_OVERHEAD_TOKENS + 3 * MEDIA_TOKENS + 40
    assert InputSize(100, 3, 2).bound_tokens(40) == expected
