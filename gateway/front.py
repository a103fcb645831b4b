"""A process that answers requests: books, keys, budgets and providers, put together.

open_books(settings, role)       what any process keeps, opened in order
open_front(settings, role)       everything of a process that only answers requests
build_front(front)               its ASGI application
serve_front(settings)            the same behind a web server, until a signal

A process that also collects has more (gateway/app.py). Nothing here knows the warehouse, whose
engine would cost each of these processes its memory.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from budgets.ledger import LedgerError
from budgets.openings import counting_names
from gateway.auth import Secret, load_secret
from gateway.budget_gauges import BudgetGauges
from gateway.budget_registry import BudgetRegistry
from gateway.budgets_in_effect import BudgetsInEffect
from gateway.clock import now_ms
from gateway.condition import Condition
from gateway.config import Settings
from gateway.counted import Counted
from gateway.data_dir import DataDir
from gateway.desk import Desk, Limits
from gateway.dialects.translation.index import COUNTS, reached
from gateway.forwarding import ControlForward
from gateway.health_board import HealthBoard
from gateway.key_registry import KeyRegistry
from gateway.known_ids import KnownIds
from gateway.ledger_choice import (
    AnyLedger,
    LedgerChoice,
    allowance_left,
    allowance_of,
    check_collects,
    clock_of,
    settle_debts,
)
from gateway.ledger_watch import LedgerState, LedgerWatch, cause_of
from gateway.lifecycle import Lifecycle
from gateway.ownership import Owners
from gateway.providers.http1_client import Http1Client
from gateway.providers.http_client import BaseUrl, parse_base_url
from gateway.providers.port import Provider
from gateway.providers.presets import OPENAI_KINDS
from gateway.registries.port import AlertStore, RegistryError
from gateway.registry_choice import Stores, open_stores
from gateway.roles import ServeRole, check_role
from gateway.routes.data_plane import DataPlane, Handler
from gateway.routes.metrics import MetricsRoute
from gateway.routes.runs import RunRoutes, RunServices
from gateway.run_inference import RunInference
from gateway.serving import run_server
from gateway.slots import take_slot
from gateway.tally import Tally
from gateway.tokenizer import Tokenizer, vocabularies
from gateway.upkeep import (
    REFRESH_S,
    SWEEP_S,
    beside,
    keep_owners,
    keep_up,
    keepers,
    start_providers,
    timeouts_of,
)
from gateway.waiting import Line

if TYPE_CHECKING:
    from telemetry.collector import Collector

LOG = logging.getLogger("weir.app")
# How long a start waits for Redis to answer, and a gateway for the collector to begin the ledger.
REDIS_WAIT_S, COLLECTOR_WAIT_S = 5.0, 60.0


@dataclass(frozen=True, slots=True)
class Books:
    """Who may spend, what, and of what: everything that is kept, open; and how that goes."""

    data: DataDir
    secret: Secret
    choice: LedgerChoice
    ledger: AnyLedger
    stores: Stores
    registry: KeyRegistry
    current: BudgetsInEffect
    tally: Tally
    watch: LedgerWatch
    owners: Owners


@dataclass(frozen=True, slots=True)
class Counter:
    """What requests need beside the books."""

    providers: Mapping[str, Provider]
    health: HealthBoard
    line: Line
    ids: KnownIds
    inference: RunInference | None = None


@dataclass(frozen=True, slots=True)
class ControlLink:
    """Where a process without a control plane finds one."""

    base: BaseUrl
    client: Http1Client


@dataclass(frozen=True, slots=True)
class Front:
    """Everything of a process that only answers requests, open."""

    settings: Settings
    role: ServeRole
    books: Books
    counter: Counter
    condition: Condition
    lifecycle: Lifecycle
    link: ControlLink | None

    @property
    def data(self) -> DataDir:
        return self.books.data

    def drain(self) -> None:
        """Let nobody wait for money any more; what is under way ends as it would."""
        self.counter.line.close()


async def open_books(
    settings: Settings, role: ServeRole, stack: AsyncExitStack, directory: Path | None = None
) -> Books:
    """The books of one process; raise LedgerError, RegistryError or AuthError.

    `directory` is its own where several processes share the data directory.
    """
    data = DataDir(settings.data_dir)
    duties = role.duties
    secret = load_secret(data.path, settings.env)
    choice = LedgerChoice(settings, data, directory=directory, owns_warehouse=duties.collects)
    tally = Tally()
    ledger = await _open_ledger(choice, role, tally, stack)
    if duties.shared and duties.collects:
        check_collects(ledger)
    stores = await stack.enter_async_context(open_stores(settings, data, copied=duties.collects))
    registry = KeyRegistry(
        stores.keys, secret, org=settings.server.org, demo=settings.server.demo_key
    )
    await registry.refresh()
    current = BudgetsInEffect(settings.budgets, BudgetRegistry(stores.budgets))
    watch = LedgerWatch(ledger, tally, choice.owed_endings)
    owners = Owners(stores.objects, keepers(settings.providers))
    stack.push_async_callback(owners.close)
    return Books(data, secret, choice, ledger, stores, registry, current, tally, watch, owners)


async def _open_ledger(
    choice: LedgerChoice, role: ServeRole, tally: Tally, stack: AsyncExitStack
) -> AnyLedger:
    """The ledger; a gateway may be there before it was begun, and any process before Redis is."""
    loop = asyncio.get_running_loop()
    started_s, waiting = loop.time(), False
    while True:
        try:
            async with AsyncExitStack() as opened:
                ledger = await choice.open(opened, tally)
                stack.push_async_callback(opened.pop_all().aclose)
                return ledger
        except LedgerError as error:
            patience_s = 0.0
            if role is ServeRole.GATEWAY:
                patience_s = COLLECTOR_WAIT_S
            elif cause_of(error) is LedgerState.UNREACHABLE:
                patience_s = REDIS_WAIT_S
            if loop.time() - started_s >= patience_s:
                raise
            if not waiting:
                LOG.warning("waiting for the ledger: %s", error)
            waiting = True
        await asyncio.sleep(REFRESH_S)


def new_counter(settings: Settings, role: ServeRole, providers: Mapping[str, Provider]) -> Counter:
    """A counter at which nobody stands yet."""
    server, inference = settings.server, None
    if server.infer_runs:
        kept, idle_s = server.infer_runs_kept, server.infer_runs_idle_s
        inference = RunInference(kept, idle_s, shared=role.duties.shared)
    line = Line(settings.server.budget_waiters, settings.server.budget_wait_ms / 1000)
    ids = KnownIds(settings.budgets, settings.server.max_new_ids_per_hour)
    return Counter(providers, HealthBoard(), line, ids, inference)


def condition_of(
    settings: Settings,
    role: ServeRole,
    books: Books,
    counter: Counter,
    collector: "Collector | None" = None,
    alerts: AlertStore | None = None,
) -> Condition:
    """How a process is; one that collects knows more."""
    return Condition(
        org=settings.server.org,
        store=settings.ledger.store,
        choice=books.choice,
        watch=books.watch,
        tally=books.tally,
        collector=collector,
        providers=counter.providers,
        health=counter.health,
        catalog=settings.catalog,
        alerts=alerts,
        line=counter.line,
        ids=counter.ids,
        gauges=BudgetGauges(settings.budgets, books.choice.largest, clock_of(books.ledger)),
        answers=role.duties.answers,
        allowance_left_nano=allowance_left(books.ledger, settings),
    )


@asynccontextmanager
async def open_front(
    settings: Settings, role: ServeRole, control_url: str = ""
) -> AsyncIterator[Front]:
    """A process that answers requests and has its control plane at `control_url`, if anywhere.

    A gateway owns its data directory. A worker has a part of its parent's.
    """
    data = DataDir(settings.data_dir)
    async with AsyncExitStack() as stack:
        directory = None
        if role is ServeRole.WORKER:
            directory = stack.enter_context(take_slot(data.redis)).path
        else:
            stack.enter_context(data.owned())
        books = await open_books(settings, role, stack, directory)
        await books.current.refresh()
        # A budget that this configuration does not have misses what is spent from here on.
        await books.ledger.note_counting(list(counting_names(books.current.book.budgets)))
        link = None
        if control_url:
            base = parse_base_url(control_url)
            link = ControlLink(base, Http1Client(base.origin))
            stack.push_async_callback(link.client.aclose)
        lender = link.client if link is not None and role is ServeRole.WORKER else None
        providers = await start_providers(
            settings, role.duties, lender, books.secret.internal_key, stack
        )
        _keep_up(books, stack)
        counter = new_counter(settings, role, providers)
        condition = condition_of(settings, role, books, counter)
        lifecycle = Lifecycle(desk_of(settings, books, counter))
        yield Front(settings, role, books, counter, condition, lifecycle, link)


def _keep_up(books: Books, stack: AsyncExitStack) -> None:
    """Follow what others change, and pay what is owed."""
    follow = (books.registry.refresh, books.current.refresh)
    beside(stack, keep_up("keys and budgets may be out of date", REFRESH_S, books.watch, *follow))
    pay = partial(settle_debts, books.ledger)
    beside(stack, keep_up("endings are owed to the ledger", SWEEP_S, books.watch, pay))
    keep_owners(books.owners, books.watch, stack)


def _counts_here(settings: Settings, provider: str) -> bool:
    """Whether a provider is asked in messages, and cannot count them itself."""
    section = settings.providers[provider]
    return section.translate and COUNTS in reached(section.dialects) - {*section.dialects}


def desk_of(settings: Settings, books: Books, counter: Counter) -> Desk:
    """What the ten stages of a request need."""
    catalog = settings.catalog
    frontier = catalog.tiers[-1].models[0] if catalog.tiers else None
    tokenizer = Tokenizer()
    return Desk(
        authenticate=books.registry.authenticate,
        denial=books.registry.denial,
        ledger=books.ledger,
        budgets=settings.budgets,
        prices=settings.prices,
        catalog=catalog,
        policies=settings.policies,
        health=counter.health,
        providers={
            name: Counted(one, tokenizer.count_prompt) if _counts_here(settings, name) else one
            for name, one in counter.providers.items()
        },
        timeouts={
            name: timeouts_of(section, settings.server)
            for name, section in settings.providers.items()
        },
        limit_fields={
            name: section.output_limit_field for name, section in settings.providers.items()
        },
        frontier=None if frontier is None else catalog.models[frontier],
        tier_of={model: tier.name for tier in reversed(catalog.tiers) for model in tier.models},
        tokenizer=tokenizer,
        limits=Limits(
            body_bytes=settings.server.max_body_bytes,
            answer_cap_tokens=settings.server.answer_cap_tokens,
            lease_ms=settings.server.lease_s * 1000,
            attempts=settings.server.attempts,
            concurrent_requests=settings.server.max_concurrent_requests,
            body_s=settings.server.body_timeout_s,
            step_tokens=settings.server.hold_step_tokens,
            retry_wait_ms=settings.server.retry_wait_ms,
            retry_within_s=settings.server.lease_s - settings.server.request_timeout_s,
            hosted_tool_uses=settings.server.hosted_tool_uses,
            least_audio_bits_per_s=settings.server.least_audio_bits_per_s,
        ),
        vocabularies=vocabularies(
            catalog.models.values(),
            {name for name, section in settings.providers.items() if section.kind in OPENAI_KINDS},
        ),
        line=counter.line,
        allow=allowance_of(books.ledger, settings),
        tally=books.tally,
        watch=books.watch,
        ids=counter.ids,
        inference=counter.inference,
        owners=books.owners,
        now_ms=clock_of(books.ledger),
        refresh_budgets=partial(_refresh_budgets, books.current),
    )


def run_routes(settings: Settings, role: ServeRole, books: Books, counter: Counter) -> RunRoutes:
    """Opens runs with budgets of their own, in a process that answers their requests."""
    services = RunServices(
        authenticate=books.registry.authenticate,
        denial=books.registry.denial,
        token_of=books.registry.run_token,
        runs=books.stores.runs,
        ledger=books.ledger,
        budgets=settings.budgets,
        ids=counter.ids,
        now_ms=now_ms,
        opens=role.duties.answers,
    )
    return RunRoutes(services)


async def _refresh_budgets(current: BudgetsInEffect) -> None:
    """Have the budgets in force before a request goes on; raise LedgerError where nobody knows."""
    try:
        await current.refresh()
    except RegistryError as error:
        raise LedgerError(f"other budgets are in force, and cannot be read: {error}") from error


def build_front(front: Front) -> DataPlane:
    """The ASGI application of a process that only answers requests."""
    settings, books, link = front.settings, front.books, front.link
    client, base = (None, None) if link is None else (link.client, link.base)
    control_plane = ControlForward(
        client, base, books.secret.internal_key, settings.server.max_body_bytes
    )
    metrics: Handler = MetricsRoute(
        settings.server.metrics,
        books.registry.authenticate,
        lambda: front.condition.read(lambda: front.lifecycle.under_way),
    )
    if front.role is ServeRole.WORKER:
        metrics = control_plane.forward  # the parent adds its workers up
    return DataPlane(
        answer=front.lifecycle.answer,
        control_plane=control_plane,
        authenticate=books.registry.authenticate,
        denial=books.registry.denial,
        runs=run_routes(settings, front.role, books, front.counter),
        catalog=settings.catalog,
        readiness=front.condition.readiness,
        metrics=None if settings.server.metrics == "off" else metrics,
    )


def serve_front(settings: Settings) -> int:
    """Run a gateway of several hosts until SIGINT or SIGTERM; the exit status. Raise RoleError."""
    check_role(ServeRole.GATEWAY, settings)
    url = settings.server.control_url
    opening = partial(open_front, role=ServeRole.GATEWAY, control_url=url)
    return run_server(settings, ServeRole.GATEWAY, opening, build_front)
