"""Who is charged, and where a window begins and ends on the clocks of the world."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.scopes import (
    Budget,
    ScopeKind,
    Scopes,
    Unit,
    Window,
    account_id,
    covers,
    stand_ins,
    window_span,
)
from tests.unit.budgets.moments import MOMENTS, ZONES

CALENDAR = (Window.DAY, Window.WEEK, Window.MONTH)
SCOPES = Scopes(
    "o", "t", "k", "w", "r", parents=("r2", "r1"), user="u", tags=("x=1", "y=2"), model="m"
)


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


def test_the_epoch_is_inside_its_windows() -> None:
    assert datetime.fromtimestamp(0, UTC).weekday() == 3
    assert window_span(Window.WEEK, "UTC", 0).start_s == -3 * 86_400


def test_a_budget_in_another_unit_says_so_in_its_name() -> None:
    assert Budget(ScopeKind.KEY, "*", Window.MONTH, 5, unit=Unit.TOKENS).name == (
        "key:*/month/tokens"
    )


def test_a_request_is_charged_to_its_run_and_to_those_that_opened_it() -> None:
    assert SCOPES.ids_of(ScopeKind.RUN) == ("r", "r2", "r1")
    assert SCOPES.ids_of(ScopeKind.TAG) == ("x=1", "y=2")
    assert SCOPES.ids_of(ScopeKind.USER) == ("u",)
    assert SCOPES.with_model("other").ids_of(ScopeKind.MODEL) == ("other",)
    nobody = Scopes("o", "t", "k", "w", "")
    assert [nobody.ids_of(kind) for kind in (ScopeKind.RUN, ScopeKind.USER)] == [(), ()]


@pytest.mark.parametrize(
    ("budget_for", "scope_id", "covered"),
    [
        ("lab/ana", "lab/ana", True),
        ("lab/ana", "lab/anabel", False),
        ("lab/a*", "lab/ana", True),
        ("lab/*", "lab/~overflow", True),
        ("*", "lab/ana", True),
        ("lab/*", "bar/ana", False),
    ],
)
def test_a_budget_covers_what_begins_like_it(budget_for: str, scope_id: str, covered: bool) -> None:
    assert covers(Budget(ScopeKind.USER, budget_for, Window.DAY, 1), scope_id) is covered


def test_what_stands_in_for_a_wide_budget_is_closer_and_counts_the_same() -> None:
    budgets = [
        Budget(ScopeKind.USER, name, Window.DAY, 1) for name in ("*", "lab/*", "lab/ana", "bar/*")
    ]
    others = [
        Budget(ScopeKind.USER, "lab/bo", Window.MONTH, 1),
        Budget(ScopeKind.USER, "lab/bo", Window.DAY, 1, unit=Unit.TOKENS),
        Budget(ScopeKind.RUN, "lab/bo", Window.DAY, 1),
    ]
    found = [stand_ins(budget, [*budgets, *others]) for budget in budgets]
    assert found == [budgets[1:], budgets[2:3], [], []]


def test_a_run_of_its_own_is_left_out_and_nothing_else() -> None:
    whole = Scopes("o", "t", "k", "t/w", "t/r", ("t/p",), "t/u", ("t/a=b",), "m")
    assert whole.without_run() == replace(whole, run="")
