"""Budgets that are set while the gateway runs, in a real file."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from budgets.rolling import RollingWindow
from budgets.scopes import Budget, ScopeKind, Unit, Window
from gateway.budget_registry import (
    BudgetFault,
    BudgetRegistry,
    in_effect,
    read_budget,
    read_budget_json,
    terms_of,
)
from gateway.registries.in_sqlite import SqliteBudgets
from gateway.registries.port import RegistryError
from tests.unit.gateway.desks import run

MONTH = {"scope": "key:a", "window": "month", "limit_usd": "12.50", "timezone": "Asia/Kathmandu"}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[BudgetRegistry]:
    registry = BudgetRegistry(SqliteBudgets(tmp_path / "keys.sqlite3"))
    yield registry
    run(registry.aclose())


def test_a_budget_is_kept_and_comes_back_as_it_was_set(
    registry: BudgetRegistry, tmp_path: Path
) -> None:
    rolling = {"scope": "workflow:*", "window": "1d", "limit_usd": 2}
    tokens = {"scope": "key:a", "window": "month", "limit_tokens": "2_000_000"}
    requests = {"scope": "user:lab/*", "window": "hour", "limit_requests": 500}
    landing = {"scope": "run:*", "window": "total", "limit_usd": 1, "landing": "0.125"}
    assert run(registry.put(read_budget(MONTH), "admin", 5)) == "key:a/month"
    assert run(registry.put(read_budget(rolling), "admin", 6)) == "workflow:*/24h"
    assert run(registry.put(read_budget(tokens), "admin", 7)) == "key:a/month/tokens"
    assert run(registry.put(read_budget(requests), "admin", 8)) == "user:lab/*/hour/requests"
    assert run(registry.put(read_budget(landing), "admin", 9)) == "run:*/total"
    again = BudgetRegistry(SqliteBudgets(tmp_path / "keys.sqlite3"))
    assert run(again.budgets()) == [
        Budget(ScopeKind.KEY, "a", Window.MONTH, 12_500_000_000, "Asia/Kathmandu"),
        Budget(ScopeKind.KEY, "a", Window.MONTH, 2_000_000, unit=Unit.TOKENS),
        Budget(ScopeKind.RUN, "*", Window.TOTAL, 10**9, landing_permille=125),
        Budget(ScopeKind.USER, "lab/*", Window.HOUR, 500, unit=Unit.REQUESTS),
        Budget(ScopeKind.WORKFLOW, "*", RollingWindow(86_400), 2_000_000_000),
    ]
    run(again.aclose())


def test_actions_come_back_as_they_were_set_and_as_a_person_would_write_them(
    registry: BudgetRegistry,
) -> None:
    at = [{"share": "0.9", "action": "degrade"}, {"share": "0.955", "action": "refuse"}]
    section = read_budget({**MONTH, "alert_at": ["0.8"], "at": at})
    run(registry.put(section, "admin", 5))
    [budget] = run(registry.budgets())
    assert budget == section.to_budget()
    assert [(entry.permille, entry.action.value) for entry in budget.at] == [
        (800, "alert"),
        (900, "degrade"),
        (955, "refuse"),
    ]
    [change] = run(registry.changes())
    assert change.after is not None
    assert (change.after["alert_at"], change.after["at"]) == (["0.8"], at)
    assert read_budget(change.after) == section
    assert "at" not in terms_of(read_budget(MONTH))


def test_every_change_is_noted_with_before_and_after(registry: BudgetRegistry) -> None:
    first, second = read_budget(MONTH), read_budget({**MONTH, "limit_usd": "1"})
    run(registry.put(first, "k1", 5))
    run(registry.put(second, "k2", 6))
    assert run(registry.remove("key:a/month", "k3", 7))
    assert not run(registry.remove("key:a/month", "k4", 8))
    told = [
        (change.at_ms, change.who, change.what, change.before, change.after)
        for change in run(registry.changes())
    ]
    assert told == [
        (7, "k3", "deleted", terms_of(second), None),
        (6, "k2", "set", terms_of(first), terms_of(second)),
        (5, "k1", "set", None, terms_of(first)),
    ]
    assert run(registry.budgets()) == []


@pytest.mark.parametrize(
    "statement", ["DELETE FROM budget_change", "UPDATE budget_change SET who=1"]
)
def test_a_noted_change_can_be_neither_edited_nor_deleted(
    registry: BudgetRegistry, tmp_path: Path, statement: str
) -> None:
    run(registry.put(read_budget(MONTH), "k1", 5))
    with (
        sqlite3.connect(tmp_path / "keys.sqlite3") as file,
        pytest.raises(sqlite3.IntegrityError, match="only ever added"),
    ):
        file.execute(statement)


@pytest.mark.parametrize(
    ("terms", "key", "message"),
    [
        ({**MONTH, "limit_usd": "2,00"}, "limit_usd", "expected dollars such as"),
        ({**MONTH, "window": "moth"}, "window", 'did you mean "month"'),
        ({**MONTH, "scope": "keys:a"}, "scope", "expected org, team:NAME"),
        ({**MONTH, "timezone": "Nepal"}, "timezone", "no known IANA time zone"),
        (
            {"scope": "org", "window": "day", "limit_usd": 1, "timezon": "UTC"},
            "timezon",
            'unknown key (did you mean "timezone"?)',
        ),
        ({"scope": "org", "window": "day"}, "", "give exactly one of limit_usd, limit_tokens"),
        ({**MONTH, "limit_tokens": 5}, "", "give exactly one of"),
        (
            {"scope": "org", "window": "day", "limit_tokens": "5.5"},
            "limit_tokens",
            "expected a whole number such as 100000",
        ),
        ([], "", "expected a table"),
        (
            {**MONTH, "at": [{"share": 1, "action": "refuse"}, {"share": 0.9, "action": "degrad"}]},
            "at[1].share",
            "expected a share",
        ),
        ({**MONTH, "at": [{"share": "0.9", "action": "degrad"}]}, "at[0].action", '"degrade"?'),
        ({**MONTH, "at": [{"share": "0.9", "acton": "alert"}]}, "at[0].action", "is missing"),
        ({**MONTH, "at": [{"share": "0.9"}]}, "at[0].action", "is missing"),
        ({**MONTH, "at": []}, "at", "at least 1 item"),
    ],
)
def test_terms_that_are_no_budget_are_refused_as_in_the_configuration(
    terms: Any, key: str, message: str
) -> None:
    with pytest.raises(BudgetFault) as caught:
        read_budget(terms)
    assert caught.value.key == key
    assert message in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'"x"', b"[" * 60_000, b" " * 70_000])
def test_a_body_that_is_no_budget_is_refused(text: bytes) -> None:
    with pytest.raises(BudgetFault):
        read_budget_json(text)


def test_numbers_of_a_json_body_are_exact() -> None:
    text = b'{"scope": "org", "window": "day", "limit_usd": 0.000000001}'
    assert read_budget_json(text).limit_usd == 1


def test_what_is_set_replaces_what_is_configured_under_the_same_name() -> None:
    configured = [Budget(ScopeKind.KEY, "a", window, 1) for window in (Window.DAY, Window.MONTH)]
    stored = [Budget(ScopeKind.KEY, "a", Window.DAY, 9), Budget(ScopeKind.KEY, "*", Window.DAY, 8)]
    assert in_effect(configured, stored) == (configured[1], *stored)


def test_a_file_that_is_no_registry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys.sqlite3").write_bytes(b"not a database" * 100)
    with pytest.raises(RegistryError, match=r"keys\.sqlite3"):
        SqliteBudgets(tmp_path / "keys.sqlite3")


def test_a_damaged_budget_is_named_and_not_ignored(
    registry: BudgetRegistry, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "keys.sqlite3") as file:
        file.execute("INSERT INTO budget VALUES ('org:*/day', '{}')")
    with pytest.raises(RegistryError, match="cannot be read"):
        run(registry.budgets())
