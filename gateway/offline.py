"""The books of a gateway that is down, for commands: audit, requests, budgets, a rebuild.

Each of them owns the data directory meanwhile and raises DataDirError where a gateway runs.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.budget_advice import AdviceQuestion, advice_report
from gateway.budget_board import with_burndown, with_sources
from gateway.budget_registry import BudgetRegistry, in_effect
from gateway.budget_report import budget_rows
from gateway.clock import now_ms
from gateway.composition import query_of
from gateway.config import Settings
from gateway.data_dir import DataDir
from gateway.ledger_choice import LedgerChoice
from gateway.registry_choice import open_stores
from telemetry.audit import AuditReport, audit
from telemetry.queries import QueryBook
from telemetry.warehouse import Warehouse


@contextmanager
def _offline(settings: Settings) -> Iterator[tuple[DataDir, Warehouse]]:
    """The books of a gateway that is down, with everything of its outbox collected."""
    data = DataDir(settings.data_dir)
    with data.owned(), Warehouse.open(data.warehouse) as warehouse:
        yield data, warehouse


def offline_audit(settings: Settings) -> AuditReport:
    """The audit while no gateway runs."""
    with _offline(settings) as (data, warehouse), LedgerChoice(settings, data).books() as books:
        return audit(books, warehouse)


def rebuild_ledger(settings: Settings) -> int:
    """Put back every entry the Redis ledger lacks and trust it again; how many entries were.

    API keys and budgets that Redis lacks are put back as well. Raise LedgerError where the ledger
    is not in Redis, or Redis cannot keep it.
    """

    async def rebuild(data: DataDir, warehouse: Warehouse) -> int:
        added = await LedgerChoice(settings, data).rebuild(warehouse)
        async with open_stores(settings, data, copied=True):
            return added

    with _offline(settings) as (data, warehouse):
        return asyncio.run(rebuild(data, warehouse))


def offline_request(settings: Settings, request_id: str) -> dict[str, Any] | None:
    """One request while no gateway runs; what is still in the outbox is not found."""
    with _offline(settings) as (_, warehouse):
        book = QueryBook.load()
        rows = book.run(warehouse, "request_one", request_id=request_id)
        tried = book.run(warehouse, "attempts_one", request_id=request_id)
    return {**rows[0], "attempt_rows": tried} if rows else None


def offline_budgets(settings: Settings, name: str | None) -> list[dict[str, Any]] | None:
    """The budgets while no gateway runs, or one with its burn-down; None for an unknown name."""

    async def read(data: DataDir, warehouse: Warehouse) -> list[dict[str, Any]] | None:
        configured = settings.budgets.budgets
        async with open_stores(settings, data) as stores:
            stored = await BudgetRegistry(stores.budgets).budgets()
        budgets = in_effect(configured, stored)
        with LedgerChoice(settings, data).accounts() as accounts:
            rows = budget_rows(budgets, accounts, now_ms() // 1_000)
        rows = with_sources(rows, configured, {budget.name for budget in stored})
        if name is None:
            return rows
        found = [budget for budget in budgets if budget.name == name]
        own = [row for row in rows if row["name"] == name]
        return await with_burndown(found[0], own, query_of(warehouse), now_ms()) if found else None

    with _offline(settings) as (data, warehouse):
        return asyncio.run(read(data, warehouse))


def offline_advice(settings: Settings, question: AdviceQuestion) -> dict[str, Any]:
    """The advice on budgets while no gateway runs; what is still in the outbox is not counted."""
    with _offline(settings) as (data, warehouse):
        open_runs = LedgerChoice(settings, data).open_runs()
        return asyncio.run(advice_report(question, open_runs, query_of(warehouse), now_ms()))
