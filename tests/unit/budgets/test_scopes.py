"""Who is charged, and where a window begins and ends on the clocks of the world."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from budgets.actions import Action, Threshold
from budgets.rolling import RollingWindow
from budgets.scopes import (
    Budget,
    BudgetBook,
    Charge,
    ScopeKind,
    Scopes,
    Window,
    account_id,
    window_span,
)

ZONES = st.one_of(
    st.sampled_from(["Pacific/Kiritimati", "America/New_York", "Asia/Kathmandu", "UTC"]),
    st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"})),
)
# From 2012 on: before, St John's changed its clock a minute past midnight, so that one day fell
# into two pieces and no span could hold it.
MOMENTS = st.one_of(
    st.integers(1_325_376_000, 4_070_908_800),
    st.builds(
        lambda day, offset_s: day * 86_400 + offset_s,
        st.integers(15_400, 40_000),
        st.integers(-50_400, 50_400),
    ),
)
CALENDAR = (Window.DAY, Window.WEEK, Window.MONTH)
SCOPES = Scopes(org="o", team="t", key="k", workflow="w", run="r")


def period_of(window: Window, zone: ZoneInfo) -> Callable[[int], date]:
    """The first day of the day, week or month that a moment's wall clock shows."""

    def period(moment_s: int) -> date:
        day = datetime.fromtimestamp(moment_s, zone).date()
        if window is Window.WEEK:
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if window is Window.MONTH else day

    return period


@pytest.mark.parametrize("window", CALENDAR)
@given(zone_name=ZONES, now_s=MOMENTS)
def test_a_window_is_all_the_seconds_whose_wall_clock_shows_the_same_period(
    window: Window, zone_name: str, now_s: int
) -> None:
    period = period_of(window, ZoneInfo(zone_name))
    span = window_span(window, zone_name, now_s)
    assert span.end_s is not None
    assert span.start_s <= now_s < span.end_s
    assert period(span.start_s) == period(now_s) == period(span.end_s - 1)
    assert period(span.start_s - 1) < period(now_s) < period(span.end_s)


def at(zone: str, *wall: int, fold: int = 0) -> int:
    return int(datetime(*wall, tzinfo=ZoneInfo(zone), fold=fold).timestamp())  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", (2026, 3, 8), 23),
        ("America/New_York", (2026, 11, 1), 25),
        ("America/New_York", (2026, 7, 1), 24),
        ("Asia/Kathmandu", (2026, 3, 8), 24),
        ("America/Santiago", (2026, 9, 6), 23),
        ("America/Santiago", (2026, 4, 4), 25),
        ("America/Havana", (2026, 11, 1), 25),
        ("Africa/Cairo", (2026, 4, 24), 23),
        ("Asia/Beirut", (2026, 3, 29), 23),
        ("Australia/Lord_Howe", (2026, 4, 5), 24.5),
    ],
)
def test_a_day_has_the_hours_its_clock_gives_it(
    zone: str, day: tuple[int, int, int], hours: float
) -> None:
    span = window_span(Window.DAY, zone, at(zone, *day, 12))
    assert span.end_s is not None
    assert (span.end_s - span.start_s) / 3600 == hours


def test_both_midnights_of_a_clock_set_back_belong_to_one_day() -> None:
    first = at("America/Havana", 2026, 11, 1, 0, 30)
    second = at("America/Havana", 2026, 11, 1, 0, 30, fold=1)
    assert second - first == 3600
    assert window_span(Window.DAY, "America/Havana", first) == window_span(
        Window.DAY, "America/Havana", second
    )


@pytest.mark.parametrize(
    ("year", "month", "days"),
    [(2026, 2, 28), (2028, 2, 29), (2100, 2, 28), (2026, 1, 31), (2026, 4, 30), (2026, 12, 31)],
)
def test_a_month_ends_after_its_last_day(year: int, month: int, days: int) -> None:
    for day in (1, 15, days):
        span = window_span(
            Window.MONTH, "Pacific/Kiritimati", at("Pacific/Kiritimati", year, month, day, 23)
        )
        assert span.end_s is not None
        assert span.end_s - span.start_s == days * 86_400
        assert span.start_s == at("UTC", year, month, 1) - 14 * 3600


def test_a_day_that_a_zone_skipped_has_no_length() -> None:
    """Samoa went from the 29th to the 31st of December 2011 at midnight."""
    before = window_span(Window.DAY, "Pacific/Apia", at("Pacific/Apia", 2011, 12, 29, 12))
    after = window_span(Window.DAY, "Pacific/Apia", at("Pacific/Apia", 2011, 12, 31, 12))
    assert before.end_s == after.start_s


@given(MOMENTS)
def test_an_hour_is_absolute_and_total_never_ends(now_s: int) -> None:
    span = window_span(Window.HOUR, "Asia/Kathmandu", now_s)
    assert span.start_s % 3600 == 0 and span.start_s <= now_s < span.start_s + 3600
    assert span.end_s == span.start_s + 3600
    assert window_span(Window.TOTAL, "UTC", now_s).end_s is None


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
            st.builds(Scopes, *[st.sampled_from("ab")] * 5),
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
    assert accounts == [f"{kind}:{kind[0]}|total|0" for kind in ScopeKind]


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


NAMES = st.text(st.sampled_from("ab|:0total"), min_size=1, max_size=12)
PARTIES = st.tuples(
    st.sampled_from(list(ScopeKind)), NAMES, st.sampled_from(list(Window)), st.integers(0, 5)
)


@given(PARTIES, PARTIES)
def test_two_parties_or_windows_never_share_an_account(
    one: tuple[ScopeKind, str, Window, int], two: tuple[ScopeKind, str, Window, int]
) -> None:
    assert (account_id(*one) == account_id(*two)) == (one == two)


def test_a_budget_is_named_after_its_scope_and_window() -> None:
    assert Budget(ScopeKind.KEY, "*", Window.MONTH, 5).name == "key:*/month"


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


def test_the_epoch_is_inside_its_windows() -> None:
    assert datetime.fromtimestamp(0, UTC).weekday() == 3
    assert window_span(Window.WEEK, "UTC", 0).start_s == -3 * 86_400


def test_a_run_of_one_request_is_limited_and_leaves_no_account() -> None:
    book = BudgetBook([Budget(ScopeKind.RUN, "*", Window.TOTAL, 7)])
    alone = of_kind(book.charges(SCOPES, 0, lone_run=True), ScopeKind.RUN)
    shared = of_kind(book.charges(SCOPES, 0), ScopeKind.RUN)
    assert [(charge.lone, charge.limit_nano) for charge in alone] == [(True, 7)]
    assert [(charge.lone, charge.limit_nano) for charge in shared] == [(False, 7)]
