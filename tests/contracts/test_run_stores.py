"""The suite of every store of opened runs, shared by several gateways."""

import time
from pathlib import Path

import pytest

from budgets.runs import RunTerms
from gateway.registries.port import RegistryError
from gateway.run_grants import RunGrant
from gateway.run_registry import KEPT_S, OpenedRun
from tests.contracts.registry_backends import STORES, parties, told

pytestmark = [pytest.mark.redis, pytest.mark.parametrize("name", STORES)]


def a_run(number: int, created_s: int | None = None, ttl_s: int = 60) -> OpenedRun:
    created_s = int(time.time()) if created_s is None else created_s
    chain = (RunTerms(f"run~{number}", 5, None, 7, 100), RunTerms("top~1", 9))
    grant = RunGrant("k1", created_s + ttl_s, chain, "reports", {"a": "1"})
    return OpenedRun("lab", "run", grant, created_s)


def test_a_run_is_known_to_all_at_once_as_it_was_opened(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as (first, second):
            opened = a_run(1)
            await first.runs.add(opened)
            assert await second.runs.find("lab", "run~1") == opened
            assert await second.runs.find("lab", "run~2") is None

    told(story)


def test_a_run_is_known_to_its_own_team_only(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path) as [party]:
            await party.runs.add(a_run(1))
            assert await party.runs.find("bar", "run~1") is None
            assert await party.runs.find("", "lab/run~1") is None

    told(story)


def test_a_run_that_is_there_is_not_replaced(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path) as [party]:
            first = a_run(1)
            await party.runs.add(first)
            with pytest.raises(RegistryError):
                await party.runs.add(a_run(1, ttl_s=90))
            assert await party.runs.find("lab", "run~1") == first

    told(story)


def test_runs_are_forgotten_a_month_after_their_end(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path) as [party]:
            now_s = int(time.time())
            over, just_not = now_s - KEPT_S - 61, now_s - KEPT_S + 3_600
            await party.runs.add(a_run(1, created_s=over))
            await party.runs.add(a_run(2, created_s=just_not))
            await party.runs.add(a_run(3))
            assert await party.runs.find("lab", "run~1") is None
            assert await party.runs.find("lab", "run~2") is not None

    told(story)
