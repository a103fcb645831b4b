"""Where budgets stand, for `/metrics`: exact for those that name a scope, bounded for the others.

A wide budget (`key:*`, `user:lab/*`) has as many accounts as there are scopes. They are
counted once a minute, off the event loop, and the largest are told by name.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from budgets.budget_book import BudgetBook
from budgets.ledger import NOTHING, Account, joined
from budgets.scopes import Budget, account_id, stand_ins, window_starts

MAX_BUDGETS = 200
TOP_SCOPES = 20
COUNT_AGAIN_S = 60.0
Largest = Callable[[Budget, int, Sequence[Budget], int], tuple[int, Mapping[str, Account]]]
"""How many scopes of a budget have an account at a moment (s), but for those that closer budgets
stand in for, and the largest of them."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One scope of a budget: what it has posted and holds, in the budget's unit."""

    budget: str
    scope: str
    account: Account


@dataclass(frozen=True, slots=True)
class Standings:
    """Every budget's limit, the standing of those with a name, and the largest of the others.

    `scopes` says how many scopes a budget for each of them has.
    """

    in_effect: int
    limits_nano: Mapping[str, int]
    named: Sequence[Standing]
    scopes: Mapping[str, int]
    largest: Sequence[Standing]


class BudgetGauges:
    """Reads the standings of the budgets in effect; use it from the event loop."""

    def __init__(
        self,
        book: BudgetBook,
        largest: Largest,
        now_ms: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`largest` is called from other threads."""
        self._book = book
        self._largest = largest
        self._now_ms = now_ms
        self._clock = clock
        self._counted: tuple[tuple[Budget, ...], float, _Counts] | None = None

    def accounts(self) -> dict[str, list[str]]:
        """The accounts of each budget that names its scope, to be looked up for `read`."""
        now_s = self._now_ms() // 1_000
        return {
            budget.name: [
                account_id(budget.kind, budget.scope_id, budget.window, start_s, budget.unit)
                for start_s in window_starts(budget.window, budget.timezone, now_s)
            ]
            for budget in self._told()
            if not budget.is_wide
        }

    def _told(self) -> Sequence[Budget]:
        return self._book.budgets[:MAX_BUDGETS]

    async def read(
        self, accounts: Mapping[str, Sequence[str]], found: Mapping[str, Account]
    ) -> Standings:
        """The standings; raise LedgerError where the books cannot be read.

        `accounts` are those of this object's `accounts()`, `found` what the ledger says of them.
        """
        told = self._told()
        scopes = {budget.name: f"{budget.kind.value}:{budget.scope_id}" for budget in told}
        counted = await self._count([budget for budget in told if budget.is_wide])
        return Standings(
            in_effect=len(self._book.budgets),
            limits_nano={budget.name: budget.limit_nano for budget in told},
            named=[
                Standing(name, scopes[name], _sum(found, names)) for name, names in accounts.items()
            ],
            scopes={name: number for name, (number, _) in counted.items()},
            largest=[one for _, standings in counted.values() for one in standings],
        )

    async def _count(self, patterns: Sequence[Budget]) -> "_Counts":
        if not patterns:
            return {}
        if self._counted is not None:
            budgets, since_s, counted = self._counted
            if budgets == self._book.budgets and self._clock() - since_s < COUNT_AGAIN_S:
                return counted
        budgets, since_s = self._book.budgets, self._clock()
        counted = await asyncio.to_thread(self._count_each, patterns, budgets)
        self._counted = (budgets, since_s, counted)
        return counted

    def _count_each(self, patterns: Sequence[Budget], budgets: Sequence[Budget]) -> "_Counts":
        """Scopes that a closer budget stands in for do not count for a wide one."""
        counted = {}
        for budget in patterns:
            now_s, closer = self._now_ms() // 1_000, stand_ins(budget, budgets)
            number, accounts = self._largest(budget, now_s, closer, TOP_SCOPES)
            counted[budget.name] = (
                number,
                [
                    Standing(budget.name, f"{budget.kind.value}:{scope_id}", account)
                    for scope_id, account in accounts.items()
                ],
            )
        return counted


_Counts = Mapping[str, tuple[int, list[Standing]]]


def _sum(found: Mapping[str, Account], names: Iterable[str]) -> Account:
    return reduce(joined, [found[name] for name in names if name in found], NOTHING)
