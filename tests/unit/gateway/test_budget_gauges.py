"""Standings of budgets: exact for a scope with a name, counted and cut off for all others."""

from collections.abc import Mapping, Sequence

from budgets.budget_book import BudgetBook
from budgets.ledger import Account
from budgets.rolling import RollingWindow
from budgets.scopes import Budget, ScopeKind, Scopes, Unit, Window
from gateway.budget_gauges import MAX_BUDGETS, TOP_SCOPES, BudgetGauges
from tests.unit.gateway.clocks import Clock
from tests.unit.gateway.desks import run

NOW_MS = 1_793_491_200_000
NAMED = Budget(ScopeKind.KEY, "a", Window.DAY, 100)
TOKENS = Budget(ScopeKind.KEY, "a", Window.DAY, 700, unit=Unit.TOKENS)
ROLLING = Budget(ScopeKind.KEY, "a", RollingWindow(3_600), 200)
EACH = Budget(ScopeKind.WORKFLOW, "*", Window.MONTH, 300)
OWN = Budget(ScopeKind.WORKFLOW, "lab/99", Window.MONTH, 400)


class Books:
    """A hundred scopes, of which the largest are given as asked; counts how often it was."""

    read = 0

    def largest(
        self, budget: Budget, now_s: int, closer: Sequence[Budget], limit: int
    ) -> tuple[int, Mapping[str, Account]]:
        self.read += 1
        assert (now_s, closer) == (NOW_MS // 1_000, [OWN])
        return 99, {f"lab/{number}": Account(number, 1) for number in range(98, 98 - limit, -1)}


def gauges(*budgets: Budget) -> tuple[BudgetGauges, BudgetBook, Books, Clock]:
    book, books, clock = BudgetBook(budgets), Books(), Clock()
    return BudgetGauges(book, books.largest, lambda: NOW_MS, clock), book, books, clock


def test_a_budget_with_a_name_is_the_sum_of_the_accounts_that_requests_are_charged_to() -> None:
    told, book, books, _ = gauges(NAMED, TOKENS, ROLLING)
    accounts = told.accounts()
    charges = book.charges(Scopes("o", "t", "a", "t/w", "t/r"), NOW_MS // 1_000)
    charged = [charge for charge in charges if charge.limit_nano is not None]
    for charge, names in zip(charged, accounts.values(), strict=True):
        assert charge.account in names
        assert set(charge.counted) <= set(names)
    found = {names[0]: Account(5, 2, 1) for names in accounts.values()}
    found[accounts[ROLLING.name][-1]] = Account(10, 3)
    standings = run(told.read(accounts, found))
    assert [(one.budget, one.scope, one.account) for one in standings.named] == [
        (NAMED.name, "key:a", Account(5, 2, 1)),
        (TOKENS.name, "key:a", Account(5, 2, 1)),
        (ROLLING.name, "key:a", Account(15, 5, 1)),
    ]
    assert standings.limits_nano == {NAMED.name: 100, TOKENS.name: 700, ROLLING.name: 200}
    assert books.read == 0


def test_scopes_of_a_budget_for_each_are_counted_once_a_minute_and_the_largest_are_told() -> None:
    told, book, books, clock = gauges(EACH, OWN)

    async def story() -> None:
        for _ in range(5):
            standings = await told.read(told.accounts(), {})
            assert standings.scopes == {EACH.name: 99}
            largest = [one.account.posted_nano for one in standings.largest]
            assert largest == [98 - place for place in range(TOP_SCOPES)]
        assert books.read == 1
        clock.now_s += 60
        await told.read({}, {})
        assert books.read == 2
        book.change([EACH, OWN, NAMED])
        await told.read({}, {})
        assert books.read == 3

    run(story())


def test_no_more_than_so_many_budgets_are_told_but_all_are_counted() -> None:
    told, _, _, _ = gauges(*[Budget(ScopeKind.KEY, f"k{n}", Window.DAY, 1) for n in range(300)])
    standings = run(told.read(told.accounts(), {}))
    assert (standings.in_effect, len(standings.named)) == (300, MAX_BUDGETS)
    assert all(one.account == Account() for one in standings.named)
