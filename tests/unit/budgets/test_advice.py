"""The advised cap against the bound it promises, on runs drawn from several distributions."""

from collections.abc import Callable
from fractions import Fraction
from math import sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.advice import (
    DEFAULT_SHARE,
    MAX_SHARE,
    MIN_SHARE,
    advise,
    rank,
    rounded_up,
    runs_needed,
    wilson,
)

SHARES = st.fractions(MIN_SHARE, MAX_SHARE, max_denominator=10_000)
AMOUNTS = st.integers(0, 10**15)
DRAWS: dict[str, Callable[[Random], int]] = {
    "uniform": lambda random: random.randrange(10**9),
    "exponential": lambda random: int(random.expovariate(1e-7)),
    "lognormal": lambda random: int(random.lognormvariate(17, 1.5)),
    "pareto": lambda random: int(10**6 * random.paretovariate(0.8)),
    "two kinds": lambda random: int(random.gauss(10**6, 10**5) + 10**9 * (random.random() < 0.05)),
    "few values": lambda random: random.choice([0, 10**6, 10**6, 3 * 10**6]),
}


def test_two_in_a_hundred_take_forty_nine_runs() -> None:
    assert runs_needed(DEFAULT_SHARE) == 49
    assert (rank(48, DEFAULT_SHARE), rank(49, DEFAULT_SHARE)) == (None, 49)
    assert (rank(98, DEFAULT_SHARE), rank(99, DEFAULT_SHARE)) == (98, 98)


@given(st.integers(0, 20_000), SHARES)
def test_the_rank_is_the_first_whose_bound_is_the_share_or_less(runs: int, share: Fraction) -> None:
    place = rank(runs, share)
    if place is None:
        assert Fraction(1, runs + 1) > share
        assert runs < runs_needed(share)
        return
    assert runs >= runs_needed(share)
    assert 1 - Fraction(place, runs + 1) <= share < 1 - Fraction(place - 1, runs + 1)


def test_too_few_runs_give_no_number_but_say_how_many_are_missing() -> None:
    advice = advise(range(40), range(40), DEFAULT_SHARE)
    assert (advice.runs, advice.missing_runs, advice.median_nano) == (40, 9, 19)
    assert (advice.cap_nano, advice.quantile_nano, advice.stopped) == (None, None, None)
    nothing = advise([], [], DEFAULT_SHARE)
    assert (nothing.runs, nothing.missing_runs, nothing.median_nano) == (0, 49, None)


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=49, max_size=200))
def test_a_cap_bears_all_but_the_share_and_is_at_its_rank(pairs: list[tuple[int, int]]) -> None:
    costs, needs = [cost for cost, _ in pairs], [need for _, need in pairs]
    advice = advise(costs, needs, DEFAULT_SHARE)
    place = rank(len(pairs), DEFAULT_SHARE)
    assert place is not None and advice.cap_nano is not None and advice.stopped is not None
    assert advice.cap_nano == rounded_up(sorted(needs)[place - 1])
    assert advice.quantile_nano == sorted(costs)[place - 1]
    assert advice.stopped.runs == len([need for need in needs if need > advice.cap_nano])
    assert advice.stopped.runs <= DEFAULT_SHARE * len(pairs)
    assert advice.stopped.low <= advice.stopped.share <= advice.stopped.high


def test_costs_and_needs_of_other_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="not of the same runs"):
        advise([1, 2], [1], DEFAULT_SHARE)


@given(AMOUNTS)
def test_a_rounded_amount_is_never_less_and_at_most_a_cent_or_a_tenth_more(amount: int) -> None:
    rounded = rounded_up(amount)
    assert amount <= rounded
    assert rounded - amount < max(1, min(10**7, amount // 10 + 1))
    assert rounded_up(rounded) == rounded


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [
        (0, 0),
        (7, 7),
        (101, 110),
        (12_345_678, 13_000_000),
        (99_000_001, 100_000_000),
        (123_456_789, 130_000_000),
        (1_234_500_001, 1_240_000_000),
    ],
)
def test_amounts_are_rounded_as_a_person_would_write_them(amount: int, rounded: int) -> None:
    assert rounded_up(amount) == rounded


def test_the_interval_is_wilson_s() -> None:
    """Against the figures of the closed form, worked out by hand for 10 of 100 and for none."""
    low, high = wilson(10, 100)
    assert (round(low, 4), round(high, 4)) == (0.0552, 0.1744)
    low, high = wilson(0, 49)
    assert (low, round(high, 4)) == (0.0, round(1.959964**2 / (49 + 1.959964**2), 4))


@given(st.integers(1, 5_000), st.data())
def test_the_interval_solves_the_score_equation(runs: int, data: st.DataObject) -> None:
    """Its ends are the shares that are exactly 1.96 standard errors from what was seen."""
    hits = data.draw(st.integers(0, runs))
    for end in wilson(hits, runs):
        error = sqrt(end * (1 - end) / runs)
        if 0 < end < 1:
            assert abs(hits / runs - end) == pytest.approx(1.959963984540054 * error, rel=1e-6)


@pytest.mark.parametrize("runs", [49, 120, 400])
@pytest.mark.parametrize("name", DRAWS)
def test_the_cap_stops_at_most_the_share_of_fresh_runs(name: str, runs: int) -> None:
    """On average over many histories, which is what the bound is about.

    The mean of 400 histories scatters around its true value with a standard error of 0.001 at
    most, and three of them are allowed. Rounding up only lowers it; where the tail is long enough
    for that to matter little, it must not be far below either.
    """
    random, draw = Random(f"{name} {runs}"), DRAWS[name]
    histories, fresh_runs, stopped = 400, 500, 0
    for _ in range(histories):
        past = [draw(random) for _ in range(runs)]
        cap = advise(past, past, DEFAULT_SHARE).cap_nano
        assert cap is not None
        stopped += sum(draw(random) > cap for _ in range(fresh_runs))
    share = stopped / (histories * fresh_runs)
    place = rank(runs, DEFAULT_SHARE)
    assert place is not None
    bound = 1 - Fraction(place, runs + 1)
    assert bound <= DEFAULT_SHARE
    assert share <= bound + 0.003
    if name in ("lognormal", "pareto"):
        assert share >= bound * 0.75
