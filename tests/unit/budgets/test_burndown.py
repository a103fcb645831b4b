"""Rate and forecast: what they rest on, and when there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.burndown import (
    MIN_REQUESTS,
    MIN_SPAN_S,
    Burndown,
    Outlook,
    Sample,
    burn_down,
    lookback_s,
)
from budgets.rolling import RollingWindow
from budgets.scopes import Budget, ScopeKind, Window

NOW_S = 1_790_000_000
MONTH = Budget(ScopeKind.KEY, "k", Window.MONTH, 1_000)


def test_a_budget_runs_out_when_its_rate_says_so() -> None:
    found = burn_down(MONTH, 100, Sample(10, 50, 7_200), NOW_S, NOW_S + 86_400)
    assert found == Burndown(Outlook.RUNS_OUT, 25, 600, NOW_S + 4 * 3_600)


def test_a_budget_that_starts_again_before_it_is_gone_lasts() -> None:
    found = burn_down(MONTH, 100, Sample(10, 50, 7_200), NOW_S, NOW_S + 4 * 3_600)
    assert found == Burndown(Outlook.LASTS, 25, 600, None)


@pytest.mark.parametrize(
    "sample", [Sample(0, 0, 0), Sample(MIN_REQUESTS - 1, 5, 7_200), Sample(50, 5, MIN_SPAN_S - 1)]
)
def test_a_small_sample_gives_no_forecast(sample: Sample) -> None:
    found = burn_down(MONTH, 100, sample, NOW_S, None)
    assert found == Burndown(Outlook.NOT_ENOUGH_HISTORY, None, None, None)


def test_a_budget_with_nothing_left_is_spent_whatever_the_sample() -> None:
    assert burn_down(MONTH, 0, Sample(0, 0, 0), NOW_S, None).outlook is Outlook.SPENT


@pytest.mark.parametrize(
    ("limit_nano", "outlook"), [(1_200, Outlook.LASTS), (1_199, Outlook.RUNS_OUT)]
)
def test_a_rolling_window_lasts_where_its_whole_length_at_this_rate_fits(
    limit_nano: int, outlook: Outlook
) -> None:
    budget = Budget(ScopeKind.KEY, "k", RollingWindow(86_400), limit_nano)
    assert burn_down(budget, 100, Sample(10, 50, 3_600), NOW_S, None).outlook is outlook


@given(left=st.integers(1, 10**12), spent=st.integers(1, 10**12), span_s=st.integers(600, 604_800))
def test_at_the_forecast_moment_the_rate_has_used_what_is_left(
    left: int, spent: int, span_s: int
) -> None:
    found = burn_down(MONTH, left, Sample(10, spent, span_s), NOW_S, None)
    assert found.runs_out_at_s is not None
    after_s = found.runs_out_at_s - NOW_S
    assert spent * after_s <= left * span_s < spent * (after_s + 1)


@pytest.mark.parametrize(
    ("window", "seconds"),
    [
        (Window.HOUR, 3_600),
        (Window.DAY, 86_400),
        (Window.MONTH, 604_800),
        (Window.TOTAL, 604_800),
        (RollingWindow(60), 3_600),
        (RollingWindow(7_200), 7_200),
        (RollingWindow(30 * 86_400), 604_800),
    ],
)
def test_the_sample_reaches_back_as_far_as_the_window_within_bounds(
    window: Window | RollingWindow, seconds: int
) -> None:
    assert lookback_s(window) == seconds
