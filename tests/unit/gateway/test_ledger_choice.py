"""The ledger that the configuration names, opened and read."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from budgets.budget_book import BudgetBook
from budgets.ledger import Hold, LedgerError, Reservation, open_hold
from budgets.scopes import Budget, ScopeKind, Scopes, Unit, Window
from budgets.stores.in_sqlite import SqliteLedger
from gateway.clock import now_ms
from gateway.data_dir import DataDir
from gateway.ledger_choice import LedgerChoice, clock_of, collectable
from gateway.tally import Tally
from telemetry.warehouse import Warehouse
from tests.unit.gateway.desks import run
from tests.unit.gateway.gateways import settings_in


def test_without_a_word_about_it_the_ledger_is_a_file(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    data = DataDir(settings.data_dir)
    choice = LedgerChoice(settings, data)

    async def look() -> None:
        async with AsyncExitStack() as stack, AsyncExitStack() as owner:
            owner.enter_context(data.owned())
            ledger = await choice.open(stack, Tally())
            assert isinstance(ledger, SqliteLedger)
            assert clock_of(ledger) is now_ms
            with choice.spending() as spending:
                assert (list(spending.spent_by_party(0, None)), spending.as_of) == ([], "")
            assert collectable(ledger, 0, 9) == []
            with choice.books() as books:
                assert list(books.faults()) == []
            with choice.accounts() as accounts:
                assert accounts(ScopeKind.ORG, Window.TOTAL, [0]) == {}
            assert (choice.open_holds(), choice.open_runs(), choice.owed_endings()) == (
                0,
                set(),
                (0, 0),
            )

    run(look())


def test_the_largest_scopes_of_a_wide_budget_are_those_it_decides_for(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    data = DataDir(settings.data_dir)
    choice = LedgerChoice(settings, data)
    wide, closer, tokens = (
        Budget(ScopeKind.USER, name, Window.TOTAL, 100, unit=unit)
        for name, unit in (("*", Unit.USD), ("lab/*", Unit.USD), ("lab/*", Unit.TOKENS))
    )
    own = Budget(ScopeKind.USER, "bar/ceo", Window.TOTAL, 100)

    async def look() -> None:
        async with AsyncExitStack() as stack, AsyncExitStack() as owner:
            owner.enter_context(data.owned())
            ledger = await choice.open(stack, Tally())
            book = BudgetBook([wide, closer, tokens, own])
            for number, user in enumerate(("lab/ana", "lab/bo", "bar/cy", "bar/ceo"), 1):
                charges = book.charges(Scopes("o", "t", "k", "w", "", user=user), 0)
                wish = Reservation(f"h{number}", number, charges, 0, 1_000, tokens=10 * number)
                assert isinstance(await ledger.reserve(wish), Hold)
                await ledger.dispatch(open_hold(wish), b"{}")
            largest = [
                (number, {name: account.held_nano for name, account in found.items()})
                for number, found in (
                    choice.largest(wide, 0, [own], 9),
                    choice.largest(wide, 0, [closer, own], 9),
                    choice.largest(closer, 0, [], 1),
                    choice.largest(tokens, 0, [], 9),
                )
            ]
            assert largest == [
                (3, {"bar/cy": 3, "lab/bo": 2, "lab/ana": 1}),
                (1, {"bar/cy": 3}),
                (2, {"lab/bo": 2}),
                (2, {"lab/bo": 20, "lab/ana": 10}),
            ]

    run(look())


def test_a_ledger_in_a_file_is_not_rebuilt(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    choice = LedgerChoice(settings, DataDir(settings.data_dir))
    with Warehouse.open(tmp_path / "weir.duckdb") as warehouse, pytest.raises(LedgerError):
        run(choice.rebuild(warehouse))
