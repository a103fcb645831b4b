"""The only composer: opens the stores, starts the providers, and puts the gateway together.

open_gateway(settings)           everything of one gateway, opened and closed in order
build_app(gateway)               its ASGI application
serve(settings)                  the same behind a web server, until a signal
offline_audit, offline_request,  the books without a gateway, for commands while it is down
offline_budgets
rebuild_ledger(settings)         put back what a Redis ledger forgot, while the gateway is down
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from budgets.stores.in_sqlite import SqliteLedger
from gateway.auth import load_secret
from gateway.budget_board import BudgetBoard, Query, with_burndown, with_sources
from gateway.budget_registry import BudgetRegistry, in_effect
from gateway.budget_report import budget_rows
from gateway.clock import now_ms
from gateway.composition import Trimmer, query_of, sweep, timeouts_of, watch_budgets
from gateway.config import Settings
from gateway.control_plane import ControlPlane
from gateway.control_services import ControlServices
from gateway.data_dir import DataDir
from gateway.desk import Desk, Limits
from gateway.health_board import HealthBoard
from gateway.key_registry import KeyRegistry
from gateway.ledger_choice import LedgerChoice, clock_of, collectable
from gateway.lifecycle import Lifecycle
from gateway.providers.build import build_provider
from gateway.providers.port import Provider
from gateway.routes.data_plane import DataPlane
from gateway.serving import base_url, run_server
from gateway.tokenizer import Tokenizer
from telemetry.audit import AuditReport, audit
from telemetry.collector import Collector
from telemetry.queries import QueryBook
from telemetry.warehouse import Warehouse

if TYPE_CHECKING:
    from budgets.stores.in_redis import RedisLedger

LOG = logging.getLogger("weir.app")
FLUSH_S = 30.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything of one gateway, open."""

    settings: Settings
    data: DataDir
    registry: KeyRegistry
    ledger: "SqliteLedger | RedisLedger"
    warehouse: Warehouse
    collector: Collector
    providers: Mapping[str, Provider]
    run_query: Query
    budgets: BudgetBoard

    async def find_request(self, request_id: str) -> dict[str, Any] | None:
        """One request with everything known of it, collected first if it is still on its way."""
        rows = await self.run_query("request_one", {"request_id": request_id})
        if not rows:
            await asyncio.to_thread(self.collector.flush, FLUSH_S)
            rows = await self.run_query("request_one", {"request_id": request_id})
        return rows[0] if rows else None

    async def audit(self) -> dict[str, Any]:
        """The proof that ledger, outbox and warehouse tell the same."""
        return (await asyncio.to_thread(self._audit)).to_dict()

    def _audit(self) -> AuditReport:
        with self.collector.paused(), LedgerChoice(self.settings, self.data).books() as books:
            return audit(books, self.warehouse)

    def status(self) -> dict[str, Any]:
        """The gateway's own condition: providers and collector."""
        state = self.collector.state
        return {
            "providers": {
                name: "ready" if provider.ready else "starting"
                for name, provider in self.providers.items()
            },
            "collector": {
                "running": state.running,
                "waiting_rows": state.waiting_rows,
                "behind_ms": state.behind_ms,
                "last_batch_ms": state.last_batch_ms,
                "last_error": state.last_error,
            },
        }


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """A working gateway inside the block; raise DataDirError, AuthError or WarehouseError.

    What is opened is closed in reverse order: first the providers, then the books.
    """
    data = DataDir(settings.data_dir)
    async with AsyncExitStack() as stack:
        stack.enter_context(data.owned())
        secret = load_secret(data.path, settings.env)
        registry = KeyRegistry(
            data.keys, secret, org=settings.server.org, demo=settings.server.demo_key
        )
        stack.callback(registry.close)
        choice = LedgerChoice(settings, data)
        ledger = await choice.open(stack)
        warehouse = Warehouse.open(
            data.warehouse,
            memory_limit_mb=settings.telemetry.memory_limit_mb,
            threads=settings.telemetry.threads,
        )
        stack.callback(warehouse.close)
        run_query = query_of(warehouse)
        budgets = await _budget_board(settings, data, choice, ledger, run_query, stack)
        trimmer = Trimmer(ledger)
        stack.push_async_callback(trimmer.finish)
        collector = Collector(
            partial(collectable, ledger),
            warehouse,
            trimmer.trim,
            batch_rows=settings.telemetry.batch_rows,
            batch_ms=settings.telemetry.batch_ms,
        )
        collector.start()
        stack.push_async_callback(
            asyncio.to_thread, collector.stop, settings.telemetry.stop_flush_s
        )
        providers = {
            name: build_provider(name, section, data.path, settings.env)
            for name, section in settings.providers.items()
        }
        for provider in providers.values():
            await provider.start()
            stack.push_async_callback(provider.stop)
        watch_budgets(settings, data, choice.accounts, clock_of(ledger), stack)
        sweeper = asyncio.get_running_loop().create_task(sweep(ledger))
        stack.callback(sweeper.cancel)
        yield Gateway(
            settings, data, registry, ledger, warehouse, collector, providers, run_query, budgets
        )


async def _budget_board(
    settings: Settings,
    data: DataDir,
    choice: LedgerChoice,
    ledger: "SqliteLedger | RedisLedger",
    run_query: Query,
    stack: AsyncExitStack,
) -> BudgetBoard:
    """The budgets in effect, with what was spent before new ones."""
    registry = BudgetRegistry(data.keys)
    stack.callback(registry.close)
    board = BudgetBoard(
        settings.budgets,
        registry,
        choice.accounts,
        ledger,
        choice.spending,
        run_query,
        clock_of(ledger),
    )
    opened = await board.start()
    if opened:
        LOG.warning("%d accounts of new budgets begin with what was spent before", opened)
    stack.push_async_callback(board.stop)
    return board


def build_app(gateway: Gateway) -> DataPlane:
    """The ASGI application of an open gateway."""
    settings = gateway.settings
    catalog = settings.catalog
    services = ControlServices(
        registry=gateway.registry,
        policies=frozenset(settings.policies),
        tiers=tuple(tier.name for tier in catalog.tiers),
        stand_ins=tuple(card.name for card in catalog.models.values() if card.stand_in),
        base_url=base_url(settings),
        run_query=gateway.run_query,
        find_request=gateway.find_request,
        audit=gateway.audit,
        budgets=gateway.budgets,
        status=gateway.status,
        now_ms=now_ms,
    )

    def readiness() -> tuple[bool, Mapping[str, object]]:
        status = gateway.status()
        return gateway.collector.state.running, status

    return DataPlane(
        chat_completions=Lifecycle(_desk(gateway)).chat_completions,
        control_plane=ControlPlane(services),
        authenticate=gateway.registry.authenticate,
        catalog=catalog,
        readiness=readiness,
    )


def _desk(gateway: Gateway) -> Desk:
    settings = gateway.settings
    catalog = settings.catalog
    frontier = catalog.tiers[-1].models[0] if catalog.tiers else None
    return Desk(
        authenticate=gateway.registry.authenticate,
        ledger=gateway.ledger,
        budgets=settings.budgets,
        prices=settings.prices,
        catalog=catalog,
        policies=settings.policies,
        health=HealthBoard(),
        providers=gateway.providers,
        timeouts={
            name: timeouts_of(section, settings.server)
            for name, section in settings.providers.items()
        },
        limit_fields={
            name: section.output_limit_field for name, section in settings.providers.items()
        },
        frontier=None if frontier is None else catalog.models[frontier],
        tier_of={model: tier.name for tier in reversed(catalog.tiers) for model in tier.models},
        tokenizer=Tokenizer(),
        limits=Limits(
            body_bytes=settings.server.max_body_bytes,
            answer_cap_tokens=settings.server.answer_cap_tokens,
            lease_ms=settings.server.lease_s * 1000,
            attempts=settings.server.attempts,
            concurrent_requests=settings.server.max_concurrent_requests,
        ),
        now_ms=clock_of(gateway.ledger),
    )


def serve(settings: Settings) -> int:
    """Run the gateway until SIGINT or SIGTERM; the exit status."""
    return run_server(settings, open_gateway, build_app)


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

    Raise LedgerError where the ledger is not in Redis, or Redis cannot keep it.
    """
    with _offline(settings) as (data, warehouse):
        return asyncio.run(LedgerChoice(settings, data).rebuild(warehouse))


def offline_request(settings: Settings, request_id: str) -> dict[str, Any] | None:
    """One request while no gateway runs; what is still in the outbox is not found."""
    with _offline(settings) as (_, warehouse):
        rows = QueryBook.load().run(warehouse, "request_one", request_id=request_id)
    return rows[0] if rows else None


def offline_budgets(settings: Settings, name: str | None) -> list[dict[str, Any]] | None:
    """The budgets while no gateway runs, or one with its burn-down; None for an unknown name."""
    configured = settings.budgets.budgets
    with (
        _offline(settings) as (data, warehouse),
        LedgerChoice(settings, data).accounts() as accounts,
    ):
        with closing(BudgetRegistry(data.keys)) as registry:
            stored = registry.budgets()
        budgets = in_effect(configured, stored)
        rows = budget_rows(budgets, accounts, now_ms() // 1_000)
        rows = with_sources(rows, configured, {budget.name for budget in stored})
        if name is None:
            return rows
        found = [budget for budget in budgets if budget.name == name]
        own = [row for row in rows if row["name"] == name]
        return (
            asyncio.run(with_burndown(found[0], own, query_of(warehouse), now_ms()))
            if found
            else None
        )
