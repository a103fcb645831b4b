"""SIGKILL under mixed load, again and again: nothing promised is lost, doubled or unpaid."""

import os
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from budgets.stores import redis_books, sqlite_books
from tests.contracts.redis_server import own_server
from tests.faults.mixed_load import Call, MixedLoad, config, make_keys
from tests.faults.three_books import Books, compare
from tests.journeys.gateway_process import IN_REDIS, GatewayProcess, assert_clean, gateway, wait_for
from tests.journeys.upstream import Upstream, upstream

ROUNDS = int(os.environ.get("WEIR_KILL_ROUNDS", "20"))
# A ledger in Redis keeps the holds of the dead until their lease ends, so these rounds take longer.
REDIS_ROUNDS = max(4, ROUNDS // 5)
# At night each round may last its full time.
WITHIN_S = 2.0 if ROUNDS >= 100 else 0.6
CALLERS = 64
LEASE_S, SWEEP_S = 5, 5


def kill_under_load(load: MixedLoad, dice: Random) -> None:
    """Kill the gateway at any moment from the first request on."""
    with load:
        wait_for(lambda: bool(load.arrived), "the load has begun")
        time.sleep(dice.uniform(0, WITHIN_S))
        load.stop_asking()
        load.weir.kill()


def rows(weir: GatewayProcess) -> list[dict[str, Any]]:
    """Every budget as it stands; none was ever overdrawn."""
    found: list[dict[str, Any]] = weir.admin("budgets")["budgets"]
    for row in found:
        assert row["posted_nano"] + row["held_nano"] <= row["limit_nano"], row
        assert row["overrun_nano"] == 0, row
    return found


def nothing_held(weir: GatewayProcess) -> bool:
    return all(row["held_nano"] == 0 for row in rows(weir))


def killed_again_and_again(weir: GatewayProcess, up: Upstream, rounds: int) -> list[Call]:
    """Every call of so many lives of the gateway, each ended in the middle of its work."""
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    dice, keys = Random(seed), make_keys(weir)
    calls: list[Call] = []
    for number in range(rounds):
        load = MixedLoad(weir, up, keys, CALLERS, seed + number)
        kill_under_load(load, dice)
        calls += load.calls
        weir.start()
        assert_clean(weir)
        rows(weir)
    wait_for(lambda: up.answering == 0, "the upstream is at rest")
    return calls


def close(weir: GatewayProcess, up: Upstream, calls: list[Call], rounds: int, books: Books) -> None:
    """Stop for good, and compare what everybody says."""
    assert weir.stop() == 0
    found = compare(calls, up.bill, weir.events(), books)
    print(rounds, found)
    assert min(found.acknowledged, found.assumed, found.waited) >= rounds
    assert found.grown > 0


@pytest.mark.slow
@pytest.mark.timeout(5_400)
def test_kills_under_mixed_load_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    with upstream() as up, gateway(tmp_path, config(up)) as weir:
        calls = killed_again_and_again(weir, up, ROUNDS)
        assert nothing_held(weir)  # the dead process's leases ended at the start
        books = sqlite_books.open_books(weir.data / "ledger.sqlite3")
        close(weir, up, calls, ROUNDS, books)


@pytest.mark.slow
@pytest.mark.redis
@pytest.mark.timeout(5_400)
def test_kills_under_mixed_load_leave_nothing_held_in_redis_after_a_lease(tmp_path: Path) -> None:
    server = f"request_timeout_s = {LEASE_S - 1}\nlease_s = {LEASE_S}"
    with upstream() as up, own_server() as redis:
        env = {"WEIR_REDIS_URL": redis.url}
        with gateway(tmp_path, config(up, server, IN_REDIS), env) as weir:
            calls = killed_again_and_again(weir, up, REDIS_ROUNDS)
            within_s = LEASE_S + 2 * SWEEP_S
            wait_for(lambda: nothing_held(weir), "the leases of the dead end", within_s)
            assert_clean(weir)
            books = redis_books.open_books(redis.url, "default")
            close(weir, up, calls, REDIS_ROUNDS, books)
