"""The budgets in effect: configured ones and those set while the gateway runs.

A change is durable before it counts, and counts for every request admitted after it. The accounts
of a new budget are opened first with what was spent, and once more when the requests that were
under way have ended. Those may be another gateway's, so a start is a change as well where holds are
open.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from budgets.burndown import Sample, burn_down, lookback_s
from budgets.config import BudgetSection
from budgets.ledger import LedgerError
from budgets.openings import counting_names
from budgets.port import SeedingLedger
from budgets.scopes import Budget
from gateway.budget_openings import OpenBooks, catch_up, open_accounts
from gateway.budget_registry import BudgetFault
from gateway.budget_report import Accounts, budget_rows
from gateway.budgets_in_effect import BudgetsInEffect
from gateway.config_checks import nobodys_budget

LOG = logging.getLogger("weir.budgets")
# Between the moment a request learns its budgets and the moment its money is held.
ADMISSION_S = 10.0
AGAIN_S = 1.0
Query = Callable[[str, dict[str, Any]], Awaitable[list[dict[str, Any]]]]


OpenAccounts = Callable[[], AbstractContextManager[Accounts]]


class BudgetBoard:
    """Shows, sets and deletes budgets; the book of `current` always has those in effect."""

    def __init__(
        self,
        current: BudgetsInEffect,
        accounts: OpenAccounts,
        ledger: SeedingLedger,
        open_books: OpenBooks,
        run_query: Query,
        now_ms: Callable[[], int],
        model_names: Collection[str],
    ) -> None:
        self._model_names = model_names
        self._current = current
        self._book = current.book
        self._registry = current.registry
        self._accounts = accounts
        self._ledger = ledger
        self._open_books = open_books
        self._run_query = run_query
        self._now_ms = now_ms
        self._changing = asyncio.Lock()
        self._follow_up: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Put the budgets into effect; how many accounts were opened."""
        budgets = self._current.with_set(await self._registry.budgets())
        if await self._ledger.oldest_hold_ms() is None:
            now_ms = self._now_ms()
            opened = await catch_up(self._ledger, self._open_books, budgets, now_ms)
            await self._current.reload()
        else:
            opened = await self._put_into_effect(budgets, _nothing)
        return opened

    async def refresh(self) -> None:
        """Take over what another gateway changed; raise RegistryError where that is unknown."""
        async with self._changing:
            await self._current.refresh()

    async def stop(self) -> None:
        """Give up on what is unfinished; the next start does it."""
        if self._follow_up is not None:
            self._follow_up.cancel()
            await asyncio.gather(self._follow_up, return_exceptions=True)

    async def rows(self) -> list[dict[str, Any]]:
        """Each budget in effect with what is spent, held and left."""
        stored = {budget.name for budget in await self._registry.budgets()}
        return await asyncio.to_thread(self._rows, self._book.budgets, stored)

    def _rows(self, budgets: Iterable[Budget], stored: set[str]) -> list[dict[str, Any]]:
        with self._accounts() as accounts:
            rows = budget_rows(budgets, accounts, self._now_ms() // 1_000)
        return with_sources(rows, self._current.configured, stored)

    async def show(self, name: str) -> list[dict[str, Any]] | None:
        """One budget with its burn-down, a row for each scope; None where there is no such one."""
        budget = next((found for found in self._book.budgets if found.name == name), None)
        if budget is None:
            return None
        everything = await self.rows()
        rows = [row for row in everything if row["name"] == name]
        return await with_burndown(budget, rows, self._run_query, self._now_ms())

    async def put(self, section: BudgetSection, who: str) -> str:
        """Set a budget and put it into effect; its name.

        Raise BudgetFault for a model nobody knows, LedgerError or RegistryError where it fails.
        """
        async with self._changing:
            new = section.to_budget()
            nobody = nobodys_budget(new, self._model_names)
            if nobody is not None:
                raise BudgetFault("scope", nobody)
            stored = [b for b in await self._registry.budgets() if b.name != new.name]
            await self._put_into_effect(
                self._current.with_set((*stored, new)),
                lambda: self._registry.put(section, who, self._now_ms()),
            )
            return new.name

    async def remove(self, name: str, who: str) -> bool:
        """Delete a budget that was set; whether there was one."""
        async with self._changing:
            stored = list(await self._registry.budgets())
            left = [budget for budget in stored if budget.name != name]
            if len(left) == len(stored):
                return False
            await self._put_into_effect(
                self._current.with_set(left),
                lambda: self._registry.remove(name, who, self._now_ms()),
            )
            return True

    async def _put_into_effect(
        self, budgets: tuple[Budget, ...], store: Callable[[], Coroutine[Any, Any, object]]
    ) -> int:
        """Have other budgets from here on; how many accounts were opened."""
        ledger, names = self._ledger, set(counting_names(budgets))
        opened = await open_accounts(ledger, self._open_books, budgets, self._now_ms())
        # A budget that goes misses what is spent from here on, also if it comes back.
        await ledger.note_counting(names & set(await ledger.counting()))
        await store()
        await self._current.reload()
        if self._follow_up is None or self._follow_up.done():
            self._follow_up = asyncio.create_task(self._count_the_rest())
        return opened

    async def _count_the_rest(self) -> None:
        """Count what requests spend that were admitted before a change, when the last has ended."""
        settled_ms = 0
        budgets: tuple[Budget, ...] = ()
        while True:
            if budgets != self._book.budgets:
                budgets = self._book.budgets
                await asyncio.sleep(ADMISSION_S)
                # Whoever knew other budgets holds money by now, or never will.
                settled_ms = self._now_ms()
            try:
                async with self._changing:
                    oldest_ms = await self._ledger.oldest_hold_ms()
                    ended = oldest_ms is None or oldest_ms > settled_ms
                    if ended and budgets == self._book.budgets:
                        now_ms = self._now_ms()
                        await catch_up(self._ledger, self._open_books, budgets, now_ms)
                        return
            except LedgerError as error:
                LOG.error("new budgets do not count everything yet: %s", error)
            await asyncio.sleep(AGAIN_S)

    async def changes(self) -> list[dict[str, Any]]:
        """Who changed which budget, the newest first."""
        return [asdict(change) for change in await self._registry.changes()]


async def _nothing() -> None:
    """There is nothing to write down: the budgets are as they were stored."""


def with_sources(
    rows: Iterable[dict[str, Any]], configured: Iterable[Budget], stored: set[str]
) -> list[dict[str, Any]]:
    """Rows that say where their budget comes from, and whether it replaces a configured one."""
    in_file = {budget.name for budget in configured}
    return [
        {
            **row,
            "left_nano": max(0, row["refuse_nano"] - row["posted_nano"] - row["held_nano"]),
            "source": "api" if row["name"] in stored else "config",
            "replaces_config": row["name"] in stored and row["name"] in in_file,
        }
        for row in rows
    ]


async def with_burndown(
    budget: Budget, rows: Iterable[dict[str, Any]], run_query: Query, now_ms: int
) -> list[dict[str, Any]]:
    """Rows of one budget with the rate of its scopes, the sample behind it and the forecast."""
    since_ms = now_ms - lookback_s(budget.window) * 1_000
    spent: Mapping[str, dict[str, Any]] = {
        row["scope_id"]: row
        for row in await run_query(
            "spend_by_scope",
            {
                "kind": budget.kind.value,
                "unit": budget.unit.value,
                "from_ms": since_ms,
                "to_ms": now_ms + 1,
            },
        )
    }
    return [_burning(budget, row, spent, now_ms) for row in rows]


def _burning(
    budget: Budget, row: dict[str, Any], spent: Mapping[str, dict[str, Any]], now_ms: int
) -> dict[str, Any]:
    found = spent.get(str(row["scope"]).partition(":")[2])
    sample = Sample(0, 0, 0)
    if found is not None:
        span_s = (now_ms - int(found["first_ms"])) // 1_000
        sample = Sample(int(found["requests"]), int(found["spent"]), span_s)
    left_nano, resets_at_s = int(row["left_nano"]), row["resets_at_s"]
    forecast = burn_down(budget, left_nano, sample, now_ms // 1_000, resets_at_s)
    return {**row, "sample": asdict(sample), "burndown": asdict(forecast)}
