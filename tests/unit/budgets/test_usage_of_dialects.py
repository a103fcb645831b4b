"""The usage reports of responses, messages and embeddings become the same disjoint classes."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.usage import (
    MAX_TOKENS,
    TOKEN_CLASSES,
    TokenUsage,
    UsageExtras,
    UsageFault,
    extras_from_anthropic,
    usage_from_anthropic,
    usage_from_embeddings,
    usage_from_openai,
    usage_from_responses,
)

COUNTS = st.integers(0, 10_000)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = """
    input_tokens output_tokens prompt_tokens completion_tokens total_tokens cached_tokens
    cache_write_tokens audio_tokens reasoning_tokens input_tokens_details output_tokens_details
    cache_creation_input_tokens cache_read_input_tokens cache_creation thinking_tokens iterations
    ephemeral_5m_input_tokens ephemeral_1h_input_tokens server_tool_use type compaction message
"""
NAMED = st.sampled_from(NAMES.split())
REPORTS = st.recursive(
    JSON | COUNTS | NAMED,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMED, inner, max_size=8),
    max_leaves=24,
)
READERS: tuple[Callable[[object], TokenUsage | UsageFault], ...] = (
    usage_from_openai,
    usage_from_responses,
    usage_from_anthropic,
    usage_from_embeddings,
)
USAGES = st.builds(
    TokenUsage, COUNTS, COUNTS, COUNTS, st.just(0), COUNTS, st.just(0), COUNTS, COUNTS, COUNTS
)


@given(st.sampled_from(READERS), REPORTS)
def test_no_report_raises_and_no_class_is_negative(
    read: Callable[[object], TokenUsage | UsageFault], found: object
) -> None:
    usage = read(found)
    if isinstance(usage, UsageFault):
        assert usage.field and usage.found and len(usage.found) <= 80
        return
    assert all(type(getattr(usage, name)) is int for name in TOKEN_CLASSES)
    assert all(getattr(usage, name) >= 0 for name in TOKEN_CLASSES)
    extras = extras_from_anthropic(found)
    assert all(count > 0 for count in extras.tool_uses.values())


@given(USAGES)
def test_a_response_s_report_comes_apart_into_what_was_counted(usage: TokenUsage) -> None:
    report = {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write,
            "audio_tokens": usage.audio_input,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_output,
        },
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    assert usage_from_responses(report) == usage


def message_report(usage: TokenUsage) -> dict[str, object]:
    return {
        "input_tokens": usage.fresh,
        "cache_read_input_tokens": usage.cached,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output + usage.reasoning,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "service_tier": "standard",
    }


@given(
    st.builds(TokenUsage, COUNTS, COUNTS, COUNTS, COUNTS, st.just(0), st.just(0), COUNTS, COUNTS)
)
def test_a_message_s_report_is_disjoint_as_it_comes(usage: TokenUsage) -> None:
    assert usage_from_anthropic(message_report(usage)) == usage


def test_the_documented_report_of_a_message_that_writes_to_both_caches() -> None:
    report = {
        "input_tokens": 2048,
        "cache_read_input_tokens": 1800,
        "cache_creation_input_tokens": 248,
        "output_tokens": 503,
        "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
    }
    assert usage_from_anthropic(report) == TokenUsage(
        fresh=2048, cached=1800, cache_write=148, cache_write_1h=100, output=503
    )
    assert extras_from_anthropic(report) == UsageExtras({"web_search_requests": 2})


def test_what_a_compaction_used_is_added_to_the_totals_and_a_model_s_turns_are_not() -> None:
    turn = {"type": "message", "input_tokens": 10, "output_tokens": 5}
    squeeze = {
        "type": "compaction",
        "input_tokens": 900,
        "cache_read_input_tokens": 50,
        "cache_creation_input_tokens": 0,
        "output_tokens": 70,
    }
    report = {"input_tokens": 10, "output_tokens": 5, "iterations": [squeeze, turn]}
    assert usage_from_anthropic(report) == TokenUsage(fresh=910, cached=50, output=75)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (None, "usage"),
        ([], "usage"),
        ({}, "input_tokens"),
        ({"output_tokens": 5}, "input_tokens"),
        ({"input_tokens": -1}, "input_tokens"),
        ({"input_tokens": "12"}, "input_tokens"),
        ({"input_tokens": 12.0}, "input_tokens"),
        ({"input_tokens": float("nan")}, "input_tokens"),
        ({"input_tokens": True}, "input_tokens"),
        ({"input_tokens": 1 << 63}, "input_tokens"),
        ({"input_tokens": MAX_TOKENS + 1}, "input_tokens"),
        ({"input_tokens": 1, "cache_read_input_tokens": "9"}, "cache_read_input_tokens"),
        ({"input_tokens": 1, "cache_creation": 7}, "cache_creation"),
        (
            {"input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": -7}},
            "cache_creation.ephemeral_1h_input_tokens",
        ),
        (
            {
                "input_tokens": 1,
                "cache_creation_input_tokens": 5,
                "cache_creation": {"ephemeral_1h_input_tokens": 6},
            },
            "cache_creation",
        ),
        (
            {
                "input_tokens": 1,
                "output_tokens": 2,
                "output_tokens_details": {"thinking_tokens": 3},
            },
            "output_tokens_details",
        ),
        ({"input_tokens": 1, "iterations": "two"}, "iterations"),
        ({"input_tokens": 1, "iterations": [7]}, "iterations[0]"),
        (
            {"input_tokens": 1, "iterations": [{"type": "compaction", "input_tokens": -1}]},
            "iterations[0].input_tokens",
        ),
    ],
)
def test_a_message_s_report_that_cannot_be_right_names_its_field(bad: object, field: str) -> None:
    fault = usage_from_anthropic(bad)
    assert isinstance(fault, UsageFault)
    assert fault.field == field


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"prompt_tokens": 4}, "input_tokens"),
        ({"input_tokens": 1 << 63}, "input_tokens"),
        (
            {"input_tokens": 4, "input_tokens_details": {"cached_tokens": 5}},
            "input_tokens_details",
        ),
        (
            {"input_tokens": 4, "output_tokens_details": {"reasoning_tokens": 1}},
            "output_tokens_details",
        ),
    ],
)
def test_a_response_s_report_that_cannot_be_right_names_its_field(bad: object, field: str) -> None:
    fault = usage_from_responses(bad)
    assert isinstance(fault, UsageFault)
    assert fault.field == field


def test_cache_writes_are_summed_where_only_their_parts_are_told() -> None:
    report = {"input_tokens": 1, "cache_creation": {"ephemeral_5m_input_tokens": 4}}
    assert usage_from_anthropic(report) == TokenUsage(fresh=1, cache_write=4)


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"prompt_tokens": 8, "total_tokens": 8}, TokenUsage(fresh=8)),
        ({"total_tokens": 8}, TokenUsage(fresh=8)),
        ({"total_tokens": -8}, UsageFault("total_tokens", "-8")),
        ({}, UsageFault("prompt_tokens", "missing")),
        (7, UsageFault("usage", "7")),
    ],
)
def test_embeddings_report_their_input(report: object, expected: object) -> None:
    assert usage_from_embeddings(report) == expected


def test_extras_that_cannot_be_right_are_left_out() -> None:
    assert extras_from_anthropic(None) == UsageExtras()
    odd = {"cache_creation": "x", "server_tool_use": {"a": -1, "b": "2", "c": 3, "d": 1 << 63}}
    assert extras_from_anthropic(odd) == UsageExtras({"c": 3})
    assert extras_from_anthropic({"server_tool_use": [1]}) == UsageExtras()
