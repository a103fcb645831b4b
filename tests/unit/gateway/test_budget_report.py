"""The state of every budget: one row for each scope that it applies to."""

from collections.abc import Collection, Mapping

from budgets.actions import Action, Threshold
from budgets.ledger import Account
from budgets.rolling import RollingWindow
from budgets.scopes import AnyWindow, Budget, ScopeKind, Unit, Window, window_span
from gateway.budget_report import budget_rows

NOW_S = 1_790_000_000
DAY = window_span(Window.DAY, "UTC", NOW_S)


def rows(budgets: list[Budget], known: Mapping[str, Account]) -> list[tuple[str, int, int]]:
    asked: list[tuple[ScopeKind, AnyWindow, Collection[int]]] = []
    units: list[Unit] = []

    def accounts(
        kind: ScopeKind, window: AnyWindow, starts: Collection[int], unit: Unit
    ) -> Mapping[str, Account]:
        asked.append((kind, window, starts))
        units.append(unit)
        return known

    found = budget_rows(budgets, accounts, NOW_S)
    assert all(list(starts) in ([0], [DAY.start_s]) for _, _, starts in asked)
    assert units == [budget.unit for budget in budgets]
    return [(row["scope"], row["limit_nano"], row["posted_nano"]) for row in found]


def test_a_budget_for_one_scope_has_a_row_before_anything_is_spent() -> None:
    budget = Budget(ScopeKind.TEAM, "lab", Window.DAY, 100)
    assert rows([budget], {}) == [("team:lab", 100, 0)]
    assert rows([budget], {"lab": Account(7), "other": Account(9)}) == [("team:lab", 100, 7)]


def test_a_budget_for_each_scope_has_a_row_for_those_that_spent() -> None:
    budget = Budget(ScopeKind.KEY, "*", Window.TOTAL, 100)
    assert rows([budget], {}) == []
    assert rows([budget], {"a": Account(1), "b": Account(2)}) == [
        ("key:a", 100, 1),
        ("key:b", 100, 2),
    ]


def test_a_scope_with_a_budget_of_its_own_is_shown_with_that_one() -> None:
    each = Budget(ScopeKind.KEY, "*", Window.DAY, 100)
    own = Budget(ScopeKind.KEY, "a", Window.DAY, 50)
    known = {"a": Account(1), "b": Account(2)}
    assert rows([each, own], known) == [("key:b", 100, 2), ("key:a", 50, 1)]
    other_window = Budget(ScopeKind.KEY, "a", Window.TOTAL, 50)
    assert [row[0] for row in rows([each, other_window], known)] == ["key:a", "key:b", "key:a"]
    other_unit = Budget(ScopeKind.KEY, "a", Window.DAY, 50, unit=Unit.TOKENS)
    assert [row[0] for row in rows([each, other_unit], known)] == ["key:a", "key:b", "key:a"]


def test_of_wide_budgets_the_most_specific_one_shows_a_scope() -> None:
    wide = [Budget(ScopeKind.USER, name, Window.DAY, 9) for name in ("*", "lab/*", "lab/a*")]
    own = Budget(ScopeKind.USER, "lab/ada", Window.DAY, 9)
    known = {name: Account(1) for name in ("bar/x", "lab/bo", "lab/al", "lab/ada")}
    found = budget_rows([*wide, own], lambda *_: known, NOW_S)
    assert [(row["name"], row["scope"]) for row in found] == [
        ("user:*/day", "user:bar/x"),
        ("user:lab/*/day", "user:lab/bo"),
        ("user:lab/a*/day", "user:lab/al"),
        ("user:lab/ada/day", "user:lab/ada"),
    ]


def test_budgets_in_other_units_have_rows_of_their_own_accounts() -> None:
    budgets = [Budget(ScopeKind.KEY, "*", Window.DAY, 9, unit=unit) for unit in Unit]

    def accounts(_: ScopeKind, __: AnyWindow, ___: object, unit: Unit) -> Mapping[str, Account]:
        return {"a": Account(list(Unit).index(unit))}

    found = budget_rows(budgets, accounts, NOW_S)
    assert [(row["unit"], row["posted_nano"]) for row in found] == [
        (unit.value, place) for place, unit in enumerate(Unit)
    ]


def test_a_row_says_what_is_held_overdrawn_and_when_it_starts_again() -> None:
    at = (Threshold(500, Action.ALERT), Threshold(900, Action.REFUSE))
    budget = Budget(ScopeKind.ORG, "acme", Window.DAY, 100, "UTC", at)
    [row] = budget_rows([budget], lambda *_: {"acme": Account(120, 5, 20)}, NOW_S)
    assert row == {
        "name": "org:acme/day",
        "scope": "org:acme",
        "window": "day",
        "unit": "usd",
        "timezone": "UTC",
        "limit_nano": 100,
        "posted_nano": 120,
        "held_nano": 5,
        "overrun_nano": 20,
        "resets_at_s": DAY.end_s,
        "refuse_nano": 90,
        "landing": 0.0,
        "at": [{"share": 0.5, "action": "alert"}, {"share": 0.9, "action": "refuse"}],
    }


def test_a_rolling_budget_asks_for_all_its_buckets_and_never_starts_again() -> None:
    window = RollingWindow(86_400)
    asked: list[Collection[int]] = []

    def accounts(
        _: ScopeKind, __: AnyWindow, starts: Collection[int], ___: Unit
    ) -> Mapping[str, Account]:
        asked.append(starts)
        return {"a": Account(7)}

    [row] = budget_rows([Budget(ScopeKind.KEY, "*", window, 100)], accounts, NOW_S)
    assert asked == [window.counted_starts(NOW_S)]
    assert (row["window"], row["posted_nano"], row["resets_at_s"]) == ("24h", 7, None)
