"""Agents that hand out parts of their budgets: together they never spend more than was given.

A run token is an API key with a budget. It opens runs of its own, which reserve from the run above.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from budgets.money import format_usd, nano_from_usd
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
    sse_data,
    upstream_config,
)
from tests.journeys.upstream import PROMPT_TOKENS, Play, Upstream

REDIS = SCRIPTED_CONFIG + IN_REDIS + "timeout_ms = 5_000\n"
MAX_TOKENS = 20
COST_NANO = 1_000 * PROMPT_TOKENS + 2_000 * MAX_TOKENS
FITTING, ASKED = 9, 60


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}


def try_open(weir: GatewayProcess, key: str, **terms: Any) -> Answer:
    return weir.ask("POST", "/v1/runs", json.dumps(terms).encode(), **bearer(key))


def open_run(weir: GatewayProcess, key: str, **limits: Any) -> tuple[str, str]:
    """The id and the token of a new run with these limits."""
    answer = try_open(weir, key, budget=limits)
    assert answer.status == 201, answer.body
    return answer.json["id"], answer.json["token"]


def look(weir: GatewayProcess, run_id: str, key: str) -> Any:
    answer = weir.ask("GET", f"/v1/runs/{run_id}", **bearer(key))
    assert answer.status == 200, answer.body
    return answer.json


def spent_nano(weir: GatewayProcess, run_id: str, key: str) -> int:
    return nano_from_usd(look(weir, run_id, key)["spent"]["usd"])


def test_what_many_agents_spend_at_once_is_bounded_by_the_run_above_them(
    tmp_path: Path, up: Upstream
) -> None:
    up.play = Play(tokens=MAX_TOKENS, first_delay_s=0.02)
    with gateway(tmp_path, upstream_config(up.base_url, budget("org", "5"))) as weir:
        _, probe = open_run(weir, weir.key, limit_usd="0.000000001")
        ceiling = weir.chat(max_tokens=MAX_TOKENS, key=probe).error["needed_usd"]
        given = format_usd((FITTING - 1) * COST_NANO + nano_from_usd(ceiling))
        top_id, top = open_run(weir, weir.key, limit_usd=given)
        below = [open_run(weir, top, limit_usd=given) for _ in range(3)]
        below += [open_run(weir, below[0][1], limit_usd=given) for _ in range(2)]
        tokens = [top, *[token for _, token in below]]
        with ThreadPoolExecutor(ASKED) as pool:
            asked = [
                pool.submit(weir.chat, max_tokens=MAX_TOKENS, key=tokens[number % len(tokens)])
                for number in range(ASKED)
            ]
            statuses = [one.result().status for one in asked]
        assert set(statuses) <= {200, 402, 429}
        # Who found the money held by others and could not wait asks again, one after the other.
        while weir.chat(max_tokens=MAX_TOKENS, key=tokens[-1]).status == 200:
            assert len(up.bill) <= FITTING
        assert [line.sent_tokens for line in up.bill] == [MAX_TOKENS] * FITTING
        assert spent_nano(weir, top_id, top) == FITTING * COST_NANO <= nano_from_usd(given)
        shares = [spent_nano(weir, run_id, top) for run_id, _ in below]
        deepest = [spent_nano(weir, run_id, below[0][1]) for run_id, _ in below[3:]]
        assert shares[3:] == deepest and shares[0] >= sum(deepest)
        refused = weir.chat(max_tokens=MAX_TOKENS, key=tokens[-1])
        assert refused.error["scope"] == f"run:demo/{top_id}"
        assert refused.headers["x-should-retry"] == "false"
        assert assert_clean(weir)["ledger_nano"] == FITTING * COST_NANO


def test_a_run_goes_on_where_it_was_after_its_gateway_was_killed(
    tmp_path: Path, up: Upstream
) -> None:
    up.play = Play(tokens=MAX_TOKENS)
    with gateway(tmp_path, upstream_config(up.base_url)) as weir:
        top_id, top = open_run(weir, weir.key, limit_requests=3)
        low_id, low = open_run(weir, top, limit_requests=2)
        stream = weir.stream(max_tokens=MAX_TOKENS, key=low)
        assert stream.headers["x-weir-run"] == low_id
        assert sse_data(stream.read())[-1] == "[DONE]"
        assert weir.chat(max_tokens=MAX_TOKENS, key=low).status == 200
        weir.kill()
        weir.start()
        assert weir.chat(max_tokens=MAX_TOKENS, key=low).error["scope"] == f"run:demo/{low_id}"
        assert weir.chat(max_tokens=MAX_TOKENS, key=top).status == 200
        assert weir.chat(max_tokens=MAX_TOKENS, key=top).error["scope"] == f"run:demo/{top_id}"
        found = look(weir, low_id, weir.key)
        assert (found["parent"], found["requests"], found["state"]) == (top_id, 2, "spent")
        assert look(weir, top_id, weir.key)["requests"] == 3
        assert len(up.bill) == 3
        assert_clean(weir)


def test_no_client_can_charge_the_run_or_the_workflow_of_another_team(tmp_path: Path) -> None:
    with gateway(tmp_path, SCRIPTED_CONFIG + budget("workflow:*", "1")) as weir:
        victim, _ = weir.make_key("lab")
        thief, _ = weir.make_key("ops")
        answer = try_open(
            weir, victim, budget={"limit_usd": "1"}, workflow="triage", tags={"feature": "a"}
        )
        run_id, token = answer.json["id"], answer.json["token"]
        assert weir.chat(max_tokens=5, key=token).status == 200
        before = look(weir, run_id, victim)
        for claim in (run_id, f"lab/{run_id}", f"../lab/{run_id}"):
            for header in ({"x-weir-run": claim}, {}):
                named = {} if header else {"metadata": {"weir_run": claim}}
                answer = weir.chat(max_tokens=5, key=thief, headers=header, **named)
                assert answer.status == 400, answer.body
        answer = weir.chat(max_tokens=5, key=thief, headers={"x-weir-workflow": "lab/triage"})
        assert weir.request(answer.request_id)["team"] == "ops"
        for changed in ({"x-weir-workflow": "other"}, {"x-weir-tags": "feature=b"}):
            answer = weir.chat(max_tokens=5, key=token, headers=changed)
            assert (answer.status, answer.error["code"]) == (403, "run_fixed")
        assert weir.ask("GET", f"/v1/runs/{run_id}", **bearer(thief)).status == 404
        assert look(weir, run_id, victim) == before
        rows = {row["scope"]: row for row in weir.admin("budgets")["budgets"]}
        assert rows["workflow:lab/triage"]["posted_nano"] == nano_from_usd(before["spent"]["usd"])
        assert rows["workflow:ops/lab/triage"]["posted_nano"] > 0
        assert_clean(weir)


def test_a_run_is_given_no_more_than_the_run_above_it(tmp_path: Path) -> None:
    with gateway(tmp_path, SCRIPTED_CONFIG) as weir:
        _, top = open_run(weir, weir.key, limit_usd="0.5")
        answer = try_open(weir, top, budget={"limit_usd": "0.6"})
        assert (answer.status, answer.error["param"]) == (400, "budget.limit_usd")
        assert "$0.50" in answer.error["message"]
        misspelt = try_open(weir, top, budgets={"limit_usd": "0.1"})
        assert (misspelt.status, misspelt.error["type"]) == (400, "invalid_request_error")
        assert try_open(weir, "weir-run-no", budget={"limit_usd": "1"}).status == 401


@pytest.mark.redis
def test_a_run_opened_on_one_gateway_holds_on_the_other_at_once(
    server: RedisServer, tmp_path: Path
) -> None:
    with (
        gateway(tmp_path / "a", REDIS, on_redis(server)) as first,
        gateway(tmp_path / "b", REDIS, on_redis(server)) as second,
    ):
        for _ in range(20):
            run_id, token = open_run(first, first.key, limit_requests=2)
            assert look(second, run_id, second.key)["left"]["requests"] == 2
            low_id, low = open_run(second, token, limit_requests=2)
            assert first.chat(max_tokens=5, key=low).status == 200
            assert second.chat(max_tokens=5, key=token).status == 200
            for weir in (first, second):
                assert weir.chat(max_tokens=5, key=low).error["scope"] == f"run:demo/{run_id}"
            assert look(first, low_id, first.key)["parent"] == run_id
            assert look(first, run_id, token)["requests"] == 2


@pytest.mark.redis
def test_on_two_workers_a_run_and_its_runs_spend_its_limit_and_no_more(
    server: RedisServer, tmp_path: Path
) -> None:
    with (
        gateway(tmp_path, REDIS, on_redis(server), ("--workers", "2")) as weir,
        ThreadPoolExecutor(16) as pool,
    ):
        for _ in range(5):
            run_id, top = open_run(weir, weir.key, limit_requests=FITTING)
            tokens = [top] + [open_run(weir, top, limit_requests=FITTING)[1] for _ in range(3)]
            asked = [
                pool.submit(weir.chat, max_tokens=5, key=tokens[number % 4])
                for number in range(ASKED)
            ]
            statuses = [one.result().status for one in asked]
            assert set(statuses) <= {200, 402, 429}
            while weir.chat(max_tokens=5, key=top).status == 200:
                statuses.append(200)
            assert statuses.count(200) == FITTING
            found = look(weir, run_id, weir.key)
            assert (found["requests"], found["state"]) == (FITTING, "spent")
        assert_clean(weir)


@pytest.mark.redis
def test_what_runs_have_spent_comes_back_after_redis_lost_it(
    server: RedisServer, tmp_path: Path
) -> None:
    with gateway(tmp_path, REDIS, on_redis(server)) as weir:
        top_id, top = open_run(weir, weir.key, limit_requests=3)
        low_id, low = open_run(weir, top, limit_requests=2)
        assert [weir.chat(max_tokens=5, key=low).status for _ in range(2)] == [200, 200]
        assert_clean(weir)
        assert weir.stop() == 0
        server.client.flushall()
        rebuilt = weir.command("ledger", "rebuild")
        assert rebuilt.returncode == 0, rebuilt.stderr
        weir.start()
        assert look(weir, top_id, top)["requests"] == 2
        assert look(weir, low_id, low)["state"] == "spent"
        assert weir.chat(max_tokens=5, key=low).status == 402
        assert [weir.chat(max_tokens=5, key=top).status for _ in range(2)] == [200, 402]
        assert_clean(weir)
