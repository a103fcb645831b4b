"""The configured registries: tables in the data directory, or in Redis beside its ledger."""
# What speaks Redis is imported where a ledger is in Redis: it takes 7 MB that others do not need.
# ruff: noqa: PLC0415

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.auth import SECRET_ENV, AuthError, load_secret
from gateway.config import Settings
from gateway.data_dir import DataDir
from gateway.ledger_choice import shared_prefix
from gateway.registries.in_sqlite import SqliteAlerts, SqliteBudgets, SqliteKeys, SqliteRuns
from gateway.registries.objects import ObjectStore
from gateway.registries.objects_in_sqlite import SqliteObjects
from gateway.registries.port import AlertStore, BudgetStore, KeyStore, RunStore

if TYPE_CHECKING:
    from gateway.registry_copies import RegistryCopies


@dataclass(frozen=True, slots=True)
class Stores:
    """The open stores of all registries; `copies` where they are kept elsewhere and copied here."""

    keys: KeyStore
    budgets: BudgetStore
    alerts: AlertStore
    runs: RunStore
    objects: ObjectStore
    copies: "RegistryCopies | None" = None


@asynccontextmanager
async def open_stores(
    settings: Settings, data: DataDir, *, copied: bool = False
) -> AsyncIterator[Stores]:
    """The registries of these settings; raise RegistryError or AuthError.

    With `copied` a registry in Redis has its copy in the data directory, which the caller owns.
    """
    if settings.ledger.store == "redis":
        async with _in_redis(settings, data, copied=copied) as stores:
            yield stores
        return
    path = data.keys
    stores = Stores(
        SqliteKeys(path),
        SqliteBudgets(path),
        SqliteAlerts(path),
        SqliteRuns(path),
        SqliteObjects(path),
    )
    try:
        yield stores
    finally:
        for store in (stores.keys, stores.budgets, stores.alerts, stores.runs, stores.objects):
            await store.aclose()


@asynccontextmanager
async def _in_redis(settings: Settings, data: DataDir, *, copied: bool) -> AsyncIterator[Stores]:
    from gateway.registries.in_redis import (
        RedisAlerts,
        RedisBudgets,
        RedisKeys,
        RedisRuns,
        SharedRedis,
    )
    from gateway.registries.objects_in_redis import RedisObjects
    from gateway.registry_copies import RegistryCopies

    ledger = settings.ledger
    shared = SharedRedis(
        settings.env[ledger.redis_url_env],
        shared_prefix(settings.server.org),
        ledger.timeout_ms / 1000,
    )
    keys, budgets = RedisKeys(shared), RedisBudgets(shared)
    copies = None
    try:
        if not await shared.agree(load_secret(data.path, settings.env).fingerprint):
            raise AuthError(
                f"the other gateways on this Redis use another secret: set {SECRET_ENV} to the "
                "same text on every host (docs/deployment.md tells how to change it for all)"
            )
        if copied:
            own = (SqliteKeys(data.keys), SqliteBudgets(data.keys))
            copies = RegistryCopies(own, (keys, budgets))
            await copies.restore()
        alerts, runs, objects = RedisAlerts(shared), RedisRuns(shared), RedisObjects(shared)
        yield Stores(keys, budgets, alerts, runs, objects, copies)
    finally:
        if copies is not None:
            await copies.aclose()
        await shared.aclose()
