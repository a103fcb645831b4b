"""Two gateways on one ledger in Redis, and a way to look at the texts that are kept there."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from budgets.stores.in_redis import RedisLedger
from budgets.stores.redis_books import open_books
from budgets.stores.redis_scripts import Keys
from tests.contracts.ledger_backends import shaper
from tests.contracts.redis_server import shared_server


@dataclass(frozen=True, slots=True)
class Pair:
    """Both gateways, and where their ledger is."""

    first: RedisLedger
    second: RedisLedger
    org: str

    @property
    def url(self) -> str:
        return shared_server().url

    @property
    def keys(self) -> Keys:
        return Keys.of(self.org)

    @property
    def client(self) -> "Redis":
        return shared_server().client


Story = Callable[[Pair], Awaitable[None]]


@asynccontextmanager
async def two_gateways(org: str, directory: Path) -> AsyncIterator[Pair]:
    ledgers = [
        RedisLedger(
            shared_server().url,
            org,
            shaper(),
            directory / name,
            timeout_ms=20_000,
            may_found=True,
            server_time=False,
        )
        for name in ("first", "second")
    ]
    try:
        for ledger in ledgers:
            await ledger.open()
        yield Pair(*ledgers, org)
    finally:
        for ledger in ledgers:
            await ledger.aclose()


def play(directory: Path, story: Story) -> None:
    """Tell a story to two gateways on a fresh ledger, which must add up in the end."""
    org = uuid.uuid4().hex

    async def told() -> None:
        async with two_gateways(org, directory) as pair:
            await story(pair)

    try:
        asyncio.run(told())
        with open_books(shared_server().url, org) as books:
            assert list(books.faults()) == []
    finally:
        shared_server().client.delete(*Keys.of(org).all())
