"""The control plane behind two workers: admin API, dashboard, commands, and the local model."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.contracts.redis_server import RedisServer
from tests.journeys.gateway_process import (
    IN_REDIS,
    ROOT,
    SCRIPTED_CONFIG,
    Answer,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    on_redis,
    wait_for,
)

pytestmark = pytest.mark.redis

# A busy machine may take longer than a gateway should wait.
REDIS = IN_REDIS + "timeout_ms = 5_000\n"
TWO = ("--workers", "2")
KEY = ("--team", "lab", "--workflow", "notes", "--json")
KNOWN_WITHIN_S, REVOKED_WITHIN_S = 5.0, 1.0


@pytest.fixture
def weir(server: RedisServer, tmp_path: Path) -> Iterator[GatewayProcess]:
    env = on_redis(server)
    config = SCRIPTED_CONFIG + budget("key:*", "5") + REDIS
    with gateway(tmp_path, config, env, TWO) as weir:
        yield weir


def test_every_command_finds_the_control_plane(weir: GatewayProcess) -> None:
    answer = weir.chat("Hello", max_tokens=5)
    explained = weir.command("explain", answer.request_id)
    assert (explained.returncode, "tiny" in explained.stdout) == (0, True)
    assert "CLEAN" in weir.command("audit").stdout
    terms = ("--scope", "key:demo", "--window", "day", "--limit-usd", "1")
    assert weir.command("budgets", "set", *terms).stdout == "key:demo/day is in effect\n"
    assert "key:demo/day" in weir.command("budgets", "list").stdout
    assert weir.command("budgets", "delete", "key:demo/day").returncode == 0
    assert weir.command("keys", "list").returncode == 0


def test_admin_api_and_dashboard_are_there_on_the_workers_port(weir: GatewayProcess) -> None:
    assert weir.admin("budgets")["budgets"] == []
    assert weir.ask("GET", "/admin/status").status == 401
    described = weir.ask("GET", "/admin/openapi.json")
    assert described.status in (200, 401)
    sent_from = {"Host": "weir.example:8080", "Origin": "http://weir.example:8080"}
    form = {"Content_Type": "application/x-www-form-urlencoded", **sent_from}
    login = weir.ask("POST", "/dashboard/login", f"key={weir.admin_key}".encode(), **form)
    assert login.status == 303, login.body
    cookie = login.headers["set-cookie"].partition(";")[0]
    page = weir.ask("GET", "/dashboard", Cookie=cookie, Host="weir.example:8080")
    assert (page.status, b"<html" in page.body) == (200, True)
    foreign = {**form, "Origin": "http://evil.example"}
    refused = weir.ask("POST", "/dashboard/login", f"key={weir.admin_key}".encode(), **foreign)
    assert refused.status == 403
    assert weir.ask("GET", "/internal/models/x", x_weir_internal="guess").status == 404
    assert weir.ask("GET", "/elsewhere").status == 404


def test_a_key_counts_on_both_workers_and_stops_on_both_within_a_second(
    weir: GatewayProcess,
) -> None:
    made = json.loads(weir.command("keys", "create", *KEY).stdout)

    def statuses() -> set[int]:
        """Of enough connections to reach both workers."""
        return {weir.chat("Hello", key=made["key"], max_tokens=5).status for _ in range(12)}

    wait_for(lambda: statuses() == {200}, "both know the key", KNOWN_WITHIN_S)
    ended = weir.ask(
        "DELETE", f"/admin/keys/{made['key_id']}", Authorization=f"Bearer {weir.admin_key}"
    )
    assert ended.status == 200
    time.sleep(REVOKED_WITHIN_S)
    assert statuses() == {401}
    assert_clean(weir)


def test_a_budget_that_is_set_counts_for_the_very_next_request_of_each_worker(
    weir: GatewayProcess,
) -> None:
    with ThreadPoolExecutor(8) as pool:

        def statuses() -> set[int]:
            asked = [pool.submit(weir.chat, "Hello", max_tokens=5) for _ in range(16)]
            return {one.result().status for one in asked}

        for _ in range(10):
            assert statuses() == {200}
            assert put_budget(weir, "0.000000001").status == 200
            assert statuses() == {402}
            assert put_budget(weir, "5").status == 200
        assert_clean(weir)
    changes = weir.admin("budgets/changes")["changes"]
    assert len(changes) == 20
    assert {change["who"] for change in changes} == {"admin"}


def put_budget(weir: GatewayProcess, limit_usd: str) -> Answer:
    body = json.dumps({"scope": "key:demo", "window": "day", "limit_usd": limit_usd}).encode()
    return weir.ask("PUT", "/admin/budgets", body, Authorization=f"Bearer {weir.admin_key}")


def test_metrics_are_those_of_all_workers_together_also_of_one_that_died(
    weir: GatewayProcess,
) -> None:
    def answered() -> float:
        told = weir.ask("GET", "/metrics", Authorization=f"Bearer {weir.admin_key}")
        assert told.status == 200
        found = re.findall(r"^weir_requests_total\{.*\} (\S+)$", told.body.decode(), re.MULTILINE)
        return sum(map(float, found))

    for _ in range(20):
        assert weir.chat("Hello", max_tokens=5).status == 200
    wait_for(lambda: answered() == 20, "both have told of theirs")
    pids = [worker["pid"] for worker in weir.admin("status")["workers"]]
    os.kill(pids[0], signal.SIGKILL)
    wait_for(lambda: weir.admin("status")["workers"][0]["ready"], "it answers again")
    assert answered() == 20
    assert weir.chat("Hello", max_tokens=5).status == 200
    wait_for(lambda: answered() == 21, "one more")
    assert weir.ask("GET", "/metrics").status == 401


def test_workers_share_the_local_model_of_their_parent(server: RedisServer, tmp_path: Path) -> None:
    env = on_redis(server)
    config = (ROOT / "config.toml").read_text() + REDIS
    with gateway(tmp_path, config, env, TWO) as weir:
        wait_for(
            lambda: set(weir.admin("status")["providers"].values()) == {"ready"}, "loaded", 60.0
        )
        answers = [weir.chat("Say hello.", max_tokens=3) for _ in range(6)]
        assert {answer.status for answer in answers} == {200}
        assert {answer.headers["x-weir-model"] for answer in answers} == {"smollm2"}
        assert weir.get("/readyz").json["providers"] == {
            "local-small": "ready",
            "local-frontier": "ready",
        }
        assert_clean(weir)
