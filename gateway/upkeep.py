"""What any process has beside its requests: providers, and work that is done again and again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from budgets.ledger import LedgerError
from gateway.config import ServerSection, Settings
from gateway.ledger_watch import LedgerWatch
from gateway.ownership import Owners
from gateway.providers.borrowed_model import BorrowedModel
from gateway.providers.build import build_provider
from gateway.providers.config import LocalModelSection, ProviderSection
from gateway.providers.http_client import HttpClient
from gateway.providers.port import Provider, Timeouts
from gateway.registries.port import RegistryError
from gateway.roles import Duties
from gateway.tally import LedgerOutcome
from gateway.translated import target_of, translated

LOG = logging.getLogger("weir.app")
SWEEP_S = 5.0
REFRESH_S = 0.5
TRIM_S = 600.0
STOP_AGAIN_S = 0.1


async def keep_up(
    what: str, pause_s: float, watch: LedgerWatch, *works: Callable[[], Awaitable[object]]
) -> None:
    """Do some work again and again, for as long as the gateway lives.

    Every failure of the ledger is counted, and the first of several in a row is logged.
    """
    failing = False
    while True:
        await asyncio.sleep(pause_s)
        try:
            for work in works:
                await work()
        except (LedgerError, RegistryError, OSError) as error:
            if not failing:
                LOG.error("%s: %s", what, error)
            failing = True
            if isinstance(error, LedgerError):
                watch.failed(LedgerOutcome.RETRIED, error)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # A client library may take a cancellation for a failure of its own.
                raise asyncio.CancelledError from error
        else:
            failing = False


def beside(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Have something run until the stack is left."""
    task = asyncio.get_running_loop().create_task(work)

    async def stop() -> None:
        # One cancellation is not enough where a library takes it for a failure of its own.
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=STOP_AGAIN_S)

    stack.push_async_callback(stop)


def keep_owners(
    owners: Owners, watch: LedgerWatch, stack: AsyncExitStack, *, trims: bool = False
) -> None:
    """Write down whose responses are that could not be at once; one process also `trims`."""
    beside(stack, keep_up("whose responses are is not written", SWEEP_S, watch, owners.pay))
    if trims:
        beside(stack, keep_up("old responses are not forgotten", TRIM_S, watch, owners.trim))


def keepers(sections: Mapping[str, ProviderSection]) -> list[str]:
    """The providers that keep responses; a scripted one forgets, and counts from one again."""
    speaking = [pair for pair in sections.items() if "responses" in pair[1].dialects]
    return [name for name, section in speaking if section.kind != "scripted"]


async def start_providers(
    settings: Settings,
    duties: Duties,
    lender: HttpClient | None,
    internal_key: str,
    stack: AsyncExitStack,
) -> Mapping[str, Provider]:
    """The providers this process needs, started: all to answer, local ones to lend.

    With a `lender` the local models are those of another process.
    """
    providers: dict[str, Provider] = {}
    for name, section in settings.providers.items():
        local = isinstance(section, LocalModelSection)
        if not (duties.models if local and lender is None else duties.answers):
            continue
        providers[name] = (
            BorrowedModel(name, lender, internal_key)
            if local and lender is not None
            else build_provider(name, section, settings.data_dir, settings.env)
        )
        if duties.answers and section.translate:
            providers[name] = translated(providers[name], section.dialects, target_of(section))
    for provider in providers.values():
        await provider.start()
        stack.push_async_callback(provider.stop)
    return providers


def timeouts_of(section: ProviderSection, server: ServerSection) -> Timeouts:
    """A provider's limits within the gateway's own."""
    limits = section.timeouts.to_port()
    return replace(limits, total_s=min(limits.total_s, server.request_timeout_s))
