"""What the ledger's tests share: every store behind one door, and short words for its values.

A store joins the suite with one function here that opens it on an empty directory.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from budgets.ledger import Account, Bill, Hold, Refusal, Reservation, Settlement, postings
from budgets.port import EventShaper, OutboxEvent, SeedingBooks, SeedingLedger
from budgets.scopes import Charge, Unit, Window
from budgets.stores import redis_books
from budgets.stores.in_memory import InMemoryLedger
from budgets.stores.in_redis import RedisLedger
from budgets.stores.in_sqlite import SqliteLedger
from budgets.stores.redis_scripts import Keys
from budgets.stores.sqlite_books import open_books
from tests.contracts.redis_server import shared_server

T = TypeVar("T")

NOON_MS = 1_793_491_200_000
LEASE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Opened:
    """A store and the way to its books; the books show what is durable."""

    store: SeedingLedger
    books: Callable[[], AbstractContextManager[SeedingBooks]]

    async def account(self, name: str) -> Account:
        return (await self.store.survey([name])).get(name, Account())

    def outbox_ids(self) -> list[str]:
        return [row.event_id for row in self.store.outbox_after(0, 10_000)]


Backend = Callable[[Path], AbstractAsyncContextManager[Opened]]
Story = Callable[[Opened], Awaitable[T]]


def shaper() -> EventShaper:
    """Events whose ids tell where they come from; a draft is the id of its hold."""
    return EventShaper(
        assumed=lambda draft, posted_nano, now_ms: OutboxEvent(
            f"{draft.decode()}-assumed", b"%d" % posted_nano, now_ms
        ),
        correction=lambda event, delta_nano: OutboxEvent(
            f"{event.event_id}-correction", b"%d" % delta_nano, event.ended_ms
        ),
    )


@asynccontextmanager
async def in_memory(_: Path) -> AsyncIterator[Opened]:
    ledger = InMemoryLedger(shaper())
    yield Opened(ledger, lambda: nullcontext(ledger))


@asynccontextmanager
async def in_sqlite(directory: Path) -> AsyncIterator[Opened]:
    path = directory / "ledger.sqlite3"
    ledger = SqliteLedger(path, shaper())
    try:
        yield Opened(ledger, lambda: open_books(path))
    finally:
        ledger.close()


@asynccontextmanager
async def in_redis(directory: Path) -> AsyncIterator[Opened]:
    """On the server that all tests share, under the name of an organisation nobody else has.

    Its timeout is generous, because no test of the contract is about a server that is slow.
    """
    server, org = shared_server(), uuid.uuid4().hex
    ledger = RedisLedger(
        server.url,
        org,
        shaper(),
        directory / "redis",
        timeout_ms=20_000,
        may_found=True,
        server_time=False,
    )
    try:
        await ledger.open()
        yield Opened(ledger, lambda: redis_books.open_books(server.url, org))
    finally:
        await ledger.aclose()
        server.client.delete(*Keys.of(org).all())


each_store = pytest.mark.parametrize(
    "backend",
    [
        pytest.param(in_memory, id="memory"),
        pytest.param(in_sqlite, id="sqlite"),
        pytest.param(in_redis, id="redis", marks=pytest.mark.redis),
    ],
)


def play(backend: Backend, directory: Path, story: Story[T]) -> T:
    """Tell a story to a fresh store; whatever it was, the books must add up in the end."""

    async def told() -> T:
        async with backend(directory) as opened:
            result = await story(opened)
            await opened.store.record(event("the-end"))
            with opened.books() as books:
                assert list(books.faults()) == []
            return result

    return asyncio.run(told())


def charge(account: str, limit: int | None = None) -> Charge:
    """An account of its own name, in the unit that the name tells (`team:t|day/tokens|0`)."""
    unit = next((unit for unit in Unit if f"/{unit}" in account), Unit.USD)
    return Charge(account, account.partition("|")[0], Window.TOTAL, limit, None, unit=unit)


def gate(*counted: str) -> Charge:
    """Shut while anything is in one of the accounts."""
    return Charge("", "gate", Window.TOTAL, 0, None, lone=True, counted=counted, unit=Unit.GATE)


def reservation(
    hold_id: str,
    amount_nano: int,
    *charges: Charge,
    now_ms: int = NOON_MS,
    lease_ms: int = LEASE_MS,
    tokens: int = 0,
) -> Reservation:
    wanted = charges or (charge("org:o"),)
    return Reservation(hold_id, amount_nano, wanted, now_ms, lease_ms, tokens=tokens)


def bill(asked: Reservation, cost_nano: int, tokens: int = 0, *spared: str) -> Bill:
    """What a settlement of the reservation says of its accounts; those spared take nothing."""
    return Bill(tokens, posted=postings(asked.charges, cost_nano, tokens, spared))


def event(event_id: str, ended_ms: int = NOON_MS + 1_000) -> OutboxEvent:
    return OutboxEvent(event_id, b'{"event":"%b"}' % event_id.encode(), ended_ms)


async def held(store: SeedingLedger, asked: Reservation) -> Hold:
    """The hold of a reservation that must be admitted."""
    hold = await store.reserve(asked)
    assert isinstance(hold, Hold), hold
    return hold


async def refused(store: SeedingLedger, asked: Reservation) -> Refusal:
    """The refusal of a reservation that must not be admitted."""
    refusal = await store.reserve(asked)
    assert isinstance(refusal, Refusal), refusal
    return refusal


async def sent(store: SeedingLedger, asked: Reservation) -> Hold:
    """The dispatched hold of a reservation that must be admitted."""
    hold = await held(store, asked)
    return await store.dispatch(hold, hold.hold_id.encode())


async def spent(
    store: SeedingLedger, asked: Reservation, cost_nano: int, tokens: int = 0, *spared: str
) -> Settlement:
    """A whole request: reserved, dispatched and settled under the id of its hold."""
    hold = await sent(store, asked)
    billed = bill(asked, cost_nano, tokens, *spared)
    return await store.settle(hold, cost_nano, event(asked.hold_id), billed)
