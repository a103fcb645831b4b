"""What goes upstream is what came, byte for byte, except for the values that must change."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.port import Bounds, Dialect
from tests.unit.gateway.dialects.requests_made import (
    ALL,
    CHAT,
    COMPLETIONS,
    COUNT_TOKENS,
    EMBEDDINGS,
    MESSAGES,
    PLAIN,
    RESPONSES,
    read,
)

FREE = Bounds()
EXTRAS = st.dictionaries(
    st.text(max_size=6).map(lambda name: f"x{name}"),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=8,
    ),
    max_size=4,
)


def name_of(value: object) -> str | None:
    return getattr(value, "name", None)


def sent(dialect: Dialect, bounds: Bounds = FREE, model: str = "m", **fields: Any) -> Any:
    return orjson.loads(dialect.upstream_body(read(dialect, **fields), model, bounds))


@pytest.mark.parametrize("dialect", ALL, ids=name_of)
def test_a_request_that_needs_no_change_goes_out_as_it_came(dialect: Dialect) -> None:
    fields = {"max_tokens": 16} if dialect is COMPLETIONS else {}
    request = read(dialect, **fields)
    assert dialect.upstream_body(request, "m", FREE) is request.raw


@pytest.mark.parametrize("dialect", ALL, ids=name_of)
@given(extras=EXTRAS, indent=st.sampled_from([None, 1]), limit=st.none() | st.integers(1, 99))
def test_only_what_is_named_changes(
    dialect: Dialect, extras: dict[str, Any], indent: int | None, limit: int | None
) -> None:
    body = {**extras, **PLAIN[dialect.route], "nested": {"model": "n", "max_tokens": 1}}
    raw = json.dumps(body, indent=indent, ensure_ascii=indent is None).encode()
    request = dialect.read(raw)
    changed = dialect.upstream_body(request, "other", Bounds(limit))
    expected = {**body, "model": "other"}
    found = orjson.loads(changed)
    for field in ("max_tokens", "max_output_tokens"):
        if found.get(field) != expected.get(field):
            assert found[field] in (limit, 16)
            expected[field] = found[field]
    assert found == expected


@pytest.mark.parametrize(
    ("dialect", "field"),
    [(CHAT, "max_tokens"), (COMPLETIONS, "max_tokens"), (RESPONSES, "max_output_tokens"),
     (MESSAGES, "max_tokens")],
    ids=name_of,
)  # fmt: skip
def test_a_bound_is_written_where_none_was_and_where_it_is_tighter(
    dialect: Dialect, field: str
) -> None:
    assert sent(dialect, Bounds(5), **{field: None})[field] == 5
    assert sent(dialect, Bounds(50), **{field: 900})[field] == 50
    assert sent(dialect, Bounds(50), **{field: 20})[field] == 20
    assert sent(dialect, FREE, **{field: 900})[field] == 900
    assert list(sent(dialect, Bounds(50), **{field: 900})).count(field) == 1


def test_the_default_of_a_completion_is_written_out() -> None:
    """Providers differ in theirs, and some have none."""
    assert sent(COMPLETIONS)["max_tokens"] == 16
    assert sent(COMPLETIONS, Bounds(40))["max_tokens"] == 16
    assert sent(COMPLETIONS, Bounds(9))["max_tokens"] == 9


def test_usage_is_asked_for_only_where_a_dialect_must_be_asked() -> None:
    asked = sent(COMPLETIONS, stream=True, stream_options={"x": 1})
    assert asked["stream_options"] == {"x": 1, "include_usage": True}
    assert "stream_options" not in sent(COMPLETIONS)
    kept = sent(COMPLETIONS, stream=True, stream_options={"include_usage": True, "x": 1})
    assert kept["stream_options"] == {"include_usage": True, "x": 1}
    for dialect in (RESPONSES, MESSAGES):
        assert sent(dialect, stream=True) == {**PLAIN[dialect.route], "stream": True}


def test_uses_of_tools_are_limited_in_a_response() -> None:
    bounds = Bounds(tool_uses=4)
    assert sent(RESPONSES, bounds)["max_tool_calls"] == 4
    assert sent(RESPONSES, bounds, max_tool_calls=9)["max_tool_calls"] == 4
    assert sent(RESPONSES, bounds, max_tool_calls=2)["max_tool_calls"] == 2
    assert "max_tool_calls" not in sent(RESPONSES, FREE)
    assert "max_tool_calls" not in sent(MESSAGES, bounds)


def test_what_generates_nothing_gets_no_limit() -> None:
    for dialect in (EMBEDDINGS, COUNT_TOKENS):
        assert sent(dialect, Bounds(5), model="n") == {**PLAIN[dialect.route], "model": "n"}
