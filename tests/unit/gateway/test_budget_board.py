"""The board of budgets over a real ledger and a real registry."""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from budgets.budget_book import BudgetBook
from budgets.ledger import Account
from budgets.openings import counting_names
from budgets.scopes import AnyWindow, Budget, ScopeKind, Scopes, Unit, Window, account_id
from budgets.stores.in_memory import InMemoryLedger
from budgets.stores.in_sqlite import SqliteLedger
from budgets.stores.sqlite_books import SqliteBooks, open_books
from gateway import budget_board
from gateway.budget_board import BudgetBoard, with_burndown, with_sources
from gateway.budget_registry import BudgetFault, BudgetRegistry, read_budget
from gateway.budget_report import Accounts, budget_rows
from gateway.budgets_in_effect import BudgetsInEffect
from gateway.registries.in_sqlite import SqliteBudgets
from tests.contracts.ledger_backends import event, held, reservation
from tests.unit.gateway.desks import SHAPER, run

NOW_MS = 1_793_491_200_000
DAY = Budget(ScopeKind.KEY, "a", Window.DAY, 100)
TERMS = {"scope": "key:a", "window": "day", "limit_usd": "1"}


def accounts(
    _: ScopeKind, __: AnyWindow, ___: Collection[int], ____: Unit
) -> Mapping[str, Account]:
    return {"a": Account(30, 20)}


async def no_query(name: str, params: dict[str, Any]) -> list[dict[str, Any]]:
    assert (name, params["kind"], params["unit"]) == ("spend_by_scope", "key", "usd")
    return [{"scope_id": "a", "requests": 6, "spent": 24, "first_ms": NOW_MS - 7_200_000}]


def test_a_row_says_where_its_budget_comes_from_and_what_is_left() -> None:
    rows = budget_rows([DAY], accounts, NOW_MS // 1_000)
    [from_file] = with_sources(rows, [DAY], set())
    assert (from_file["source"], from_file["left_nano"]) == ("config", 50)
    [in_place] = with_sources(rows, [DAY], {DAY.name})
    assert (in_place["source"], in_place["replaces_config"]) == ("api", True)
    [of_its_own] = with_sources(rows, [], {DAY.name})
    assert (of_its_own["source"], of_its_own["replaces_config"]) == ("api", False)


def test_a_burn_down_rests_on_what_the_warehouse_says_of_the_scope() -> None:
    rows = with_sources(budget_rows([DAY], accounts, NOW_MS // 1_000), [DAY], set())
    [row] = run(with_burndown(DAY, rows, no_query, NOW_MS))
    assert row["sample"] == {"requests": 6, "spent_nano": 24, "span_s": 7_200}
    # 12 nano-USD an hour leave 50 for a little more than four hours.
    assert row["burndown"]["nano_per_hour"] == 12
    assert row["burndown"]["runs_out_at_s"] == NOW_MS // 1_000 + 50 * 300


def test_a_change_is_noted_as_counting_once_nothing_can_be_missed(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(budget_board, "ADMISSION_S", 0.0)

    @contextmanager
    def books() -> Iterator[SqliteBooks]:
        with open_books(tmp_path / "ledger.sqlite3") as opened:
            yield opened

    @contextmanager
    def accounts() -> Iterator[Accounts]:
        with books() as opened:
            yield opened.accounts

    async def story() -> None:
        ledger = SqliteLedger(tmp_path / "ledger.sqlite3", SHAPER)
        registry = BudgetRegistry(SqliteBudgets(tmp_path / "keys.sqlite3"))
        book = BudgetBook([DAY])
        current = BudgetsInEffect(book, registry)
        board = BudgetBoard(current, accounts, ledger, books, no_query, lambda: NOW_MS, ("tiny",))
        await board.start()
        section = read_budget({**TERMS, "timezone": "Asia/Tokyo"})
        assert await board.put(section, "k1") == DAY.name
        assert book.budgets == (section.to_budget(),)
        assert set(await ledger.counting()) == set()
        [name] = counting_names([section.to_budget()])
        while name not in await ledger.counting():
            await asyncio.sleep(0)
        with pytest.raises(BudgetFault, match="scope: no model is called 'tinny'; defined: tiny"):
            await board.put(read_budget({**TERMS, "scope": "model:tinny"}), "k1")
        assert await board.remove(DAY.name, "k2")
        assert book.budgets == (DAY,)
        assert not await board.remove(DAY.name, "k2")
        assert [change["who"] for change in await board.changes()] == ["k2", "k1"]
        await board.stop()
        await registry.aclose()
        ledger.close()

    run(story())


def test_a_start_while_others_hold_money_counts_what_their_requests_come_to(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(budget_board, "ADMISSION_S", 0.0)
    monkeypatch.setattr(budget_board, "AGAIN_S", 0.0)
    account = account_id(ScopeKind.KEY, "a", Window.DAY, NOW_MS // 86_400_000 * 86_400)

    async def story() -> None:
        ledger = InMemoryLedger(SHAPER)
        registry = BudgetRegistry(SqliteBudgets(tmp_path / "keys.sqlite3"))
        board = BudgetBoard(
            BudgetsInEffect(BudgetBook([DAY]), registry),
            lambda: nullcontext(accounts),
            ledger,
            lambda: nullcontext(ledger),
            no_query,
            lambda: NOW_MS + 1,
            (),
        )
        wish = reservation("h1", 70, now_ms=NOW_MS)
        hold = await held(ledger, replace(wish, scopes=Scopes("o", "t", "a", "t/w", "")))
        assert await board.start() == 0
        for _ in range(20):
            await asyncio.sleep(0)
            assert set(await ledger.counting()) == set()
        away = await ledger.dispatch(hold, b"h1")
        await ledger.settle(away, 40, event("h1"))
        while not await ledger.counting():
            await asyncio.sleep(0)
        assert (await ledger.survey([account]))[account] == Account(40)
        await board.stop()
        await registry.aclose()

    run(story())
