"""Parts of a gateway that are opened with it or run beside its requests, but for the ledger."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from budgets.ledger import LedgerError
from budgets.port import LedgerStore, OutboxRow
from gateway.alert_store import AlertStore
from gateway.alerts import AlertWatch
from gateway.auth import load_secret
from gateway.budget_board import OpenAccounts, Query
from gateway.clock import now_ms
from gateway.config import ServerSection, Settings
from gateway.data_dir import DataDir
from gateway.key_registry import KeyRegistry
from gateway.ledger_watch import LedgerWatch
from gateway.providers.build import build_provider
from gateway.providers.config import ProviderSection
from gateway.providers.port import Provider, Timeouts
from gateway.run_registry import RunRegistry
from gateway.tally import LedgerOutcome, Tally
from gateway.webhook import Receiver, Webhook
from telemetry.queries import QueryBook
from telemetry.warehouse import Warehouse

LOG = logging.getLogger("weir.app")
SWEEP_S = 5.0
ReadOutbox = Callable[[int, int], Sequence[OutboxRow]]


class Trimmer:
    """Trims the outbox on the event loop, where the ledger lives, for the collector's thread."""

    def __init__(self, ledger: LedgerStore, watch: LedgerWatch) -> None:
        self._ledger = ledger
        self._watch = watch
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
            self._watch.failed(LedgerOutcome.RETRIED, error)

    async def finish(self) -> None:
        """Wait for the last trim."""
        if self._last is not None:
            await asyncio.wrap_future(self._last)


def watched_outbox(read: ReadOutbox, watch: LedgerWatch) -> ReadOutbox:
    """The same reading of the outbox, on whichever thread, with its errors counted."""
    loop = asyncio.get_running_loop()

    def read_and_count(seq: int, limit: int) -> Sequence[OutboxRow]:
        try:
            return read(seq, limit)
        except LedgerError as error:
            loop.call_soon_threadsafe(watch.failed, LedgerOutcome.RETRIED, error)
            raise

    return read_and_count


def query_of(warehouse: Warehouse) -> Query:
    """The answer to a named query of the warehouse."""
    queries = QueryBook.load()

    async def run_query(name: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        return await asyncio.to_thread(queries.run, warehouse, name, **params)

    return run_query


async def sweep(ledger: LedgerStore, tally: Tally, watch: LedgerWatch) -> None:
    """End holds whose lease ran out, for as long as the gateway lives."""
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            ended = await ledger.expire(now_ms())
        except LedgerError as error:
            LOG.error("expired holds could not be ended: %s", error)
            watch.failed(LedgerOutcome.RETRIED, error)
            continue
        tally.ended_leases(ended)
        if ended:
            LOG.warning("ended %d holds whose lease ran out", len(ended))


def watch_budgets(
    settings: Settings,
    data: DataDir,
    accounts: OpenAccounts,
    clock: Callable[[], int],
    ledger_watch: LedgerWatch,
    stack: AsyncExitStack,
) -> AlertStore:
    """Tell when budgets reach their thresholds, for as long as the gateway lives."""
    alerts = settings.alerts
    webhook = None
    if alerts.webhook_url_env is not None:
        url = settings.env[alerts.webhook_url_env]
        webhook = Webhook(Receiver(url, alerts.timeout_s, alerts.attempts))
        stack.push_async_callback(webhook.close)
    store = AlertStore(data.keys)
    stack.callback(store.close)
    watch = AlertWatch(settings.budgets, accounts, store, webhook, clock, ledger_watch)
    task = asyncio.get_running_loop().create_task(watch.run())

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)
    return store


def timeouts_of(section: ProviderSection, server: ServerSection) -> Timeouts:
    """A provider's limits within the gateway's own."""
    limits = section.timeouts.to_port()
    return replace(limits, total_s=min(limits.total_s, server.request_timeout_s))


def open_registries(
    settings: Settings, data: DataDir, stack: AsyncExitStack
) -> tuple[KeyRegistry, RunRegistry]:
    """Keys and runs, closed with the gateway; raise AuthError where there is no good secret."""
    secret, server = load_secret(data.path, settings.env), settings.server
    registry = KeyRegistry(data.keys, secret, org=server.org, demo=server.demo_key)
    stack.callback(registry.close)
    runs = RunRegistry(data.keys)
    stack.callback(runs.close)
    return registry, runs


def open_warehouse(settings: Settings, data: DataDir, stack: AsyncExitStack) -> Warehouse:
    """The warehouse, closed with the gateway; raise WarehouseError where it cannot be opened."""
    limits = settings.telemetry
    warehouse = Warehouse.open(
        data.warehouse, memory_limit_mb=limits.memory_limit_mb, threads=limits.threads
    )
    stack.callback(warehouse.close)
    return warehouse


async def started_providers(
    settings: Settings, data: DataDir, stack: AsyncExitStack
) -> dict[str, Provider]:
    """Every provider, started, and stopped with the gateway."""
    providers = {
        name: build_provider(name, section, data.path, settings.env)
        for name, section in settings.providers.items()
    }
    for provider in providers.values():
        await provider.start()
        stack.push_async_callback(provider.stop)
    return providers
