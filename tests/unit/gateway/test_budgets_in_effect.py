"""A book of budgets that follows what others set."""

from pathlib import Path

from budgets.budget_book import BudgetBook
from budgets.scopes import Budget, ScopeKind, Window
from gateway.budget_registry import BudgetRegistry, read_budget
from gateway.budgets_in_effect import BudgetsInEffect
from gateway.registries.in_sqlite import SqliteBudgets
from tests.unit.gateway.desks import run

DAY = Budget(ScopeKind.KEY, "a", Window.DAY, 100)
TERMS = {"scope": "key:a", "window": "day", "limit_usd": "1"}


def test_what_another_process_sets_and_deletes_is_in_effect_after_a_refresh(tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "keys.sqlite3"
        other = BudgetRegistry(SqliteBudgets(path))
        book = BudgetBook([DAY])
        current = BudgetsInEffect(book, BudgetRegistry(SqliteBudgets(path)))
        assert await current.refresh()
        assert book.budgets == (DAY,)
        section = read_budget(TERMS)
        await other.put(section, "k1", 1)
        assert book.budgets == (DAY,)
        assert await current.refresh()
        assert book.budgets == (section.to_budget(),)
        assert not await current.refresh()
        await other.remove(DAY.name, "k1", 2)
        assert await current.refresh()
        assert book.budgets == (DAY,)
        await other.aclose()
        await current.registry.aclose()

    run(story())
