"""Registries in Redis and what a data directory keeps of them, on a real server."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.auth import Role
from gateway.registries.in_redis import RedisBudgets, RedisKeys, SharedRedis
from gateway.registries.in_sqlite import SqliteBudgets, SqliteKeys
from gateway.registries.port import KeyRecord, RegistryError, StoredKey
from gateway.registry_copies import RegistryCopies
from tests.contracts.redis_server import shared_server
from tests.unit.gateway.desks import run

pytestmark = pytest.mark.redis

ANA = StoredKey(b"a" * 32, KeyRecord("k1", "Ana", "lab", "notes", Role.DATA, None, 5, None))
BEN = StoredKey(b"b" * 32, KeyRecord("k2", "Ben", "lab", "notes", Role.DATA, None, 6, None))
TERMS, MORE = '{"limit_usd": "1"}', '{"limit_usd": "2"}'


@dataclass(frozen=True, slots=True)
class Both:
    """One data directory and one Redis."""

    shared: SharedRedis
    keys: RedisKeys
    budgets: RedisBudgets
    copies: RegistryCopies

    async def forget(self) -> None:
        """As a flush does."""
        found = await self.shared.client.keys(self.shared.name("*"))
        if found:
            await self.shared.client.delete(*found)


@asynccontextmanager
async def both(folder: Path, prefix: str) -> AsyncIterator[Both]:
    shared = SharedRedis(shared_server().url, prefix, 5.0)
    keys, budgets = RedisKeys(shared), RedisBudgets(shared)
    path = folder / "keys.sqlite3"
    copies = RegistryCopies((SqliteKeys(path), SqliteBudgets(path)), (keys, budgets))
    try:
        yield Both(shared, keys, budgets, copies)
    finally:
        await copies.aclose()
        await shared.aclose()


def new_prefix() -> str:
    return f"{{weir:{secrets.token_hex(6)}}}:"


def test_what_redis_forgot_comes_back_from_the_copy(tmp_path: Path) -> None:
    prefix = new_prefix()

    async def story() -> None:
        async with both(tmp_path, prefix) as one:
            await one.keys.add([ANA, BEN])
            await one.keys.revoke("k2", 9)
            await one.budgets.change("org:*/day", TERMS, "admin", 1)
            await one.copies.refresh()
            await one.budgets.change("org:*/day", MORE, "admin", 2)
            await one.budgets.change("org:*/hour", TERMS, "admin", 3)
            await one.budgets.change("org:*/hour", None, "admin", 4)
            changes = await one.budgets.changes(10)
            for _ in range(2):
                await one.copies.refresh()
            await one.forget()
        async with both(tmp_path, prefix) as later:
            for _ in range(2):
                await later.copies.restore()
            _, keys = await later.keys.load()
            assert keys == [ANA, replace(BEN, record=replace(BEN.record, revoked_ms=9))]
            _, terms = await later.budgets.load()
            assert terms == {"org:*/day": MORE}
            assert await later.budgets.changes(10) == changes

    run(story())


def test_nothing_that_was_deleted_or_revoked_elsewhere_comes_back(tmp_path: Path) -> None:
    prefix = new_prefix()

    async def story() -> None:
        async with both(tmp_path, prefix) as one:
            await one.keys.add([ANA])
            await one.budgets.change("org:*/day", TERMS, "admin", 1)
            await one.copies.refresh()
            await one.keys.revoke("k1", 9)
            await one.budgets.change("org:*/day", None, "admin", 2)
        async with both(tmp_path, prefix) as later:
            await later.copies.restore()
            assert (await later.keys.load())[1][0].record.revoked_ms == 9
            assert (await later.budgets.load())[1] == {}

    run(story())


def test_keys_of_two_installations_come_together_in_redis(tmp_path: Path) -> None:
    prefix = new_prefix()

    async def story() -> None:
        for name, key in (("a", ANA), ("b", BEN)):
            own = SqliteKeys(tmp_path / name / "keys.sqlite3")
            await own.add([key])
            await own.aclose()
            async with both(tmp_path / name, prefix) as one:
                await one.copies.restore()
        async with both(tmp_path / "a", prefix) as one:
            assert (await one.keys.load())[1] == [ANA, BEN]

    run(story())


def test_a_registry_that_redis_lost_is_an_error_and_spoils_no_copy(tmp_path: Path) -> None:
    prefix = new_prefix()

    async def story() -> None:
        async with both(tmp_path, prefix) as one:
            await one.keys.add([ANA])
            await one.budgets.change("org:*/day", TERMS, "admin", 1)
            await one.copies.refresh()
            await one.forget()
            for ask in (one.keys.version, one.keys.load, one.budgets.load, one.copies.refresh):
                with pytest.raises(RegistryError, match="weir ledger rebuild"):
                    await ask()
        async with both(tmp_path, prefix) as later:
            await later.copies.restore()
            assert (await later.keys.load())[1] == [ANA]
            assert (await later.budgets.load())[1] == {"org:*/day": TERMS}

    run(story())


def test_the_first_secret_on_a_redis_is_the_one_for_all(tmp_path: Path) -> None:
    prefix = new_prefix()

    async def story() -> None:
        async with both(tmp_path, prefix) as one:
            assert await one.shared.agree("first")
            assert await one.shared.agree("first")
            assert not await one.shared.agree("second")

    run(story())


def test_a_key_that_is_damaged_is_named(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path, new_prefix()) as one:
            await one.shared.client.hset(one.shared.name("keys"), "k7", '{"digest": "xx"}')
            with pytest.raises(RegistryError, match="k7"):
                await one.keys.load()

    run(story())


def test_a_redis_that_is_away_is_a_registry_error() -> None:
    async def story() -> None:
        shared = SharedRedis("redis://127.0.0.1:9", "{weir:x}:", 0.2)
        with pytest.raises(RegistryError, match="could not be used"):
            await RedisKeys(shared).load()
        await shared.aclose()

    run(story())
