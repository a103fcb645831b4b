"""What a new budget finds spent, against budgets that were there from the start."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from budgets.openings import (
    PartySpend,
    bucket_s,
    counting_names,
    first_counted_s,
    not_counting,
    openings,
)
from budgets.rolling import RollingWindow
from budgets.scopes import Budget, BudgetBook, ScopeKind, Scopes, Unit, Window, account_id

NOW_S = 1_793_500_000
SCOPES = [
    Scopes("o", team, f"k{key}", f"{team}/{flow}", run)
    for team in ("a", "b")
    for key in (1, 2)
    for flow in ("x", "y")
    for run in ("", f"{team}/r")
]
FURTHER = [
    replace(SCOPES[1], parents=("a/q", "a/p"), user="a/u", tags=("a/env=1", "a/env=2")),
    replace(SCOPES[0], parents=("a/r",), tags=("a/env=1",), model="m"),
]
WINDOWS = st.sampled_from([*Window, RollingWindow(7_200), RollingWindow(86_400)])
BUDGETS = st.builds(
    lambda kind, window, own, unit: Budget(
        kind, ("m", *FURTHER[0].ids_of(kind))[-1] if own else "*", window, 100, unit=unit
    ),
    st.sampled_from(ScopeKind),
    WINDOWS,
    st.booleans(),
    st.sampled_from([Unit.USD, Unit.TOKENS, Unit.REQUESTS]),
)
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(SCOPES + FURTHER),
        st.integers(0, 200_000),
        st.integers(0, 50),
        st.booleans(),
    ),
    max_size=40,
)


@given(budget=BUDGETS, requests=REQUESTS)
def test_a_budget_set_late_counts_what_it_would_have_counted_from_the_start(
    budget: Budget, requests: list[tuple[Scopes, int, int, bool]]
) -> None:
    since_s, width_s = first_counted_s(budget, NOW_S), bucket_s(budget)
    rows, expected = list[PartySpend](), dict[str, int]()
    for scopes, ago_s, nano, was_counted in requests:
        at_s = NOW_S - ago_s
        if at_s < since_s:
            continue
        charges = BudgetBook([budget]).charges(scopes, at_s)
        accounts = tuple(charge.account for charge in charges)
        taken = accounts if was_counted else accounts[:1]
        start_s = 0 if width_s is None else at_s - at_s % width_s
        rows.append(PartySpend(scopes, taken, start_s, nano, 7 * nano, 1))
        amount = {Unit.USD: nano, Unit.TOKENS: 7 * nano}.get(budget.unit, 1)
        for account in accounts[1:]:
            if not was_counted:
                expected[account] = expected.get(account, 0) + amount
    assert openings(budget, rows, NOW_S) == expected


def test_a_budget_for_one_scope_is_opened_with_the_spending_of_that_scope_only() -> None:
    spent = [PartySpend(scopes, (), 0, 10) for scopes in SCOPES]
    budget = Budget(ScopeKind.KEY, "k2", Window.TOTAL, 100)
    assert openings(budget, spent, NOW_S) == {account_id(ScopeKind.KEY, "k2", Window.TOTAL, 0): 80}


def test_a_rolling_budget_is_opened_bucket_by_bucket_and_a_calendar_one_at_once() -> None:
    spent = [PartySpend(SCOPES[0], (), start_s, 10) for start_s in (300, 600, 600)]
    window = RollingWindow(7_200)
    rolling, daily = (Budget(ScopeKind.KEY, "*", w, 100) for w in (window, Window.TOTAL))
    assert (bucket_s(rolling), bucket_s(daily)) == (300, None)
    assert openings(rolling, spent, 700) == {
        account_id(ScopeKind.KEY, "k1", window, 300): 10,
        account_id(ScopeKind.KEY, "k1", window, 600): 20,
    }
    assert openings(daily, spent, 700) == {account_id(ScopeKind.KEY, "k1", Window.TOTAL, 0): 30}


def test_a_budget_of_one_run_counts_what_the_runs_below_it_spent() -> None:
    below = replace(SCOPES[1], run="a/leaf", parents=("a/q", "a/top"))
    spent = [PartySpend(below, (), 0, 10), PartySpend(replace(below, parents=()), (), 0, 5)]
    budget = Budget(ScopeKind.RUN, "a/top", Window.TOTAL, 100)
    top = account_id(ScopeKind.RUN, "a/top", Window.TOTAL, 0)
    assert openings(budget, spent, NOW_S) == {top: 10}


def test_a_budget_counts_again_when_its_window_begins_at_another_moment() -> None:
    utc = Budget(ScopeKind.KEY, "*", Window.DAY, 100)
    nepal = Budget(ScopeKind.KEY, "*", Window.DAY, 100, "Asia/Kathmandu")
    dearer = Budget(ScopeKind.KEY, "*", Window.DAY, 200)
    counting = set(counting_names([utc]))
    assert not_counting([utc, nepal, dearer], counting) == [nepal]


def test_a_general_budget_counts_again_for_a_scope_that_had_a_day_of_its_own() -> None:
    general = Budget(ScopeKind.KEY, "*", Window.DAY, 100)
    alike = Budget(ScopeKind.KEY, "k1", Window.DAY, 5)
    apart = Budget(ScopeKind.KEY, "k1", Window.DAY, 5, "Asia/Kathmandu")
    with_alike, with_apart = (set(counting_names([general, own])) for own in (alike, apart))
    assert not_counting([general], with_alike) == []
    assert not_counting([general], with_apart) == [general]
    other_unit = replace(apart, unit=Unit.TOKENS)  # stands in for no budget in money
    assert not_counting([general], set(counting_names([general, other_unit]))) == []
    # What was spent under the other day is what the general one missed.
    other_day = account_id(ScopeKind.KEY, "k1", Window.DAY, 0)
    spent = [PartySpend(SCOPES[0], (other_day,), 0, 7)]
    assert list(openings(general, spent, NOW_S).values()) == [7]
