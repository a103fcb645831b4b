"""What `/readyz` and `/metrics` tell while Redis is away, forgets, or takes no writes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.redis_server import RedisServer
from tests.journeys.gateway_process import (
    IN_REDIS,
    SCRIPTED_CONFIG,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    upstream_config,
    wait_for,
)
from tests.journeys.scraping import scrape
from tests.journeys.upstream import Play, upstream

pytestmark = pytest.mark.redis

CONFIG = SCRIPTED_CONFIG + IN_REDIS + budget("org", "5")
ENOUGH_TO_FILL = 20_000_000


@pytest.fixture
def weir(server: RedisServer, tmp_path: Path) -> Iterator[GatewayProcess]:
    with gateway(tmp_path, CONFIG, {"WEIR_REDIS_URL": server.url}) as weir:
        assert weir.chat("Hello", max_tokens=5).status == 200
        yield weir


def ledger(weir: GatewayProcess) -> dict[str, Any]:
    """What `/readyz` says of the ledger, once status and body agree."""
    answer = weir.get("/readyz")
    told = answer.json["ledger"]
    assert answer.status == (200 if told["state"] == "ok" else 503)
    assert answer.json["ready"] is (answer.status == 200)
    assert (told.get("remedy") is None) is (answer.status == 200)
    assert len(answer.body) < 500 and b"redis.sock" not in answer.body
    assert isinstance(told, dict)
    return told


def becomes(weir: GatewayProcess, state: str) -> None:
    wait_for(lambda: ledger(weir)["state"] == state, f"the ledger is {state}", within_s=10)
    told = scrape(weir)
    assert told.value("weir_ledger_up") == int(state == "ok")
    assert told.value("weir_ledger_state", state=state) == 1
    assert told.total("weir_ledger_state") == 1


def denied(weir: GatewayProcess) -> None:
    answer = weir.chat("Hello", max_tokens=5)
    assert (answer.status, answer.error["code"]) == (503, "ledger_unavailable")


def hang_up(server: RedisServer) -> None:
    """Close every other connection, so that gateways greet the server anew."""
    server.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def test_a_ledger_that_is_paused_is_unreachable_and_then_ready_by_itself(
    weir: GatewayProcess, server: RedisServer
) -> None:
    becomes(weir, "ok")
    server.freeze()
    becomes(weir, "unreachable")
    denied(weir)
    told = scrape(weir)
    assert told.value("weir_ledger_errors_total", outcome="denied", cause="unreachable") == 1
    assert told.value("weir_refusals_total", code="ledger_unavailable") == 1
    assert "weir_ledger_posted_usd" not in told.values
    assert told.total("weir_cost_usd_total") > 0
    server.thaw()
    becomes(weir, "ok")
    assert weir.chat("Hello", max_tokens=5).status == 200
    assert scrape(weir).posted_nano() == assert_clean(weir)["ledger_nano"]


@pytest.mark.parametrize("how", ["flushed", "restarted"])
def test_a_ledger_that_forgot_is_lost_until_it_is_rebuilt(
    weir: GatewayProcess, server: RedisServer, how: str
) -> None:
    [posted] = [scrape(weir).nano("weir_ledger_posted_usd")]
    wait_for(lambda: weir.admin("status")["collector"]["waiting_rows"] == 0, "collected")
    if how == "flushed":
        server.client.flushall()
    else:
        server.kill()
        becomes(weir, "unreachable")
        server.start()
    becomes(weir, "lost")
    assert "weir ledger rebuild" in ledger(weir)["remedy"]
    denied(weir)
    assert scrape(weir).value("weir_ledger_errors_total", outcome="denied", cause="lost") == 1
    weir.stop()
    assert weir.command("ledger", "rebuild").returncode == 0
    weir.start()
    becomes(weir, "ok")
    assert scrape(weir).nano("weir_ledger_posted_usd") == posted


def test_a_server_that_may_evict_or_becomes_a_replica_or_is_full_is_told_apart(
    weir: GatewayProcess, server: RedisServer
) -> None:
    server.client.config_set("maxmemory-policy", "allkeys-lru")
    hang_up(server)
    becomes(weir, "evicting")
    server.client.config_set("maxmemory-policy", "noeviction")
    becomes(weir, "ok")
    server.client.replicaof("127.0.0.1", "1")
    denied(weir)
    becomes(weir, "read_only")
    server.client.replicaof("NO", "ONE")
    becomes(weir, "ok")
    server.client.set("ballast", b"x" * ENOUGH_TO_FILL)
    server.client.config_set("maxmemory", "1mb")
    denied(weir)
    becomes(weir, "full")
    told = scrape(weir)
    for cause in ("read_only", "full"):
        assert told.value("weir_ledger_errors_total", outcome="denied", cause=cause) >= 1
    server.client.config_set("maxmemory", "0")
    assert weir.chat("Hello", max_tokens=5).status == 200
    becomes(weir, "ok")
    assert scrape(weir).posted_nano() == assert_clean(weir)["ledger_nano"]


def test_endings_that_redis_is_owed_are_told_and_paid(server: RedisServer, tmp_path: Path) -> None:
    with upstream() as up, ThreadPoolExecutor(3) as pool:
        up.play = Play(tokens=5, gated=True)
        config = upstream_config(up.base_url, budget("org", "5")) + IN_REDIS
        with gateway(tmp_path, config, {"WEIR_REDIS_URL": server.url}) as weir:
            asked = [pool.submit(weir.chat, "Hello", max_tokens=5) for _ in range(3)]
            wait_for(lambda: up.answering == 3, "the upstream is asked")
            assert scrape(weir).value("weir_ledger_open_holds") == 3
            server.freeze()
            up.gate.set()
            assert {answer.result().status for answer in asked} == {200}
            told = scrape(weir)
            assert told.value("weir_ledger_pending_endings") == 3
            assert ledger(weir)["pending_endings"] == 3
            server.thaw()
            becomes(weir, "ok")
            wait_for(lambda: ledger(weir)["pending_endings"] == 0, "everything is paid")
            told = scrape(weir)
            assert told.value("weir_ledger_rejected_endings") == 0
            assert told.value("weir_ledger_open_holds") == 0
            assert told.posted_nano() == assert_clean(weir)["ledger_nano"] > 0
