"""Parts of a gateway that run beside its requests; no ledger is opened here."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from budgets.ledger import LedgerError
from budgets.port import LedgerStore
from gateway.alert_store import AlertStore
from gateway.alerts import AlertWatch
from gateway.budget_board import OpenAccounts, Query
from gateway.clock import now_ms
from gateway.config import ServerSection, Settings
from gateway.data_dir import DataDir
from gateway.providers.config import ProviderSection
from gateway.providers.port import Timeouts
from gateway.webhook import Receiver, Webhook
from telemetry.queries import QueryBook
from telemetry.warehouse import Warehouse

LOG = logging.getLogger("weir.app")
SWEEP_S = 5.0


class Trimmer:
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


def query_of(warehouse: Warehouse) -> Query:
    """The answer to a named query of the warehouse."""
    queries = QueryBook.load()

    async def run_query(name: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        return await asyncio.to_thread(queries.run, warehouse, name, **params)

    return run_query


async def sweep(ledger: LedgerStore) -> None:
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


def watch_budgets(
    settings: Settings,
    data: DataDir,
    accounts: OpenAccounts,
    clock: Callable[[], int],
    stack: AsyncExitStack,
) -> None:
    """Tell when budgets reach their thresholds, for as long as the gateway lives."""
    alerts = settings.alerts
    webhook = None
    if alerts.webhook_url_env is not None:
        url = settings.env[alerts.webhook_url_env]
        webhook = Webhook(Receiver(url, alerts.timeout_s, alerts.attempts))
        stack.push_async_callback(webhook.close)
    store = AlertStore(data.keys)
    stack.callback(store.close)
    watch = AlertWatch(settings.budgets, accounts, store, webhook, clock)
    task = asyncio.get_running_loop().create_task(watch.run())

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)


def timeouts_of(section: ProviderSection, server: ServerSection) -> Timeouts:
    """A provider's limits within the gateway's own."""
    limits = section.timeouts.to_port()
    return replace(limits, total_s=min(limits.total_s, server.request_timeout_s))
