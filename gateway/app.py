"""The only composer: opens the stores, starts the providers, and puts a process together.

open_gateway(settings, role)    everything of a process that collects, opened and closed in order
build_app(gateway)              its ASGI application
serve(settings, role, workers)  the same behind a web server, until a signal

What belongs to a role is in gateway/roles.py, a process that only answers requests in
gateway/front.py, and what commands do without a gateway in gateway/offline.py.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.budget_advice import AdviceQuestion, advice_report
from gateway.budget_board import BudgetBoard, Query
from gateway.clock import now_ms
from gateway.composition import Trimmer, query_of, sweep, watch_budgets, watched_outbox
from gateway.condition import Condition
from gateway.config import Settings
from gateway.control_plane import ControlPlane
from gateway.control_services import ControlServices
from gateway.data_dir import DataDir
from gateway.dialects.port import Dialect
from gateway.errors import answered_elsewhere
from gateway.forwarding import ControlDoor
from gateway.front import (
    Books,
    Counter,
    condition_of,
    desk_of,
    new_counter,
    open_books,
    run_routes,
)
from gateway.health_board import HealthBoard
from gateway.key_registry import KeyRegistry
from gateway.ledger_choice import clock_of, collectable, settle_left_debts
from gateway.ledger_watch import LedgerWatch
from gateway.lifecycle import Lifecycle
from gateway.reports import together
from gateway.response import Receive, Scope, Send, send_error
from gateway.roles import ServeRole, check_role
from gateway.routes.data_plane import Answerer, DataPlane
from gateway.routes.metrics import MetricsRoute
from gateway.serving import base_url, run_server
from gateway.tally import Tally
from gateway.upkeep import REFRESH_S, SWEEP_S, beside, keep_owners, keep_up, start_providers
from gateway.workers import Crew, run_workers
from telemetry.audit import AuditReport, audit
from telemetry.collector import Collector
from telemetry.warehouse import Warehouse, WarehouseError

LOG = logging.getLogger("weir.app")
FLUSH_S = 30.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything of one process that collects, open."""

    settings: Settings
    role: ServeRole
    books: Books
    counter: Counter
    warehouse: Warehouse
    collector: Collector
    run_query: Query
    budgets: BudgetBoard
    condition: Condition

    @property
    def data(self) -> DataDir:
        return self.books.data

    @property
    def registry(self) -> KeyRegistry:
        return self.books.registry

    @property
    def tally(self) -> Tally:
        return self.books.tally

    @property
    def watch(self) -> LedgerWatch:
        return self.books.watch

    @property
    def health(self) -> HealthBoard:
        return self.counter.health

    def drain(self) -> None:
        """Let nobody wait for money any more; what is under way ends as it would."""
        self.counter.line.close()

    async def find_request(self, request_id: str) -> dict[str, Any] | None:
        """One request with everything known of it, collected first if it is still on its way."""
        rows = await self.run_query("request_one", {"request_id": request_id})
        if not rows:
            await asyncio.to_thread(self.collector.flush, FLUSH_S)
            rows = await self.run_query("request_one", {"request_id": request_id})
        if not rows:
            return None
        tried = await self.run_query("attempts_one", {"request_id": request_id})
        return {**rows[0], "attempt_rows": tried}

    async def audit(self) -> dict[str, Any]:
        """The proof that ledger, outbox and warehouse tell the same."""
        return (await asyncio.to_thread(self._audit)).to_dict()

    async def advise(self, question: AdviceQuestion) -> dict[str, Any]:
        """How large a run's budget has to be; raise LedgerError where the books cannot be read."""
        open_runs = await asyncio.to_thread(self.books.choice.open_runs)
        return await advice_report(question, open_runs, self.run_query, now_ms())

    def _audit(self) -> AuditReport:
        with self.collector.paused(), self.books.choice.books() as books:
            return audit(books, self.warehouse)


@asynccontextmanager
async def open_gateway(
    settings: Settings, role: ServeRole = ServeRole.ALL
) -> AsyncIterator[Gateway]:
    """A working gateway inside the block; raise one of serving.STARTUP_ERRORS.

    What is opened is closed in reverse order: first the providers, then the books.
    """
    data = DataDir(settings.data_dir)
    async with AsyncExitStack() as stack:
        stack.enter_context(data.owned())
        books = await open_books(settings, role, stack)
        await settle_left_debts(settings, data)
        warehouse = Warehouse.open(
            data.warehouse,
            memory_limit_mb=settings.telemetry.memory_limit_mb,
            threads=settings.telemetry.threads,
        )
        stack.callback(warehouse.close)
        run_query = query_of(warehouse)
        budgets = await _budget_board(books, settings.catalog.models, run_query, stack)
        collector = _start_collector(settings, books, warehouse, stack)
        providers = await start_providers(
            settings, role.duties, None, books.secret.internal_key, stack
        )
        alerts, clock = books.stores.alerts, clock_of(books.ledger)
        watch_budgets(settings, alerts, books.choice.accounts, clock, books.watch, stack)
        _keep_house(settings, books, budgets, stack)
        counter = new_counter(settings, role, providers)
        condition = condition_of(settings, role, books, counter, collector, alerts)
        yield Gateway(
            settings, role, books, counter, warehouse, collector, run_query, budgets, condition
        )


async def _budget_board(
    books: Books, models: Collection[str], run_query: Query, stack: AsyncExitStack
) -> BudgetBoard:
    """The budgets in effect, with what was spent before new ones."""
    board = BudgetBoard(
        books.current,
        books.choice.accounts,
        books.ledger,
        books.choice.spending,
        run_query,
        clock_of(books.ledger),
        frozenset(models),
    )
    opened = await board.start()
    if opened:
        LOG.warning("%d accounts of new budgets begin with what was spent before", opened)
    stack.push_async_callback(board.stop)
    return board


def _start_collector(
    settings: Settings, books: Books, warehouse: Warehouse, stack: AsyncExitStack
) -> Collector:
    """What moves events into the warehouse; at the end it moves those that are left."""
    trimmer = Trimmer(books.ledger, books.watch)
    stack.push_async_callback(trimmer.finish)
    collector = Collector(
        watched_outbox(partial(collectable, books.ledger), books.watch),
        warehouse,
        trimmer.trim,
        batch_rows=settings.telemetry.batch_rows,
        batch_ms=settings.telemetry.batch_ms,
    )
    collector.start()
    stack.push_async_callback(asyncio.to_thread, collector.stop, settings.telemetry.stop_flush_s)
    return collector


def _keep_house(
    settings: Settings, books: Books, budgets: BudgetBoard, stack: AsyncExitStack
) -> None:
    """End expired holds, pay what dead workers owed, and follow what other gateways change."""
    follow = [books.registry.refresh, budgets.refresh]
    if books.stores.copies is not None:
        follow.append(books.stores.copies.refresh)
    watch = books.watch
    beside(stack, keep_up("keys and budgets may be out of date", REFRESH_S, watch, *follow))
    left = partial(settle_left_debts, settings, books.data)
    expired = partial(sweep, books.ledger, books.tally)
    beside(stack, keep_up("expired holds could not be ended", SWEEP_S, watch, expired, left))
    keep_owners(books.owners, watch, stack, trims=True)


def build_app(gateway: Gateway, crew: Crew | None = None) -> DataPlane:
    """The ASGI application of a process that collects; `crew` are its worker processes."""
    settings, books = gateway.settings, gateway.books
    answer: Answerer = _answered_elsewhere
    in_flight: Callable[[], int] = int  # none
    if gateway.role.duties.answers:
        lifecycle = Lifecycle(desk_of(settings, books, gateway.counter))
        answer, in_flight = lifecycle.answer, lambda: lifecycle.under_way
    others = tuple if crew is None else crew.reports
    metrics = MetricsRoute(
        settings.server.metrics,
        books.registry.authenticate,
        lambda: gateway.condition.read(in_flight, others),
    )
    return DataPlane(
        answer=answer,
        control_plane=_control_plane(gateway, crew),
        authenticate=books.registry.authenticate,
        denial=books.registry.denial,
        runs=run_routes(settings, gateway.role, books, gateway.counter),
        catalog=settings.catalog,
        readiness=gateway.condition.readiness,
        metrics=None if settings.server.metrics == "off" else metrics,
    )


async def _answered_elsewhere(dialect: Dialect, scope: Scope, receive: Receive, send: Send) -> None:
    await send_error(send, answered_elsewhere(), voice=dialect)


def _control_plane(gateway: Gateway, crew: Crew | None) -> ControlDoor:
    settings, books, catalog = gateway.settings, gateway.books, gateway.settings.catalog

    async def status() -> dict[str, Any]:
        own = await gateway.condition.status()
        if crew is None:
            return own
        seen = together(crew.reports())
        own["waiting_for_budget"], own["ids"] = seen.waiting, {"overflowed": seen.overflowed}
        return {**own, "workers": crew.told()}

    services = ControlServices(
        registry=books.registry,
        policies=frozenset(settings.policies),
        tiers=tuple(tier.name for tier in catalog.tiers),
        stand_ins=tuple(card.name for card in catalog.models.values() if card.stand_in),
        base_url=base_url(settings),
        run_query=gateway.run_query,
        find_request=gateway.find_request,
        audit=gateway.audit,
        advise=gateway.advise,
        budgets=gateway.budgets,
        status=status,
        freshness=gateway.condition.freshness,
        now_ms=now_ms,
    )
    models = gateway.counter.providers
    return ControlDoor(ControlPlane(services), books.secret.internal_key, models)


def serve(settings: Settings, role: ServeRole = ServeRole.ALL, workers: int = 1) -> int:
    """Run a process that collects until SIGINT or SIGTERM; the exit status. Raise RoleError."""
    check_role(role, settings)
    opening = partial(open_gateway, role=role)
    try:
        if role is ServeRole.PARENT:
            return run_workers(settings, workers, opening, build_app)
        return run_server(settings, role, opening, build_app)
    except WarehouseError as error:
        print(f"weir: {error}", file=sys.stderr)
        return 1
