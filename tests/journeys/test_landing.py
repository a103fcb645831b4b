"""An agent at the end of its budget is warned, refused, and lands with one last request."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from budgets.money import nano_from_usd
from tests.contracts.redis_server import RedisServer
from tests.journeys.gateway_process import (
    IN_REDIS,
    SCRIPTED_CONFIG,
    Answer,
    GatewayProcess,
    assert_clean,
    gateway,
    on_redis,
)

LAND = {"x-weir-landing": "use"}
# What this costs is nearly what it may cost at most.
WORK = "#weir:chunks=100"


def open_run(weir: GatewayProcess, landing: str | None = None, **limits: Any) -> tuple[str, str]:
    terms = {"budget": limits, **({} if landing is None else {"landing": landing})}
    headers = {"Authorization": f"Bearer {weir.key}", "Content-Type": "application/json"}
    answer = weir.ask("POST", "/v1/runs", json.dumps(terms).encode(), **headers)
    assert answer.status == 201, answer.body
    return answer.json["id"], answer.json["token"]


def work(weir: GatewayProcess, token: str, **fields: Any) -> Answer:
    return weir.chat(WORK, max_tokens=100, key=token, **fields)


def look(weir: GatewayProcess, run_id: str) -> Any:
    return weir.ask("GET", f"/v1/runs/{run_id}", Authorization=f"Bearer {weir.key}").json


def one_nano(weir: GatewayProcess) -> int:
    """What one piece of work may cost at most."""
    _, token = open_run(weir, limit_usd="0.000000001")
    return nano_from_usd(work(weir, token).error["needed_usd"])


@pytest.mark.parametrize("bounded", [True, False], ids=["with max_tokens", "without max_tokens"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_agent_is_warned_refused_and_lands_once(
    tmp_path: Path, stream: bool, bounded: bool
) -> None:
    with gateway(tmp_path, SCRIPTED_CONFIG) as weir:
        limit_nano = 10 * one_nano(weir)
        run_id, token = open_run(weir, "0.2", limit_usd=f"0.{limit_nano:09d}")
        left_usd: list[str | None] = []
        while (answer := work(weir, token)).status == 200:
            left_usd.append(answer.headers.get("x-weir-run-left-usd"))
            assert len(left_usd) < 20
        assert left_usd[0] is None
        told = [nano_from_usd(left) for left in left_usd if left is not None]
        assert told and told == sorted(told, reverse=True)
        assert max(told) < limit_nano // 5
        assert answer.headers["x-weir-landing"] == "available"
        assert nano_from_usd(answer.error["landing"]["usd"]) >= limit_nano // 5
        assert answer.headers["x-should-retry"] == "false"

        limits = {"max_tokens": 50} if bounded else {}
        last = weir.chat("#weir:chunks=50", key=token, headers=LAND, stream=stream, **limits)
        assert last.status == 200
        row = weir.request(last.request_id)
        assert (row["landed"], row["run_id"]) == (True, run_id)
        over = weir.chat("Hello", max_tokens=5, key=token, headers=LAND)
        assert (over.status, over.error["landing"]) == (402, {"available": False})
        assert over.headers["x-weir-landing"] == "used"
        found = look(weir, run_id)
        assert found["landing"] == {"share": "0.2", "available": False}
        spent_nano = nano_from_usd(found["spent"]["usd"])
        assert limit_nano * 8 // 10 - one_nano(weir) < spent_nano <= limit_nano
        assert_clean(weir)


def test_a_landing_is_used_up_after_a_restart(tmp_path: Path) -> None:
    with gateway(tmp_path, SCRIPTED_CONFIG) as weir:
        _, token = open_run(weir, "0.5", limit_requests=4)
        assert [work(weir, token).status for _ in range(3)] == [200, 200, 402]
        assert work(weir, token, headers=LAND).status == 200
        weir.kill()
        weir.start()
        answer = work(weir, token, headers=LAND)
        assert (answer.status, answer.headers["x-weir-landing"]) == (402, "used")
        assert_clean(weir)


def test_a_budget_of_runs_that_keeps_a_strip_is_set_at_the_command_line(tmp_path: Path) -> None:
    with gateway(tmp_path, SCRIPTED_CONFIG) as weir:
        limit = ("--scope", "run:*", "--window", "total", "--limit-requests", "3")
        done = weir.command("budgets", "set", *limit, "--landing", "0.3")
        assert done.returncode == 0, done.stderr
        shown = weir.command("budgets", "show", "run:*/total/requests").stdout
        named = {"x-weir-run": "nightly"}
        ordinary = [work(weir, weir.key, headers=named) for _ in range(3)]
        assert [answer.status for answer in ordinary] == [200, 200, 402]
        assert ordinary[1].headers["x-weir-run-left-requests"] == "0"
        assert ordinary[2].error["landing"] == {"available": True, "requests": 1}
        assert work(weir, weir.key, headers={**named, **LAND}).status == 200
        assert work(weir, weir.key, headers={**named, **LAND}).status == 402
        shown = weir.command("budgets", "show", "run:*/total/requests").stdout
        assert "kept for landing" in shown and "30.0%" in shown
        wrong = weir.command("budgets", "set", "--scope", "team:*", *limit[2:], "--landing", "0.3")
        assert wrong.returncode != 0
        assert "landing is for budgets of runs" in wrong.stderr
        word = work(weir, weir.key, headers={**named, "x-weir-landing": "yes"})
        assert (word.status, word.error["param"]) == (400, "x-weir-landing")
        assert_clean(weir)


@pytest.mark.redis
def test_of_many_landings_at_once_on_two_workers_one_is_admitted(
    server: RedisServer, tmp_path: Path
) -> None:
    config = SCRIPTED_CONFIG + IN_REDIS + "timeout_ms = 5_000\n"
    env = on_redis(server)
    with (
        gateway(tmp_path, config, env, ("--workers", "2")) as weir,
        ThreadPoolExecutor(16) as pool,
    ):
        for _ in range(5):
            run_id, token = open_run(weir, "0.5", limit_requests=40)
            asked = [pool.submit(work, weir, token, headers=dict(LAND)) for _ in range(16)]
            statuses = [one.result().status for one in asked]
            assert statuses.count(200) == 1
            assert set(statuses) <= {200, 402, 429}
            found = look(weir, run_id)
            assert (found["requests"], found["left"]["requests"]) == (1, 19)
            assert found["landing"]["available"] is False
        assert_clean(weir)
