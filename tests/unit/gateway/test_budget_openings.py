"""A budget that is set late counts what requests spent before, once."""

from contextlib import nullcontext
from dataclasses import replace

from budgets.budget_book import BudgetBook
from budgets.scopes import Budget, ScopeKind, Window
from budgets.stores.in_memory import InMemoryLedger
from gateway.budget_openings import catch_up, open_accounts
from gateway.clock import now_ms
from tests.unit.gateway.desks import ask, chat, make_desk, new_ledger, run, scripted

MONTH = Budget(ScopeKind.KEY, "*", Window.MONTH, 10**9)
RUN = Budget(ScopeKind.RUN, "*", Window.TOTAL, 10**9)


def of_keys_nano(ledger: InMemoryLedger) -> int:
    """What is posted on the accounts of all keys."""
    accounts = ledger._shelf.accounts.items()
    return sum(account.posted_nano for name, account in accounts if name.startswith("key:"))


def ledger_accounts(ledger: InMemoryLedger) -> list[str]:
    return sorted(ledger._shelf.accounts)


def test_what_was_spent_under_no_budget_counts_for_one_that_is_set_later() -> None:
    async def story() -> None:
        ledger = new_ledger()
        desk = make_desk({"main": scripted(say="hello there")}, ledger=ledger)
        for _ in range(3):
            assert (await ask(desk, chat())).status == 200
        [total] = [entry.posted_nano for entry in ledger.totals_by_day()]
        assert of_keys_nano(ledger) == 0
        for _ in range(2):
            await catch_up(ledger, lambda: nullcontext(ledger), [MONTH], now_ms())
            assert of_keys_nano(ledger) == total > 0
        desk = replace(desk, budgets=BudgetBook([replace(MONTH, limit_nano=total + 1)]))
        refused = await ask(desk, chat())
        assert (refused.status, refused.error["scope"]) == (402, "key:key1")
        assert refused.error["spent_usd"] == f"0.{total:09d}"
        assert list(ledger.faults()) == []

    run(story())


def test_spending_while_a_budget_was_away_counts_when_it_comes_back() -> None:
    async def story() -> None:
        ledger = new_ledger()
        with_budget = make_desk(
            {"main": scripted(say="hello")}, ledger=ledger, budgets={ScopeKind.KEY: "1"}
        )
        without = make_desk({"main": scripted(say="hello")}, ledger=ledger)
        total = Budget(ScopeKind.KEY, "*", Window.TOTAL, 10**9)
        for desk, budgets in ((with_budget, [total]), (without, []), (with_budget, [total])) * 2:
            await catch_up(ledger, lambda: nullcontext(ledger), budgets, now_ms())
            assert (await ask(desk, chat())).status == 200
        spent = sum(entry.posted_nano for entry in ledger.totals_by_day())
        assert of_keys_nano(ledger) == spent

    run(story())


def test_a_run_that_goes_on_counts_what_it_spent_before_and_one_of_a_single_request_nothing() -> (
    None
):
    async def story() -> None:
        ledger = new_ledger()
        desk = make_desk({"main": scripted(say="hello")}, ledger=ledger)
        await ask(desk, chat())
        await ask(desk, chat(), (b"x-weir-run", b"night-7"))
        await catch_up(ledger, lambda: nullcontext(ledger), [RUN], now_ms())
        assert [name for name in ledger_accounts(ledger) if name.startswith("run:")] == [
            "run:lab/night-7|total|0"
        ]

    run(story())


def test_a_budget_is_opened_again_until_it_is_noted_that_it_missed_nothing() -> None:
    async def story() -> None:
        ledger = new_ledger()
        desk = make_desk({"main": scripted(say="hello")}, ledger=ledger)
        for rounds in (1, 2):
            await ask(desk, chat())
            assert await open_accounts(ledger, lambda: nullcontext(ledger), [MONTH], now_ms()) == 1
            posted = sum(entry.posted_nano for entry in ledger.totals_by_day())
            assert of_keys_nano(ledger) == posted, rounds
        assert await catch_up(ledger, lambda: nullcontext(ledger), [MONTH], now_ms()) == 1
        assert await catch_up(ledger, lambda: nullcontext(ledger), [MONTH], now_ms()) == 0

    run(story())
