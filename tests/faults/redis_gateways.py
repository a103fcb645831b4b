"""A gateway's Redis ledger on a server that a test may freeze, fill, flush and kill."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from budgets.ledger import Account, HoldState, LedgerError, Settlement
from budgets.port import RestoredEntry
from budgets.stores.in_redis import RedisLedger
from budgets.stores.redis_books import open_books
from budgets.stores.redis_life import LedgerUnreachableError
from tests.contracts.ledger_backends import event, held, reservation, shaper
from tests.contracts.redis_server import RedisServer

ORG = "acme"
TIMEOUT_MS = 250
DENIED_WITHIN_S = 0.4
"""The timeout, and what a busy machine adds until a task runs again."""


def ledger_on_url(
    url: str, directory: Path, *, may_found: bool = True, timeout_ms: int = TIMEOUT_MS
) -> RedisLedger:
    return RedisLedger(url, ORG, shaper(), directory, timeout_ms=timeout_ms, may_found=may_found)


def ledger_on(server: RedisServer, directory: Path, *, may_found: bool = True) -> RedisLedger:
    return ledger_on_url(server.url, directory, may_found=may_found)


@asynccontextmanager
async def gateway(
    server: RedisServer, directory: Path, *, may_found: bool = True
) -> AsyncIterator[RedisLedger]:
    ledger = ledger_on(server, directory, may_found=may_found)
    try:
        await ledger.open()
        yield ledger
    finally:
        await ledger.aclose()


async def org_account(ledger: RedisLedger) -> Account:
    return (await ledger.survey(["org:o"])).get("org:o", Account())


async def denied(move: Callable[[], Awaitable[object]], match: str | None = None) -> None:
    """A move that must fail in time."""
    started_s = time.monotonic()
    with pytest.raises(LedgerError, match=match):
        await move()
    assert time.monotonic() - started_s < DENIED_WITHIN_S


async def works_again(ledger: RedisLedger, name: str) -> None:
    """Reserve until it succeeds: nothing but time may be needed."""
    give_up_s = time.monotonic() + 10
    while True:
        try:
            await ledger.release(await held(ledger, reservation(name, 1)), None)
            return
        except LedgerUnreachableError:
            assert time.monotonic() < give_up_s
            await asyncio.sleep(0.02)


def assert_books_add_up(server: RedisServer) -> None:
    with open_books(server.url, ORG) as books:
        assert list(books.faults()) == []


def settled(number: int, posted_nano: int) -> RestoredEntry:
    """What the warehouse tells of a request."""
    settlement = Settlement(f"h{number}", HoldState.SETTLED, posted_nano, 0)
    return RestoredEntry(settlement, ("org:o",), f"h{number}", event("any").ended_ms)
