"""Thresholds: when they are reached, and what of it is news."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.actions import Action, Threshold
from budgets.admission import headroom, surveyed
from budgets.budget_book import BudgetBook
from budgets.ledger import Account
from budgets.rolling import RollingWindow
from budgets.scopes import Budget, Charge, ScopeKind, Scopes, Window
from budgets.thresholds import Crossed, News, Pressure, news, pressure_on, reached

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


SCOPES = Scopes(org="o", team="t", key="k", workflow="t/w", run="t/r")
NOON_S = 1_793_534_400


def charges_of(*budgets: Budget, lone_run: bool = False) -> tuple[Charge, ...]:
    return BudgetBook(budgets).charges(SCOPES, NOON_S, lone_run=lone_run)


def team(*at: tuple[int, Action], limit_nano: int = 1_000) -> Budget:
    entries = tuple(Threshold(*entry) for entry in at)
    return Budget(ScopeKind.TEAM, "t", Window.TOTAL, limit_nano, at=entries)


def test_without_a_limit_there_is_no_pressure() -> None:
    assert pressure_on({"org:o|total|0": Account(9**9)}, charges_of()) is None


@pytest.mark.parametrize(
    ("account", "permille"),
    [
        (Account(), 0),
        (Account(499), 499),
        (Account(0, 500), 500),
        (Account(250, 250), 500),
        (Account(1_000), 1_000),
        (Account(1_200), 1_000),
    ],
)
def test_pressure_is_the_share_that_is_spent_or_held(account: Account, permille: int) -> None:
    charges = charges_of(team())
    assert pressure_on({"team:t|total|0": account}, charges) == Pressure(permille)


def test_the_tightest_budget_makes_the_pressure_also_if_it_asks_for_nothing() -> None:
    key = Budget(ScopeKind.KEY, "*", Window.TOTAL, 100)
    accounts = {"team:t|total|0": Account(600), "key:k|total|0": Account(90)}
    found = pressure_on(accounts, charges_of(key, team((500, Action.DEGRADE))))
    assert found == Pressure(900, Crossed("team:t/total", "team:t", 600, 500))


@pytest.mark.parametrize(("spent", "asked"), [(899, False), (900, True), (1_100, True)])
def test_a_cheaper_tier_is_asked_for_exactly_from_the_share_on(spent: int, asked: bool) -> None:
    charges = charges_of(team((900, Action.DEGRADE), (800, Action.ALERT)))
    found = pressure_on({"team:t|total|0": Account(spent)}, charges)
    assert found is not None
    crossed = Crossed("team:t/total", "team:t", spent, 900)
    assert found.degrade == (crossed if asked else None)


def test_of_two_budgets_that_ask_for_a_cheaper_tier_the_tighter_is_named() -> None:
    key = Budget(ScopeKind.KEY, "*", Window.TOTAL, 100, at=(Threshold(100, Action.DEGRADE),))
    accounts = {"team:t|total|0": Account(600), "key:k|total|0": Account(90)}
    for budgets in ([key, team((500, Action.DEGRADE))], [team((500, Action.DEGRADE)), key]):
        found = pressure_on(accounts, charges_of(*budgets))
        assert found is not None
        assert found.degrade == Crossed("key:*/total", "key:k", 900, 100)


def test_shares_are_those_of_the_limit_also_where_requests_are_refused_earlier() -> None:
    charges = charges_of(team((400, Action.DEGRADE), (500, Action.REFUSE)))
    accounts = {"team:t|total|0": Account(400)}
    assert headroom(accounts, charges).nano == 100
    assert pressure_on(accounts, charges) == Pressure(
        400, Crossed("team:t/total", "team:t", 400, 400)
    )


def test_a_limit_of_nothing_is_used_up() -> None:
    charges = charges_of(team((1_000, Action.DEGRADE), limit_nano=0))
    found = pressure_on({}, charges)
    assert found == Pressure(1_000, Crossed("team:t/total", "team:t", 1_000, 1_000))


def test_a_rolling_window_is_under_the_pressure_of_all_its_buckets() -> None:
    day = RollingWindow(86_400)
    entry = Threshold(500, Action.DEGRADE)
    charges = charges_of(Budget(ScopeKind.TEAM, "*", day, 1_000, at=(entry,)))
    starts = day.counted_starts(NOON_S)
    accounts = {f"team:t|24h|{start_s}": Account(250) for start_s in (starts[0], starts[-2])}
    assert set(accounts) < set(surveyed(charges))
    assert pressure_on(accounts, charges) == Pressure(
        500, Crossed("team:*/24h", "team:t", 500, 500)
    )


def test_a_run_of_one_request_is_under_no_pressure_of_its_own() -> None:
    each = Budget(ScopeKind.RUN, "*", Window.TOTAL, 100, at=(Threshold(1, Action.DEGRADE),))
    assert pressure_on({}, charges_of(each, lone_run=True)) == Pressure(0)


@given(
    posted=st.integers(0, 10**16),
    held=st.integers(0, 10**16),
    limit=st.integers(1, 10**16),
    share=st.integers(1, 1_000),
)
def test_a_share_is_crossed_exactly_where_spent_and_held_reach_it(
    posted: int, held: int, limit: int, share: int
) -> None:
    charges = charges_of(team((share, Action.DEGRADE), limit_nano=limit))
    found = pressure_on({"team:t|total|0": Account(posted, held)}, charges)
    assert found is not None
    reached_it = Decimal(posted + held) >= Decimal(limit) * share / 1_000
    assert (found.degrade is not None) == reached_it
    assert 0 <= found.permille <= 1_000
