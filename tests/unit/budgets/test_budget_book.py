"""What a request is charged to, budget by budget."""

from dataclasses import replace
from zoneinfo import available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from budgets.actions import Action, Threshold
from budgets.budget_book import BudgetBook
from budgets.rolling import RollingWindow
from budgets.scopes import (
    Budget,
    Charge,
    ScopeKind,
    Scopes,
    Unit,
    Window,
    account_id,
    window_span,
)
from tests.unit.budgets.moments import MOMENTS, ZONES

SCOPES = Scopes("o", "t", "k", "w", "r", user="u", tags=("t=1",), model="m")
UNITS = (Unit.USD, Unit.TOKENS, Unit.REQUESTS)


def of_kind(charges: tuple[Charge, ...], kind: ScopeKind) -> list[Charge]:
    return [charge for charge in charges if charge.scope.startswith(f"{kind.value}:")]


@given(zone_name=ZONES, now_s=MOMENTS, window=st.sampled_from(list(Window)))
@example(zone_name="Asia/Kathmandu", now_s=1_793_469_600 + 899, window=Window.DAY)
def test_what_is_remembered_by_the_quarter_hour_is_right_to_the_second(
    zone_name: str, now_s: int, window: Window
) -> None:
    book = BudgetBook([Budget(ScopeKind.KEY, "*", window, 5, zone_name)])
    span = window_span(window, zone_name, now_s)
    (charge,) = of_kind(book.charges(SCOPES, now_s), ScopeKind.KEY)
    assert charge.account == account_id(ScopeKind.KEY, "k", window, span.start_s)
    assert charge.resets_at_s == span.end_s


def test_every_midnight_falls_on_a_quarter_hour() -> None:
    odd = [
        (zone_name, day)
        for zone_name in sorted(available_timezones() - {"localtime", "Factory"})
        for day in range(15_400, 24_837, 61)
        if window_span(Window.DAY, zone_name, day * 86_400).start_s % 900
    ]
    assert odd == []


@given(
    callers=st.lists(
        st.tuples(
            st.builds(
                Scopes,
                *[st.sampled_from("ab")] * 5,
                parents=st.sampled_from([(), ("c",), ("d", "c")]),
                user=st.sampled_from("ab"),
                tags=st.sampled_from([(), ("a",), ("a", "b")]),
            ),
            st.integers(1_793_469_600 - 4_000, 1_793_469_600 + 4_000),
        ),
        min_size=2,
        max_size=12,
    )
)
@example(callers=[(SCOPES, 1_793_470_499), (SCOPES, 1_793_470_500)])
def test_a_book_that_has_answered_before_answers_as_a_new_one(
    callers: list[tuple[Scopes, int]],
) -> None:
    """Midnight in Kathmandu, 18:15 UTC, lies between these moments."""
    budgets = [Budget(kind, "*", Window.DAY, 5, "Asia/Kathmandu") for kind in ScopeKind]
    budgets += [Budget(kind, "a", Window.HOUR, 7) for kind in ScopeKind]
    book = BudgetBook(budgets)
    for scopes, now_s in callers:
        assert book.charges(scopes, now_s) == BudgetBook(budgets).charges(scopes, now_s)
        of_models = book.model_charges("ab", now_s)
        assert of_models == BudgetBook(budgets).model_charges("ab", now_s)


def test_the_organisation_is_always_charged_and_without_a_limit() -> None:
    assert BudgetBook([]).charges(SCOPES, 0) == (
        Charge("org:o|total|0", "org:o", Window.TOTAL, None, None),
    )
    budget = Budget(ScopeKind.ORG, "*", Window.TOTAL, 5)
    limited = BudgetBook([budget]).charges(SCOPES, 0)
    assert limited == (Charge("org:o|total|0", "org:o", Window.TOTAL, 5, None, budget=budget),)


def test_every_scope_of_a_request_is_charged_to_its_own_account() -> None:
    book = BudgetBook(Budget(kind, "*", Window.TOTAL, 5) for kind in ScopeKind)
    accounts = [charge.account for charge in book.charges(SCOPES, 0)]
    assert accounts == [
        *[f"{kind}:{kind[0]}|total|0" for kind in ScopeKind if kind not in ("model", "tag")],
        "tag:t=1|total|0",
    ]
    [[of_model]] = book.model_charges(["m"], 0).values()
    assert of_model.account == "model:m|total|0"


def test_the_runs_above_a_run_and_every_tag_are_charged() -> None:
    book = BudgetBook(Budget(kind, "*", Window.TOTAL, 5) for kind in (ScopeKind.RUN, ScopeKind.TAG))
    scopes = Scopes("o", "t", "k", "w", "r3", parents=("r2", "r1"), tags=("a=1", "b=2"))
    assert [charge.scope for charge in book.charges(scopes, 0)[1:]] == [
        "run:r3",
        "run:r2",
        "run:r1",
        "tag:a=1",
        "tag:b=2",
    ]


@pytest.mark.parametrize("kind", [kind for kind in ScopeKind if kind is not ScopeKind.MODEL])
def test_of_wide_budgets_the_most_specific_one_counts(kind: ScopeKind) -> None:
    """Each window and unit by itself: the others still count."""
    budgets = [
        Budget(kind, name, Window.DAY, limit)
        for name, limit in (("*", 9), ("a/*", 7), ("a/b*", 5), ("a/bcd", 3), ("x/*", 1))
    ]
    budgets += [Budget(kind, "a/*", Window.DAY, 70, unit=Unit.TOKENS)]
    budgets += [Budget(kind, "*", Window.MONTH, 90)]
    book = BudgetBook(budgets)

    def limits(name: str) -> dict[tuple[str, str], int | None]:
        scopes = Scopes(name, name, name, name, name, user=name, tags=(name,))
        found = of_kind(book.charges(scopes, 0), kind)
        return {
            (charge.window.value, charge.unit.value): charge.limit_nano
            for charge in found
            if charge.limit_nano is not None
        }

    month, tokens = {("month", "usd"): 90}, {("day", "tokens"): 70}
    assert limits("a/bcd") == {("day", "usd"): 3} | month | tokens
    assert limits("a/bce") == {("day", "usd"): 5} | month | tokens
    assert limits("a/z") == {("day", "usd"): 7} | month | tokens
    assert limits("b/z") == {("day", "usd"): 9} | month


def test_each_unit_has_an_account_of_its_own() -> None:
    book = BudgetBook(Budget(ScopeKind.USER, "*", Window.DAY, 5, unit=unit) for unit in UNITS)
    found = of_kind(book.charges(SCOPES, 0), ScopeKind.USER)
    assert [(charge.account, charge.unit) for charge in found] == [
        ("user:u|day|0", Unit.USD),
        ("user:u|day/tokens|0", Unit.TOKENS),
        ("user:u|day/requests|0", Unit.REQUESTS),
    ]


def test_only_models_with_a_budget_are_charged() -> None:
    assert not BudgetBook([]).caps_models
    assert BudgetBook([]).model_charges(["gpt-5"], 0) == {}
    book = BudgetBook([Budget(ScopeKind.MODEL, "gpt-*", Window.DAY, 5)])
    assert book.caps_models
    assert set(book.model_charges(["gpt-5", "llama"], 0)) == {"gpt-5"}
    assert of_kind(book.charges(SCOPES, 0), ScopeKind.MODEL) == []


def test_a_book_names_the_tags_of_which_every_value_has_a_budget() -> None:
    names = ("lab/use=*", "lab/use=a*", "lab/env=*", "lab/on=1", "lab/x*", "bar/use=*", "*")
    book = BudgetBook(Budget(ScopeKind.TAG, name, Window.DAY, 5) for name in names)
    assert book.tag_names("lab") == ("use", "env")
    assert (book.tag_names("bar"), book.tag_names("none")) == (("use",), ())


def test_a_book_says_how_an_id_begins_that_has_all_wide_budgets_of_another() -> None:
    book = BudgetBook(
        Budget(ScopeKind.USER, name, Window.DAY, 5) for name in ("*", "lab/*", "lab/vip-*", "lab/a")
    )
    begins = [book.beginning(ScopeKind.USER, name) for name in ("lab/vip-1", "lab/a", "bar/b")]
    assert begins == ["lab/vip-", "lab/", ""]
    assert book.beginning(ScopeKind.RUN, "lab/a") == ""
    assert book.has_own(ScopeKind.USER, "lab/a")
    assert not book.has_own(ScopeKind.USER, "lab/*")
    assert not book.has_own(ScopeKind.RUN, "lab/a")


def test_a_budget_of_ones_own_replaces_the_general_one_of_its_window_only() -> None:
    book = BudgetBook(
        [
            Budget(ScopeKind.KEY, "*", Window.DAY, 10),
            Budget(ScopeKind.KEY, "*", Window.MONTH, 100),
            Budget(ScopeKind.KEY, "k", Window.DAY, 50),
            Budget(ScopeKind.KEY, "other", Window.DAY, 1),
        ]
    )
    limits = {c.window: c.limit_nano for c in of_kind(book.charges(SCOPES, 0), ScopeKind.KEY)}
    assert limits == {Window.DAY: 50, Window.MONTH: 100}
    stranger = Scopes(org="o", team="t", key="never-seen", workflow="w", run="r")
    limits = {c.window: c.limit_nano for c in of_kind(book.charges(stranger, 0), ScopeKind.KEY)}
    assert limits == {Window.DAY: 10, Window.MONTH: 100}


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_budgets_on_one_account_the_tighter_decides(order: int) -> None:
    budgets = [Budget(ScopeKind.TEAM, "t", Window.HOUR, 7, "UTC")]
    budgets.append(Budget(ScopeKind.TEAM, "t", Window.HOUR, 9, "Asia/Kathmandu"))
    (charge,) = of_kind(BudgetBook(budgets[::order]).charges(SCOPES, 0), ScopeKind.TEAM)
    assert charge.limit_nano == 7


def test_one_scope_has_a_window_in_each_of_two_time_zones() -> None:
    budgets = [Budget(ScopeKind.TEAM, "t", Window.DAY, 7, zone) for zone in ("UTC", "Asia/Tokyo")]
    charges = of_kind(BudgetBook(budgets).charges(SCOPES, 1_793_491_200), ScopeKind.TEAM)
    assert len({charge.account for charge in charges}) == 2


def test_a_run_of_one_request_is_limited_and_leaves_no_account() -> None:
    book = BudgetBook([Budget(ScopeKind.RUN, "*", Window.TOTAL, 7)])
    alone = of_kind(book.charges(SCOPES, 0, lone_run=True), ScopeKind.RUN)
    shared = of_kind(book.charges(SCOPES, 0), ScopeKind.RUN)
    assert [(charge.lone, charge.limit_nano) for charge in alone] == [(True, 7)]
    assert [(charge.lone, charge.limit_nano) for charge in shared] == [(False, 7)]


@pytest.mark.parametrize(
    ("limit_nano", "at", "expected"),
    [
        (1_000, (), 1_000),
        (1_000, (Threshold(900, Action.REFUSE),), 900),
        (1_000, (Threshold(500, Action.DEGRADE), Threshold(1_000, Action.REFUSE)), 1_000),
        (999, (Threshold(1, Action.REFUSE),), 0),
        (10_001, (Threshold(999, Action.REFUSE),), 9_990),
        (0, (Threshold(500, Action.REFUSE),), 0),
    ],
)
def test_a_share_at_which_requests_are_refused_is_the_limit_they_meet(
    limit_nano: int, at: tuple[Threshold, ...], expected: int
) -> None:
    for window in (Window.DAY, RollingWindow(86_400)):
        budget = Budget(ScopeKind.TEAM, "*", window, limit_nano, at=at)
        assert budget.refuse_nano == expected
        (charge,) = of_kind(BudgetBook([budget]).charges(SCOPES, 0), ScopeKind.TEAM)
        assert (charge.limit_nano, charge.budget) == (expected, budget)


def test_the_limit_that_requests_meet_says_which_of_two_budgets_is_tighter() -> None:
    low = Budget(ScopeKind.TEAM, "t", Window.HOUR, 10, "UTC", (Threshold(500, Action.REFUSE),))
    high = Budget(ScopeKind.TEAM, "t", Window.HOUR, 7, "Asia/Kathmandu")
    for budgets in ([low, high], [high, low]):
        (charge,) = of_kind(BudgetBook(budgets).charges(SCOPES, 0), ScopeKind.TEAM)
        assert charge.limit_nano == 5


def test_a_book_knows_whether_any_budget_asks_for_cheaper_tiers() -> None:
    plain = Budget(ScopeKind.TEAM, "t", Window.HOUR, 7, at=(Threshold(500, Action.ALERT),))
    asking = replace(plain, at=(Threshold(500, Action.DEGRADE),))
    book = BudgetBook([plain])
    assert not book.degrades
    book.change([plain, asking])
    assert book.degrades
    assert asking.permille_of(Action.DEGRADE) == (500,)
    assert asking.permille_of(Action.ALERT) == ()
