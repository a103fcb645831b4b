"""Whole gateways with their ledger in Redis: one budget for several, and what a loss asks for."""

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.redis_server import RedisServer
from tests.journeys.gateway_process import (
    IN_REDIS,
    SCRIPTED_CONFIG,
    Answer,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    on_redis,
    upstream_config,
    wait_for,
)
from tests.journeys.upstream import Play, upstream

pytestmark = pytest.mark.redis

CONFIG = SCRIPTED_CONFIG + IN_REDIS
DENIED_WITHIN_S = 1.0


def spent_nano(weir: GatewayProcess, scope: str = "org:default") -> int:
    """What the budgets page says of one scope, once nothing is held any more."""

    def row() -> dict[str, Any]:
        return next(row for row in weir.admin("budgets")["budgets"] if row["scope"] == scope)

    wait_for(lambda: row()["held_nano"] == 0, "the end of every hold")
    return int(row()["posted_nano"])


def test_a_gateway_keeps_its_ledger_in_redis_and_the_audit_is_clean(
    server: RedisServer, tmp_path: Path
) -> None:
    config = CONFIG + budget("org", "5")
    with gateway(tmp_path, config, on_redis(server)) as weir:
        answers = [weir.chat(f"Hello {number}", max_tokens=5) for number in range(5)]
        assert {answer.status for answer in answers} == {200}
        costs = [weir.request(answer.request_id)["cost_nano"] for answer in answers]
        assert spent_nano(weir) == sum(costs) > 0
        assert assert_clean(weir)["ledger_nano"] == sum(costs)
        assert weir.stop() == 0
        assert "CLEAN" in weir.command("audit").stdout
        assert not (tmp_path / "data" / "ledger.sqlite3").exists()


def test_two_gateways_spend_one_budget_and_not_a_request_more(
    server: RedisServer, tmp_path: Path
) -> None:
    with (
        gateway(tmp_path / "a", CONFIG + budget("org", "0.0002"), on_redis(server)) as first,
        gateway(tmp_path / "b", CONFIG + budget("org", "0.0002"), on_redis(server)) as second,
        ThreadPoolExecutor(16) as pool,
    ):

        def ask(number: int) -> Answer:
            return (first, second)[number % 2].chat("Hello", max_tokens=5)

        answers = list(pool.map(ask, range(120)))
        assert {answer.status for answer in answers} - {429} == {200, 402}
        paid = [answer for answer in answers if answer.status == 200]
        costs = [first.ended(answer.request_id)["cost_nano"] for answer in paid]
        assert sum(costs) == spent_nano(first) == spent_nano(second) <= 200_000
        assert assert_clean(first)["ledger_nano"] == sum(costs)


def test_keys_and_budgets_of_one_gateway_are_those_of_the_other(
    server: RedisServer, tmp_path: Path
) -> None:
    with (
        gateway(tmp_path / "a", CONFIG, on_redis(server)) as first,
        gateway(tmp_path / "b", CONFIG, on_redis(server)) as second,
    ):
        made = first.command("keys", "create", "--team", "t", "--workflow", "w", "--json")
        key = json.loads(made.stdout)["key"]
        wait_for(lambda: second.chat("Hello", key=key).status == 200, "the other knows the key")
        assert put(first, "team:t", "day", "0.000000001").status == 200
        assert second.chat("Hello", key=key).status == 402
        names = [row["name"] for row in second.admin("budgets")["budgets"]]
        assert names == ["team:t/day"]
        assert second.admin("budgets/changes") == first.admin("budgets/changes")
        stranger = gateway_with(tmp_path / "c", {**on_redis(server), "WEIR_SECRET": "x" * 32})
        stranger.launch()
        assert stranger.wait_gone() == 1
        assert "set WEIR_SECRET to the same text on every host" in stranger.log()


def gateway_with(folder: Path, env: dict[str, str]) -> GatewayProcess:
    return GatewayProcess(folder, CONFIG, env)


def test_keys_outlive_a_redis_that_forgot_everything(server: RedisServer, tmp_path: Path) -> None:
    with gateway(tmp_path, CONFIG, on_redis(server)) as weir:
        made = weir.command("keys", "create", "--team", "t", "--workflow", "w", "--json")
        key = json.loads(made.stdout)["key"]
        wait_for(lambda: weir.chat("Hello", key=key).status == 200, "the key is known")
        assert put(weir, "team:t", "day", "5").status == 200
        wait_for(lambda: key_copies(weir) == 1, "it is copied")
        server.kill()
        server.start()
        assert weir.chat("Hello", key=key).status == 503
        weir.stop()
        assert weir.command("ledger", "rebuild").returncode == 0
        weir.start()
        assert weir.chat("Hello", key=key).status == 200
        assert [row["name"] for row in weir.admin("budgets")["budgets"]] == ["team:t/day"]
        assert_clean(weir)


def key_copies(weir: GatewayProcess) -> int:
    """Budget changes in the copy that the data directory has of the registries."""
    with closing(sqlite3.connect(weir.data / "keys.sqlite3")) as file:
        return int(file.execute("SELECT count(*) FROM budget_change").fetchone()[0])


def test_after_a_restart_from_nothing_every_request_is_denied_until_the_rebuild(
    server: RedisServer, tmp_path: Path
) -> None:
    with gateway(tmp_path, CONFIG + budget("org", "5"), on_redis(server)) as weir:
        answers = [weir.chat(f"Hello {number}", max_tokens=5) for number in range(20)]
        assert [weir.request(answer.request_id)["status"] for answer in answers] == [200] * 20
        before_nano = spent_nano(weir)
        server.kill()
        started_s = time.monotonic()
        gone = weir.chat("Hello")
        assert (gone.status, gone.error["code"]) == (503, "ledger_unavailable")
        assert time.monotonic() - started_s < DENIED_WITHIN_S
        server.start()
        lost = weir.chat("Hello")
        assert (lost.status, lost.error["code"]) == (503, "ledger_unavailable")
        weir.stop()
        weir.launch()
        assert weir.wait_gone() == 1
        assert "weir ledger rebuild" in weir.log()
        for expected in ("20 entries", "0 entries"):
            done = weir.command("ledger", "rebuild")
            assert (done.returncode, done.stderr) == (0, "")
            assert expected in done.stdout
        weir.start()
        assert spent_nano(weir) == before_nano
        assert weir.chat("Hello again", max_tokens=5).status == 200
        assert_clean(weir)


@pytest.mark.parametrize("away", ["frozen", "killed"])
def test_without_redis_every_request_is_a_503_in_time_and_nobody_is_asked(
    server: RedisServer, tmp_path: Path, away: str
) -> None:
    with upstream() as up:
        up.play = Play(tokens=5)
        config = upstream_config(up.base_url, budget("org", "5")) + IN_REDIS
        with gateway(tmp_path, config, on_redis(server)) as weir:
            assert weir.chat("Hello", max_tokens=5).status == 200
            if away == "frozen":
                server.freeze()
            else:
                server.kill()
            for number in range(10):
                started_s = time.monotonic()
                answer = weir.chat("Hello", max_tokens=5, stream=number % 2 == 1)
                assert time.monotonic() - started_s < DENIED_WITHIN_S
                assert (answer.status, answer.error["code"]) == (503, "ledger_unavailable")
                told = (answer.headers["retry-after"], answer.headers["x-should-retry"])
                assert told == ("1", "true")
            assert len(up.seen) == len(up.bill) == 1
            if away == "frozen":
                server.thaw()


def put(weir: GatewayProcess, scope: str, window: str, limit_usd: str) -> Answer:
    body = json.dumps({"scope": scope, "window": window, "limit_usd": limit_usd}).encode()
    return weir.ask("PUT", "/admin/budgets", body, Authorization=f"Bearer {weir.admin_key}")


def test_a_rolling_budget_counts_what_both_gateways_spend(
    server: RedisServer, tmp_path: Path
) -> None:
    config = CONFIG + budget("org", "0.0002", "24h")
    with (
        gateway(tmp_path / "a", config, on_redis(server)) as first,
        gateway(tmp_path / "b", config, on_redis(server)) as second,
        ThreadPoolExecutor(8) as pool,
    ):
        asked = [first, second] * 40
        answers = list(pool.map(lambda weir: weir.chat("Hello", max_tokens=5), asked))
        assert {answer.status for answer in answers} - {429} == {200, 402}
        paid = [answer for answer in answers if answer.status == 200]
        costs = [first.ended(answer.request_id)["cost_nano"] for answer in paid]
        assert sum(costs) == spent_nano(first) == spent_nano(second) <= 200_000
        refused = next(answer for answer in answers if answer.status == 402)
        assert refused.error["window"] == "24h"
        assert_clean(first)


def test_a_budget_that_is_set_late_counts_what_was_spent_before_on_every_gateway(
    server: RedisServer, tmp_path: Path
) -> None:
    with (
        gateway(tmp_path / "a", CONFIG, on_redis(server)) as first,
        gateway(tmp_path / "b", CONFIG, on_redis(server)) as second,
    ):
        answers = [first.chat("Hello", max_tokens=5), second.chat("Hello", max_tokens=5)]
        cost = sum(first.ended(answer.request_id)["cost_nano"] for answer in answers)
        made = put(first, "key:demo", "24h", "5")
        assert (made.status, made.json["name"]) == (200, "key:demo/24h")
        assert made.json["budgets"][0]["posted_nano"] == cost
        # What the other gateway spends counts at once: it goes on under the same budgets.
        late = second.chat("Hello", max_tokens=5)
        cost += first.ended(late.request_id)["cost_nano"]
        assert put(second, "key:demo", "24h", "5").json["budgets"][0]["posted_nano"] == cost
        assert spent_nano(first, "key:demo") == cost
        assert put(second, "key:demo", "24h", f"0.{cost + 1:09d}").status == 200
        refused = second.chat("Hello", max_tokens=5)
        assert (refused.status, refused.error["window"]) == (402, "24h")
        assert first.chat("Hello", max_tokens=5).status == 402
        assert_clean(first)


def test_a_budget_that_is_configured_late_counts_also_what_a_killed_gateway_held(
    server: RedisServer, tmp_path: Path
) -> None:
    short = CONFIG + "[server]\nrequest_timeout_s = 12\nlease_s = 15\n"
    with gateway(tmp_path, short, on_redis(server)) as weir:
        spent = weir.ended(weir.chat("Hello", max_tokens=5).request_id)["cost_nano"]
        weir.stream("#weir:chunks=40,delay_ms=50", max_tokens=200)
        weir.kill()
        weir.config.write_text(short + budget("key:demo", "5", "month"))
        weir.start()
        [row] = weir.admin("budgets")["budgets"]
        assert (row["posted_nano"], row["held_nano"]) == (spent, 0)

        def counted() -> bool:
            [row] = weir.admin("budgets")["budgets"]
            audit = weir.admin("audit") or {}
            return bool(row["posted_nano"] > spent and row["posted_nano"] == audit["ledger_nano"])

        wait_for(counted, "the lease of the killed gateway is charged to the budget", 60)
        assert_clean(weir)


@pytest.mark.parametrize("forgets", [False, True], ids=["frozen", "killed"])
def test_an_answer_that_redis_cannot_be_told_of_is_delivered_and_paid_once(
    server: RedisServer, tmp_path: Path, forgets: bool
) -> None:
    with upstream() as up, ThreadPoolExecutor(1) as pool:
        up.play = Play(tokens=5, gated=True)
        config = upstream_config(up.base_url, budget("org", "5")) + IN_REDIS
        with gateway(tmp_path, config, on_redis(server)) as weir:
            asked = pool.submit(weir.chat, "Hello", max_tokens=5)
            wait_for(lambda: up.answering == 1, "the upstream is asked")
            if forgets:
                server.kill()
            else:
                server.freeze()
            up.gate.set()
            answer = asked.result()
            assert (answer.status, answer.json["usage"]["completion_tokens"]) == (200, 5)
            if forgets:
                server.start()
                weir.stop()
                assert weir.command("ledger", "rebuild").returncode == 0
                weir.start()
            else:
                server.thaw()
            row = weir.ended(answer.request_id)
            assert (row["basis"], row["all_output_tokens"]) == ("settled", 5)
            assert spent_nano(weir) == row["cost_nano"] > 0
            assert assert_clean(weir)["entries"] == 1
            assert len(up.bill) == 1


def test_a_ledger_in_a_file_is_not_rebuilt_and_redis_needs_an_address(tmp_path: Path) -> None:
    weir = GatewayProcess(tmp_path, SCRIPTED_CONFIG)
    refused = weir.command("ledger", "rebuild")
    assert refused.returncode == 2
    assert "only a ledger in Redis is rebuilt" in refused.stderr
    weir.config.write_text(CONFIG)
    checked = weir.command("check")
    assert checked.returncode == 1
    assert "the environment variable WEIR_REDIS_URL is not set" in checked.stdout + checked.stderr
