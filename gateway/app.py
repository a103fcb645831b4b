"""The only composer: opens the stores, starts the providers, and puts the gateway together.

open_gateway(settings)           everything of one gateway, opened and closed in order
build_app(gateway)               its ASGI application
serve(settings)                  the same behind a web server, until a signal
offline_audit, offline_request,  the books without a gateway, for commands while it is down
offline_budgets, offline_advice
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
from gateway.budget_advice import AdviceQuestion, advice_report
from gateway.budget_board import BudgetBoard, Query, with_burndown, with_sources
from gateway.budget_gauges import BudgetGauges
from gateway.budget_registry import BudgetRegistry, in_effect
from gateway.budget_report import budget_rows
from gateway.clock import now_ms
from gateway.composition import (
    Trimmer,
    open_registries,
    open_warehouse,
    query_of,
    started_providers,
    sweep,
    timeouts_of,
    watch_budgets,
    watched_outbox,
)
from gateway.condition import Condition
from gateway.config import Settings
from gateway.control_plane import ControlPlane
from gateway.control_services import ControlServices
from gateway.data_dir import DataDir
from gateway.desk import Desk, Limits
from gateway.health_board import HealthBoard
from gateway.key_registry import KeyRegistry
from gateway.known_ids import KnownIds
from gateway.ledger_choice import LedgerChoice, clock_of, collectable
from gateway.ledger_watch import LedgerWatch
from gateway.lifecycle import Lifecycle
from gateway.providers.port import Provider
from gateway.routes.data_plane import DataPlane
from gateway.routes.metrics import MetricsRoute
from gateway.routes.runs import RunRoutes, RunServices
from gateway.run_registry import RunRegistry
from gateway.serving import base_url, run_server
from gateway.tally import Tally
from gateway.tokenizer import Tokenizer, vocabularies
from gateway.waiting import Line
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
    tally: Tally
    watch: LedgerWatch
    health: HealthBoard
    condition: Condition
    line: Line
    runs: RunRegistry

    def drain(self) -> None:
        """Let nobody wait for money any more; what is under way ends as it would."""
        self.line.close()

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

    async def advise(self, question: AdviceQuestion) -> dict[str, Any]:
        """How large a run's budget has to be; raise LedgerError where the books cannot be read."""
        open_runs = await asyncio.to_thread(LedgerChoice(self.settings, self.data).open_runs)
        return await advice_report(question, open_runs, self.run_query, now_ms())

    def _audit(self) -> AuditReport:
        with self.collector.paused(), LedgerChoice(self.settings, self.data).books() as books:
            return audit(books, self.warehouse)


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """A working gateway inside the block; raise DataDirError, AuthError or WarehouseError.

    What is opened is closed in reverse order: first the providers, then the books.
    """
    data = DataDir(settings.data_dir)
    async with AsyncExitStack() as stack:
        stack.enter_context(data.owned())
        registry, runs = open_registries(settings, data, stack)
        choice, tally = LedgerChoice(settings, data), Tally()
        ledger = await choice.open(stack, tally)
        watch = LedgerWatch(ledger, tally, choice.owed_endings)
        warehouse = open_warehouse(settings, data, stack)
        run_query = query_of(warehouse)
        budgets = await _budget_board(settings, data, choice, ledger, run_query, stack)
        trimmer = Trimmer(ledger, watch)
        stack.push_async_callback(trimmer.finish)
        collector = Collector(
            watched_outbox(partial(collectable, ledger), watch),
            warehouse,
            trimmer.trim,
            batch_rows=settings.telemetry.batch_rows,
            batch_ms=settings.telemetry.batch_ms,
        )
        collector.start()
        stack.push_async_callback(
            asyncio.to_thread, collector.stop, settings.telemetry.stop_flush_s
        )
        providers = await started_providers(settings, data, stack)
        alerts = watch_budgets(settings, data, choice.accounts, clock_of(ledger), watch, stack)
        sweeper = asyncio.get_running_loop().create_task(sweep(ledger, tally, watch))
        stack.callback(sweeper.cancel)
        line = Line(settings.server.budget_waiters, settings.server.budget_wait_ms / 1000)
        health = HealthBoard()
        condition = Condition(
            org=settings.server.org,
            store=settings.ledger.store,
            choice=choice,
            watch=watch,
            tally=tally,
            collector=collector,
            providers=providers,
            health=health,
            catalog=settings.catalog,
            alerts=alerts,
            line=line,
            ids=KnownIds(settings.budgets, settings.server.max_new_ids_per_hour),
            gauges=BudgetGauges(settings.budgets, choice.largest, clock_of(ledger)),
        )
        yield Gateway(
            settings,
            data,
            registry,
            ledger,
            warehouse,
            collector,
            providers,
            run_query,
            budgets,
            tally,
            watch,
            health,
            condition,
            line,
            runs,
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
        frozenset(settings.catalog.models),
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
        advise=gateway.advise,
        budgets=gateway.budgets,
        status=gateway.condition.status,
        freshness=gateway.condition.freshness,
        now_ms=now_ms,
    )
    lifecycle = Lifecycle(_desk(gateway))
    metrics = MetricsRoute(
        settings.server.metrics,
        gateway.registry.authenticate,
        lambda: gateway.condition.read(lambda: lifecycle.under_way),
    )
    return DataPlane(
        chat_completions=lifecycle.chat_completions,
        control_plane=ControlPlane(services),
        authenticate=gateway.registry.authenticate,
        denial=gateway.registry.denial,
        runs=RunRoutes(_run_services(gateway)),
        catalog=catalog,
        readiness=gateway.condition.readiness,
        metrics=None if settings.server.metrics == "off" else metrics,
    )


def _run_services(gateway: Gateway) -> RunServices:
    return RunServices(
        authenticate=gateway.registry.authenticate,
        denial=gateway.registry.denial,
        token_of=gateway.registry.run_token,
        runs=gateway.runs,
        ledger=gateway.ledger,
        budgets=gateway.settings.budgets,
        ids=gateway.condition.ids,
        now_ms=now_ms,
    )


def _desk(gateway: Gateway) -> Desk:
    settings = gateway.settings
    catalog = settings.catalog
    frontier = catalog.tiers[-1].models[0] if catalog.tiers else None
    return Desk(
        authenticate=gateway.registry.authenticate,
        denial=gateway.registry.denial,
        ledger=gateway.ledger,
        budgets=settings.budgets,
        prices=settings.prices,
        catalog=catalog,
        policies=settings.policies,
        health=gateway.health,
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
            step_tokens=settings.server.hold_step_tokens,
        ),
        vocabularies=vocabularies(
            catalog.models.values(),
            {name for name, section in settings.providers.items() if section.kind == "openai_http"},
        ),
        line=gateway.line,
        tally=gateway.tally,
        watch=gateway.watch,
        ids=gateway.condition.ids,
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


def offline_advice(settings: Settings, question: AdviceQuestion) -> dict[str, Any]:
    """The advice on budgets while no gateway runs; what is still in the outbox is not counted."""
    with _offline(settings) as (data, warehouse):
        open_runs = LedgerChoice(settings, data).open_runs()
        return asyncio.run(advice_report(question, open_runs, query_of(warehouse), now_ms()))
