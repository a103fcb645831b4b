"""The registry stores by name, as many as a test wants on the same registry."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.registries.in_redis import (
    RedisAlerts,
    RedisBudgets,
    RedisKeys,
    RedisRuns,
    SharedRedis,
)
from gateway.registries.in_sqlite import SqliteAlerts, SqliteBudgets, SqliteKeys, SqliteRuns
from gateway.registries.objects import ObjectStore
from gateway.registries.objects_in_redis import RedisObjects
from gateway.registries.objects_in_sqlite import SqliteObjects
from gateway.registries.port import AlertStore, BudgetStore, KeyStore, RunStore
from tests.contracts.redis_server import shared_server

STORES = ("sqlite", "redis")


@dataclass(frozen=True, slots=True)
class Party:
    """What one gateway has open of a registry."""

    keys: KeyStore
    budgets: BudgetStore
    alerts: AlertStore
    runs: RunStore
    objects: ObjectStore


@asynccontextmanager
async def parties(name: str, folder: Path, count: int = 1) -> AsyncIterator[list[Party]]:
    """So many gateways on one registry."""
    opened: list[Party] = []
    shared: list[SharedRedis] = []
    path, prefix = folder / "keys.sqlite3", f"{{weir:{secrets.token_hex(6)}}}:"
    for _ in range(count):
        if name == "sqlite":
            own = (SqliteKeys(path), SqliteBudgets(path), SqliteAlerts(path), SqliteRuns(path))
            opened.append(Party(*own, SqliteObjects(path)))
            continue
        one = SharedRedis(shared_server().url, prefix, 5.0)
        shared.append(one)
        own = (RedisKeys(one), RedisBudgets(one), RedisAlerts(one), RedisRuns(one))
        opened.append(Party(*own, RedisObjects(one)))
    try:
        yield opened
    finally:
        for party in opened:
            for store in (party.keys, party.budgets, party.alerts, party.runs, party.objects):
                await store.aclose()
        for one in shared:
            await one.aclose()


def told(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story; thirty seconds are enough for any."""

    async def limited() -> None:
        async with asyncio.timeout(30):
            await story()

    asyncio.run(limited())
