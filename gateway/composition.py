"""What only a process that collects has beside its requests; no ledger is opened here."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import Any

from budgets.ledger import LedgerError
from budgets.port import LedgerStore, OutboxRow
from gateway.alerts import AlertWatch
from gateway.budget_board import OpenAccounts, Query
from gateway.clock import now_ms
from gateway.config import Settings
from gateway.ledger_watch import LedgerWatch
from gateway.registries.port import AlertStore
from gateway.tally import LedgerOutcome, Tally
from gateway.upkeep import beside
from gateway.webhook import Receiver, Webhook
from telemetry.queries import QueryBook
from telemetry.warehouse import Warehouse

LOG = logging.getLogger("weir.app")
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


async def sweep(ledger: LedgerStore, tally: Tally) -> None:
    """End holds whose lease ran out."""
    ended = await ledger.expire(now_ms())
    tally.ended_leases(ended)
    if ended:
        LOG.warning("ended %d holds whose lease ran out", len(ended))


def watch_budgets(
    settings: Settings,
    store: AlertStore,
    accounts: OpenAccounts,
    clock: Callable[[], int],
    ledger_watch: LedgerWatch,
    stack: AsyncExitStack,
) -> None:
    """Tell when budgets reach their thresholds, for as long as the gateway lives."""
    alerts = settings.alerts
    webhook = None
    if alerts.webhook_url_env is not None:
        url = settings.env[alerts.webhook_url_env]
        webhook = Webhook(Receiver(url, alerts.timeout_s, alerts.attempts))
        stack.push_async_callback(webhook.close)
    watch = AlertWatch(settings.budgets, accounts, store, webhook, clock, ledger_watch)
    beside(stack, watch.run())
