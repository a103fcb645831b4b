"""What a new budget finds spent, against budgets that were there from the start."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from budgets.budget_book import BudgetBook
from budgets.openings import (
    PartySpend,
    bucket_s,
    counting_names,
    first_counted_s,
    not_counting,
    openings,
)
from budgets.rolling import RollingWindow
from budgets.scopes import Budget, ScopeKind, Scopes, Unit, Window, account_id

NOW_S = 1_793_500_000
SCOPES = [
    Scopes(
        "o",
        team,
        f"k{key}",
        f"{team}/{flow}",
        f"{team}/r" if run else "",
        parents=(f"{team}/top",) if run else (),
        user=f"{team}/u{key}",
        tags=(f"{team}/env={flow}", f"{team}/use=1"),
        model=f"m{key}",
    )
    for team in ("a", "b")
    for key in (1, 2)
    for flow in ("x", "y")
    for run in (False, True)
]
FURTHER = [
    replace(SCOPES[1], parents=("a/q", "a/p"), user="a/u", tags=("a/env=1", "a/env=2")),
    replace(SCOPES[0], parents=("a/r",), tags=("a/env=1",), model="m"),
]
WINDOWS = st.sampled_from([*Window, RollingWindow(7_200), RollingWindow(86_400)])
UNITS = (Unit.USD, Unit.TOKENS, Unit.REQUESTS)


@st.composite
def any_budget(draw: st.DrawFn) -> Budget:
    kind = draw(st.sampled_from(list(ScopeKind)))
    own = draw(st.sampled_from(SCOPES[1].ids_of(kind)))
    wide = [f"{own[:length]}*" for length in range(len(own))]
    scope_id = draw(st.sampled_from([own, *wide]))
    return Budget(kind, scope_id, draw(WINDOWS), 100, unit=draw(st.sampled_from(UNITS)))


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(SCOPES + FURTHER),
        st.integers(0, 200_000),
        st.integers(0, 50),
        st.booleans(),
    ),
    max_size=40,
)


@given(budget=any_budget(), requests=REQUESTS)
def test_a_budget_set_late_counts_what_it_would_have_counted_from_the_start(
    budget: Budget, requests: list[tuple[Scopes, int, int, bool]]
) -> None:
    book, since_s, width_s = BudgetBook([budget]), first_counted_s(budget, NOW_S), bucket_s(budget)
    rows, expected = list[PartySpend](), dict[str, int]()
    for scopes, ago_s, spent, was_counted in requests:
        at_s = NOW_S - ago_s
        if at_s < since_s:
            continue
        charges = book.charges(scopes, at_s)
        charges += book.model_charges([scopes.model], at_s).get(scopes.model, ())
        accounts = tuple([charge.account for charge in charges])
        start_s = 0 if width_s is None else at_s - at_s % width_s
        taken = accounts if was_counted else ("org:o|total|0",)
        row = PartySpend(scopes, taken, start_s, spent, 7 * spent, 1)
        rows.append(row)
        for charge in charges:
            if charge.limit_nano is not None and charge.account not in taken:
                before = expected.get(charge.account, 0)
                expected[charge.account] = before + row.amount(budget.unit)
    assert openings(budget, rows, NOW_S) == expected


def test_a_budget_for_one_scope_is_opened_with_the_spending_of_that_scope_only() -> None:
    spent = [PartySpend(scopes, (), 0, 10) for scopes in SCOPES]
    budget = Budget(ScopeKind.KEY, "k2", Window.TOTAL, 100)
    assert openings(budget, spent, NOW_S) == {account_id(ScopeKind.KEY, "k2", Window.TOTAL, 0): 80}


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


def test_a_wide_budget_counts_again_for_what_a_closer_wide_one_counted_by_another_day() -> None:
    general = Budget(ScopeKind.USER, "*", Window.DAY, 100)
    closer = Budget(ScopeKind.USER, "a/*", Window.DAY, 5, "Asia/Kathmandu")
    tokens = Budget(ScopeKind.USER, "a/*", Window.DAY, 5, "Asia/Kathmandu", unit=Unit.TOKENS)
    assert not_counting([general], set(counting_names([general, closer]))) == [general]
    assert not_counting([general], set(counting_names([general, tokens]))) == []
