"""Keeps a budget book at what is configured and what is set, whoever set it.

Every process that answers requests has one. Where several share a registry, each takes over what
the others changed with `refresh`.
"""

import asyncio
from collections.abc import Iterable

from budgets.budget_book import BudgetBook
from budgets.scopes import Budget
from gateway.budget_registry import BudgetRegistry, in_effect


class BudgetsInEffect:
    """`book` has the configured budgets until the first `refresh` or `apply`."""

    def __init__(self, book: BudgetBook, registry: BudgetRegistry) -> None:
        self.book = book
        self.configured = book.budgets
        self.registry = registry
        self._refreshing = asyncio.Lock()

    def with_set(self, stored: Iterable[Budget]) -> tuple[Budget, ...]:
        """The budgets that would count if these were set."""
        return in_effect(self.configured, stored)

    async def refresh(self) -> bool:
        """Have the budgets that are set now; whether any had changed. Raise RegistryError."""
        async with self._refreshing:
            if await self.registry.version() == self.book.version:
                return False
            await self.reload()
            return True

    async def reload(self) -> None:
        """The same without asking first whether anything changed."""
        version, stored = await self.registry.load()
        self.book.change(self.with_set(stored), version)
