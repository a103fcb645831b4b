"""Where the registries are that a configuration names."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.data_dir import DataDir
from gateway.ledger_choice import shared_prefix
from gateway.registries.in_sqlite import SqliteKeys
from gateway.registries.port import RegistryError
from gateway.registry_choice import open_stores
from tests.unit.gateway.desks import run
from tests.unit.gateway.gateways import settings_in


def test_without_a_word_about_it_the_registries_are_in_the_data_directory(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)

    async def look() -> None:
        async with open_stores(settings, DataDir(settings.data_dir), copied=True) as stores:
            assert isinstance(stores.keys, SqliteKeys)
            assert stores.copies is None
            assert (await stores.keys.load())[1] == []

    run(look())
    assert (settings.data_dir / "keys.sqlite3").exists()


def test_with_the_ledger_in_redis_they_are_there_and_say_so_when_it_is_away(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    env = {**settings.env, "WEIR_REDIS_URL": "redis://127.0.0.1:9"}
    in_redis = replace(
        settings, ledger=settings.ledger.model_copy(update={"store": "redis"}), env=env
    )

    async def look() -> None:
        with pytest.raises(RegistryError, match="in Redis could not be used"):
            async with open_stores(in_redis, DataDir(settings.data_dir)):
                pass

    run(look())
    assert shared_prefix("acme") == "{weir:acme}:"
