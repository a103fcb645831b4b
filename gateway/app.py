"""The only composer: opens the stores, starts the providers, and puts the gateway together.

open_gateway(settings)           everything of one gateway, opened and closed in order
build_app(gateway)               its ASGI application
serve(settings)                  the same behind a web server, until a signal
offline_audit, offline_request   the books without a gateway, for commands while it is down
rebuild_ledger(settings)         put back what a Redis ledger forgot, while the gateway is down
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from budgets.ledger import LedgerError
from budgets.port import EventShaper, LedgerBooks, LedgerStore, OutboxRow
from budgets.stores.in_sqlite import SqliteLedger
from budgets.stores.sqlite_books import open_books
from gateway.auth import load_secret
from gateway.budget_report import Accounts, budget_rows
from gateway.clock import now_ms
from gateway.config import ServerSection, Settings
from gateway.control_plane import ControlPlane
from gateway.control_services import ControlServices
from gateway.data_dir import DataDir
from gateway.desk import Desk, Limits
from gateway.health_board import HealthBoard
from gateway.key_registry import KeyRegistry
from gateway.ledger_rebuild import restored_entries
from gateway.lifecycle import Lifecycle
from gateway.providers.build import build_provider
from gateway.providers.config import ProviderSection
from gateway.providers.port import Provider, Timeouts
from gateway.routes.data_plane import DataPlane
from gateway.serving import base_url, run_server
from gateway.tokenizer import Tokenizer
from telemetry.audit import AuditReport, audit
from telemetry.collector import Collector
from telemetry.event import assumed_event, correction_event
from telemetry.queries import QueryBook
from telemetry.warehouse import Warehouse

if TYPE_CHECKING:
    from budgets.stores.in_redis import RedisLedger

# What speaks Redis is imported where a ledger is in Redis: it takes 7 MB that others do not need.
# ruff: noqa: PLC0415

LOG = logging.getLogger("weir.app")
SWEEP_S = 5.0
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
    queries: QueryBook

    async def run_query(self, name: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        """The answer to a named query of the warehouse."""
        return await asyncio.to_thread(self.queries.run, self.warehouse, name, **params)

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
        with self.collector.paused(), _books(self.settings, self.data) as books:
            return audit(books, self.warehouse)

    async def budgets(self) -> list[dict[str, Any]]:
        """Each budget with what is spent, held and left."""
        return await asyncio.to_thread(self._budgets)

    def _budgets(self) -> list[dict[str, Any]]:
        with _accounts(self.settings, self.data) as accounts:
            now_s = _clock_of(self.ledger)() // 1000
            return budget_rows(self.settings.budgets.budgets, accounts, now_s)

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
        ledger = await _open_ledger(settings, data, stack)
        warehouse = Warehouse.open(
            data.warehouse,
            memory_limit_mb=settings.telemetry.memory_limit_mb,
            threads=settings.telemetry.threads,
        )
        stack.callback(warehouse.close)
        trimmer = _Trimmer(ledger)
        stack.push_async_callback(trimmer.finish)
        collector = Collector(
            partial(_collectable, ledger),
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
        sweeper = asyncio.get_running_loop().create_task(_sweep(ledger))
        stack.callback(sweeper.cancel)
        yield Gateway(
            settings, data, registry, ledger, warehouse, collector, providers, QueryBook.load()
        )


async def _open_ledger(
    settings: Settings, data: DataDir, stack: AsyncExitStack
) -> "SqliteLedger | RedisLedger":
    """The configured ledger with nothing left to do from before; the stack closes it."""
    if settings.ledger.store == "redis":
        shared = _redis_ledger(settings, data)
        stack.push_async_callback(shared.aclose)
        await shared.open()
        await shared.expire(now_ms())
        return shared
    ledger = SqliteLedger(
        data.ledger,
        EventShaper(assumed_event, correction_event),
        journal_sync_ms=settings.server.journal_sync_ms,
    )
    stack.callback(ledger.close)
    await _end_orphans(ledger)
    return ledger


def _redis_ledger(settings: Settings, data: DataDir) -> "RedisLedger":
    """Not connected yet. An installation with a warehouse is not new, so its ledger cannot be."""
    from budgets.stores.in_redis import RedisLedger

    return RedisLedger(
        _redis_url(settings),
        settings.server.org,
        EventShaper(assumed_event, correction_event),
        data.redis,
        timeout_ms=settings.ledger.timeout_ms,
        may_found=not data.warehouse.exists(),
    )


def _redis_url(settings: Settings) -> str:
    return settings.env[settings.ledger.redis_url_env]


def _books(settings: Settings, data: DataDir) -> AbstractContextManager[LedgerBooks]:
    """The books of the configured ledger."""
    if settings.ledger.store == "redis":
        from budgets.stores import redis_books

        return redis_books.open_books(_redis_url(settings), settings.server.org)
    return open_books(data.ledger)


@contextmanager
def _accounts(settings: Settings, data: DataDir) -> Iterator[Accounts]:
    """The accounts of the configured ledger."""
    if settings.ledger.store == "redis":
        from budgets.stores import redis_books

        url, timeout_s = _redis_url(settings), settings.ledger.timeout_ms / 1000
        accounts = redis_books.read_accounts(url, settings.server.org, timeout_s)
        yield partial(redis_books.accounts_of, accounts)
        return
    with open_books(data.ledger) as books:
        yield books.accounts


def _collectable(ledger: "SqliteLedger | RedisLedger", seq: int, limit: int) -> Sequence[OutboxRow]:
    """The outbox, where it is this gateway's to collect: of those on one Redis, one does."""
    if isinstance(ledger, SqliteLedger) or ledger.collects:
        return ledger.outbox_after(seq, limit)
    return ()


async def _end_orphans(ledger: SqliteLedger) -> None:
    """Settle what a killed gateway left open; this process owns the ledger now."""
    await ledger.abandon_leases()
    while ended := await ledger.expire(now_ms()):
        LOG.warning("ended %d holds that an earlier process left open", len(ended))


async def _sweep(ledger: LedgerStore) -> None:
    """End holds whose lease ran out, for as long as the gateway lives."""
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            ended = await ledger.expire(now_ms())
        except LedgerError as error:
            LOG.error("expired holds could not be ended: %s", error)
            continue
        if ended:
            LOG.warning("ended %d holds whose lease ran out", len(ended))


class _Trimmer:
    """Trims the outbox on the event loop, where the ledger lives, for the collector's thread."""

    def __init__(self, ledger: LedgerStore) -> None:
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._last: Future[None] | None = None

    def trim(self, up_to_seq: int) -> None:
        """Forget events up to a number, soon."""
        self._last = asyncio.run_coroutine_threadsafe(self._trim(up_to_seq), self._loop)

    async def _trim(self, up_to_seq: int) -> None:
        try:
            await self._ledger.trim_outbox(up_to_seq)
        except LedgerError as error:
            LOG.error("the outbox could not be trimmed: %s", error)

    async def finish(self) -> None:
        """Wait for the last trim."""
        if self._last is not None:
            await asyncio.wrap_future(self._last)


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
            name: _timeouts(section, settings.server)
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
        now_ms=_clock_of(gateway.ledger),
    )


def _clock_of(ledger: "SqliteLedger | RedisLedger") -> Callable[[], int]:
    """Gateways that share accounts share the clock by which their windows begin."""
    return now_ms if isinstance(ledger, SqliteLedger) else ledger.now_ms


def _timeouts(section: ProviderSection, server: ServerSection) -> Timeouts:
    """A provider's limits within the gateway's own."""
    limits = section.timeouts.to_port()
    return replace(limits, total_s=min(limits.total_s, server.request_timeout_s))


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
    with _offline(settings) as (data, warehouse), _books(settings, data) as books:
        return audit(books, warehouse)


def rebuild_ledger(settings: Settings) -> int:
    """Put back every entry the Redis ledger lacks and trust it again; how many entries were.

    Raise LedgerError where the ledger is not in Redis, or Redis cannot keep it.
    """
    if settings.ledger.store != "redis":
        raise LedgerError('only a ledger in Redis is rebuilt, and config.toml says "sqlite"')

    async def rebuild(data: DataDir, warehouse: Warehouse) -> int:
        ledger = _redis_ledger(settings, data)
        try:
            added = await ledger.rebuild(restored_entries(warehouse, settings.budgets))
            await ledger.open()
            return added
        finally:
            await ledger.aclose()

    with _offline(settings) as (data, warehouse):
        return asyncio.run(rebuild(data, warehouse))


def offline_request(settings: Settings, request_id: str) -> dict[str, Any] | None:
    """One request while no gateway runs; what is still in the outbox is not found."""
    with _offline(settings) as (_, warehouse):
        rows = QueryBook.load().run(warehouse, "request_one", request_id=request_id)
    return rows[0] if rows else None
