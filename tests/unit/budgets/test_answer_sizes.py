"""Sizes learned from answers: never below what was seen, and exceeded as rarely as promised."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.answer_sizes import (
    EARLY_FACTOR,
    FACTOR,
    FEWEST_FOR_BOUND,
    LEAST_BOUND_TOKENS,
    LEAST_TOKENS,
    MAX_SERIES,
    SAMPLES,
    AnswerSizes,
    size_of,
)


def test_nothing_is_known_of_a_workflow_before_its_first_answer() -> None:
    sizes = AnswerSizes()
    assert sizes.size("triage", "tiny") is None
    sizes.learn("triage", "tiny", 100)
    assert sizes.size("triage", "tiny") == EARLY_FACTOR * 100
    assert sizes.size("triage", "large") is None
    assert sizes.size("other", "tiny") is None


def test_a_short_answer_still_leaves_room() -> None:
    assert size_of([]) == LEAST_TOKENS
    assert size_of([1]) == LEAST_TOKENS
    assert size_of([0] * 200) == LEAST_TOKENS


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=98))
def test_with_few_answers_the_size_is_a_multiple_of_the_largest(answers: list[int]) -> None:
    assert size_of(answers) == max(LEAST_TOKENS, EARLY_FACTOR * max(answers))


def test_with_many_answers_the_size_rests_on_the_ninety_ninth_percentile() -> None:
    assert size_of(list(range(1_000, 1_099))) == FACTOR * 1_098
    assert size_of(list(range(1_000, 1_199))) == FACTOR * 1_197
    assert size_of([*[500] * 250, *[9_000]]) == FACTOR * 500


def test_old_answers_are_forgotten_and_the_size_follows() -> None:
    sizes = AnswerSizes()
    for tokens in [*[4_000] * SAMPLES, *[50] * (SAMPLES - 1)]:
        sizes.learn("triage", "tiny", tokens)
    assert sizes.size("triage", "tiny") == FACTOR * 50
    sizes.learn("triage", "tiny", 60)
    assert sizes.size("triage", "tiny") == FACTOR * 50


def test_a_whole_answer_is_bounded_only_once_enough_answers_are_known() -> None:
    sizes = AnswerSizes()
    for _ in range(FEWEST_FOR_BOUND - 1):
        sizes.learn("triage", "tiny", 10)
    assert sizes.bound("triage", "tiny") is None
    sizes.learn("triage", "tiny", 10)
    assert sizes.bound("triage", "tiny") == LEAST_BOUND_TOKENS
    sizes.learn("triage", "tiny", 500)
    assert sizes.bound("triage", "tiny") == EARLY_FACTOR * 500
    assert sizes.bound("other", "tiny") is None


def test_the_number_of_series_is_bounded_and_the_longest_unused_goes_first() -> None:
    sizes = AnswerSizes()
    for number in range(MAX_SERIES):
        sizes.learn(f"w{number}", "tiny", 10)
    sizes.learn("w0", "tiny", 10)
    sizes.learn("one-more", "tiny", 10)
    assert len(sizes) == MAX_SERIES
    assert sizes.size("w0", "tiny") is not None
    assert sizes.size("w1", "tiny") is None


@pytest.mark.parametrize("spread", [0.3, 1.0, 1.5])
def test_the_next_answer_exceeds_the_undoubled_size_no_oftener_than_promised(spread: float) -> None:
    """One in a hundred, for lengths that are lognormal; 4,000 draws, three standard errors."""
    draw = random.Random(7)
    exceeded, rounds = 0, 4_000
    for _ in range(rounds):
        answers = [int(draw.lognormvariate(5, spread)) + LEAST_TOKENS for _ in range(199)]
        limit = size_of(answers) // FACTOR
        exceeded += int(draw.lognormvariate(5, spread)) + LEAST_TOKENS > limit
    assert exceeded / rounds <= 0.01 + 3 * (0.01 * 0.99 / rounds) ** 0.5
