"""Thresholds: when they are reached, and what of it is news."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from budgets.thresholds import News, news, reached

PERMILLE = st.lists(st.integers(1, 1_000), max_size=6)


@given(spent=st.integers(0, 10**16), limit=st.integers(0, 10**16), permille=PERMILLE)
def test_a_threshold_is_reached_exactly_from_its_share_of_the_limit_on(
    spent: int, limit: int, permille: list[int]
) -> None:
    expected = {p for p in permille if spent > 0 and Decimal(spent) >= Decimal(limit) * p / 1_000}
    assert reached(spent, limit, permille) == tuple(sorted(expected))


@given(spending=st.lists(st.integers(0, 120), max_size=30), permille=PERMILLE)
def test_in_a_window_with_an_end_each_threshold_is_news_once(
    spending: list[int], permille: list[int]
) -> None:
    told: list[int] = []
    for spent in spending:
        found = news(reached(spent, 100, permille), told, rolling=False)
        assert found.rearmed == ()
        told += found.crossed
    assert len(told) == len(set(told))
    assert set(told) == set(reached(max(spending, default=0), 100, permille))


@given(spending=st.lists(st.integers(0, 120), max_size=30), permille=PERMILLE)
def test_in_a_rolling_window_a_threshold_is_news_each_time_it_is_crossed_from_below(
    spending: list[int], permille: list[int]
) -> None:
    told: set[int] = set()
    before: set[int] = set()
    for spent in spending:
        now = set(reached(spent, 100, permille))
        found = news(now, told, rolling=True)
        assert set(found.crossed) == now - before
        told = (told | set(found.crossed)) - set(found.rearmed)
        before = now


def test_a_jump_over_two_thresholds_tells_of_both() -> None:
    assert news((500, 800), (), rolling=False) == News((500, 800), ())
