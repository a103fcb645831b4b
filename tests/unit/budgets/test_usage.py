"""Usage reports become disjoint classes, or a fault that names the field."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.usage import (
    INPUT_CLASSES,
    MAX_TOKENS,
    OUTPUT_CLASSES,
    TOKEN_CLASSES,
    TokenUsage,
    UsageFault,
    usage_from_openai,
)

COUNTS = st.integers(0, 10_000)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
DETAILS = st.one_of(
    JSON,
    st.dictionaries(
        st.sampled_from(
            ["cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens"]
        ),
        st.one_of(COUNTS, JSON),
    ),
)
REPORTS = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": st.one_of(COUNTS, JSON),
            "completion_tokens": st.one_of(COUNTS, JSON),
            "total_tokens": JSON,
            "prompt_tokens_details": DETAILS,
            "completion_tokens_details": DETAILS,
        },
    ),
)


def report(usage: TokenUsage) -> dict[str, object]:
    """The overlapping report a provider would send for disjoint counts."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write,
            "audio_tokens": usage.audio_input,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_output,
        },
    }


@given(
    st.builds(
        TokenUsage, COUNTS, COUNTS, COUNTS, st.just(0), COUNTS, st.just(0), COUNTS, COUNTS, COUNTS
    )
)
def test_an_overlapping_report_comes_apart_into_what_was_counted(usage: TokenUsage) -> None:
    assert usage_from_openai(report(usage)) == usage


@given(REPORTS)
def test_no_report_raises_and_no_class_is_negative(found: object) -> None:
    usage = usage_from_openai(found)
    if isinstance(usage, UsageFault):
        assert usage.field and usage.found and len(usage.found) <= 80
        return
    assert all(0 <= getattr(usage, name) <= MAX_TOKENS for name in TOKEN_CLASSES)
    assert isinstance(found, dict)
    assert usage.input_tokens == found["prompt_tokens"] or not usage.input_tokens
    assert usage.output_tokens == (found.get("completion_tokens") or 0)


@given(REPORTS)
def test_a_report_read_from_the_wire_is_no_different(found: object) -> None:
    text = json.dumps(found)
    again = usage_from_openai(json.loads(text))
    assert type(again) is type(usage_from_openai(found))


def test_a_deeply_nested_value_is_a_fault_and_not_a_crash() -> None:
    deep: list[object] = []
    for _ in range(5_000):
        deep = [deep]
    for bad in ({"prompt_tokens": deep}, {"prompt_tokens": 1, "prompt_tokens_details": deep}, deep):
        assert isinstance(usage_from_openai(bad), UsageFault)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (None, "usage"),
        ([], "usage"),
        ({}, "prompt_tokens"),
        ({"completion_tokens": 5}, "prompt_tokens"),
        ({"prompt_tokens": -1}, "prompt_tokens"),
        ({"prompt_tokens": "12"}, "prompt_tokens"),
        ({"prompt_tokens": 12.0}, "prompt_tokens"),
        ({"prompt_tokens": float("nan")}, "prompt_tokens"),
        ({"prompt_tokens": 1e308}, "prompt_tokens"),
        ({"prompt_tokens": True}, "prompt_tokens"),
        ({"prompt_tokens": 1 << 63}, "prompt_tokens"),
        ({"prompt_tokens": MAX_TOKENS + 1}, "prompt_tokens"),
        ({"prompt_tokens": 5, "completion_tokens": -2}, "completion_tokens"),
        ({"prompt_tokens": 5, "prompt_tokens_details": 3}, "prompt_tokens_details"),
        (
            {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": "3"}},
            "prompt_tokens_details.cached_tokens",
        ),
        (
            {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}},
            "prompt_tokens_details",
        ),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 5,
                "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 3},
            },
            "completion_tokens_details",
        ),
    ],
)
def test_a_report_that_cannot_be_right_names_its_field(bad: object, field: str) -> None:
    fault = usage_from_openai(bad)
    assert isinstance(fault, UsageFault)
    assert fault.field == field


def test_what_is_left_out_or_null_counts_as_nothing() -> None:
    sparse = {"prompt_tokens": 5, "completion_tokens": None, "prompt_tokens_details": None}
    assert usage_from_openai(sparse) == TokenUsage(fresh=5)


@given(
    st.builds(TokenUsage, *[COUNTS] * len(TOKEN_CLASSES)),
    st.builds(TokenUsage, *[COUNTS] * len(TOKEN_CLASSES)),
)
def test_usages_add_up_class_by_class(one: TokenUsage, two: TokenUsage) -> None:
    total = one.plus(two)
    for name in TOKEN_CLASSES:
        assert getattr(total, name) == getattr(one, name) + getattr(two, name)
    assert total.input_tokens == sum(getattr(total, name) for name in INPUT_CLASSES)
    assert total.output_tokens == sum(getattr(total, name) for name in OUTPUT_CLASSES)
