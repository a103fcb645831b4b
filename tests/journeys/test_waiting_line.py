"""Requests that wait for money others hold: in turn, not for long, and without leaving a trace."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from budgets.money import format_usd
from tests.contracts.redis_server import own_server
from tests.journeys.gateway_process import (
    IN_REDIS,
    Answer,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    on_redis,
    upstream_config,
    wait_for,
)
from tests.journeys.upstream import PROMPT_TOKENS, Play, Upstream, upstream

TOKENS, MAX_TOKENS = 20, 200
COST_NANO = 1_000 * PROMPT_TOKENS + 2_000 * TOKENS
# Bears one request at a time, and pays for eight.
LIMIT_USD = format_usd(800_000)
# A stream that may hold a part of its answer does not wait: it begins with what is left.
LONG = "budget_wait_ms = 30_000\nhold_step_tokens = 0"
AT_ONCE_S = 1.5


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as server:
        server.play = Play(tokens=TOKENS, gated=True)
        yield server


def config(up: Upstream, server: str = LONG) -> str:
    return upstream_config(up.base_url, budget("key:*", LIMIT_USD), server)


def ask(weir: GatewayProcess, name: str = "one", **fields: Any) -> Answer:
    headers = {"x-client-request-id": name}
    return weir.chat("Hello", **{"max_tokens": MAX_TOKENS, "headers": headers, **fields})


def waiting(weir: GatewayProcess) -> int:
    return int(weir.admin("status")["waiting_for_budget"])


def account(weir: GatewayProcess) -> tuple[int, int, int]:
    [found] = weir.admin("budgets")["budgets"]
    return found["posted_nano"], found["held_nano"], found["overrun_nano"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_who_waits_is_served_as_soon_as_money_is_back(
    tmp_path: Path, up: Upstream, stream: bool
) -> None:
    with gateway(tmp_path, config(up)) as weir, ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, weir, stream=stream)
        wait_for(lambda: up.answering == 1, "the first is sent")
        second = pool.submit(ask, weir, stream=stream)
        wait_for(lambda: waiting(weir) == 1, "the second waits")
        assert len(up.seen) == 1
        opened_s = time.monotonic()
        up.gate.set()
        assert (first.result().status, second.result().status) == (200, 200)
        assert time.monotonic() - opened_s < AT_ONCE_S
        row = weir.request(second.result().request_id)
        assert 0 < row["waited_ms"] < row["first_byte_ms"] <= row["total_ms"]
        assert weir.request(first.result().request_id)["waited_ms"] == 0
        assert account(weir) == (2 * COST_NANO, 0, 0)
        assert_clean(weir)


def test_those_who_wait_are_sent_in_the_order_they_came(tmp_path: Path, up: Upstream) -> None:
    limit = budget("key:*", format_usd(2_000_000)) + budget("run:*", LIMIT_USD)
    names = [f"client-{number}" for number in range(12)]
    line = names[::2], names[1::2]
    with (
        gateway(tmp_path, upstream_config(up.base_url, limit, LONG)) as weir,
        ThreadPoolExecutor(len(names)) as pool,
    ):
        asked = []
        for number, name in enumerate(names):
            headers = {"x-client-request-id": name, "x-weir-run": f"run-{number % 2}"}
            asked.append(pool.submit(ask, weir, headers=headers))
            wait_for(lambda n=number: waiting(weir) == max(0, n - 1), "each has its place")
        up.gate.set()
        assert [answer.result().status for answer in asked] == [200] * len(names)
    sent = [seen.headers["x-client-request-id"] for seen in up.seen]
    assert tuple([name for name in sent if name in one] for one in line) == line


def test_money_that_stays_held_is_a_429_after_the_wait_and_an_answer_later(
    tmp_path: Path, up: Upstream
) -> None:
    with (
        gateway(tmp_path, config(up, "budget_wait_ms = 300")) as weir,
        ThreadPoolExecutor(21) as pool,
    ):
        first = pool.submit(ask, weir)
        wait_for(lambda: up.answering == 1, "the first is sent")
        others = [pool.submit(ask, weir) for _ in range(20)]
        for other in others:
            answer = other.result()
            assert (answer.status, answer.error["code"]) == (429, "budget_busy")
            assert answer.headers["x-should-retry"] == "true"
            assert int(answer.headers["retry-after"]) == 1
            row = weir.request(answer.request_id)
            assert (row["basis"], row["error_code"]) == ("refused", "budget_busy")
            assert 250 <= row["waited_ms"] <= row["total_ms"]
        assert (first.done(), len(up.seen), waiting(weir)) == (False, 1, 0)
        up.gate.set()
        assert first.result().status == 200
        assert ask(weir).status == 200
        assert account(weir) == (2 * COST_NANO, 0, 0)
        assert_clean(weir)


def test_a_full_line_answers_at_once(tmp_path: Path, up: Upstream) -> None:
    server = f"{LONG}\nbudget_waiters = 3"
    with gateway(tmp_path, config(up, server)) as weir, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, weir) for _ in range(4)]
        wait_for(lambda: waiting(weir) == 3, "three wait")
        asked_s = time.monotonic()
        answer = ask(weir)
        assert time.monotonic() - asked_s < AT_ONCE_S
        assert (answer.status, answer.error["code"]) == (429, "budget_busy")
        assert answer.headers["retry-after"] == "30"
        up.gate.set()
        assert [one.result().status for one in asked] == [200] * 4
        assert_clean(weir)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_client_that_hangs_up_in_line_leaves_nothing_behind(
    tmp_path: Path, up: Upstream, stream: bool
) -> None:
    with gateway(tmp_path, config(up)) as weir, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, weir)
        wait_for(lambda: up.answering == 1, "the first is sent")
        connections = [weir.connect() for _ in range(10)]
        fields = {"max_tokens": MAX_TOKENS, "stream": stream}
        for connection in connections:
            body, headers = weir.chat_request("Hello", dict(fields))
            connection.request("POST", "/v1/chat/completions", body, headers)
        wait_for(lambda: waiting(weir) == len(connections), "ten wait")
        for connection in connections:
            connection.close()
        wait_for(lambda: waiting(weir) == 0, "their places are free", AT_ONCE_S)
        assert not first.done()
        up.gate.set()
        assert first.result().status == 200
        assert account(weir) == (COST_NANO, 0, 0)
        assert len(up.seen) == 1
        assert assert_clean(weir)["entries"] == 1
        assert weir.stop() == 0
        gone = [event for event in weir.events() if event["ending"] == "client_gone"]
        assert [(event["kind"], event["cost_nano"]) for event in gone] == [("refusal", 0)] * 10


def test_a_gateway_that_is_told_to_stop_lets_nobody_wait(tmp_path: Path, up: Upstream) -> None:
    with gateway(tmp_path, config(up)) as weir, ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, weir)
        wait_for(lambda: up.answering == 1, "the first is sent")
        second = pool.submit(ask, weir)
        wait_for(lambda: waiting(weir) == 1, "the second waits")
        told_s = time.monotonic()
        weir.ask_to_stop()
        answer = second.result()
        assert time.monotonic() - told_s < AT_ONCE_S
        assert (answer.status, answer.error["code"]) == (429, "budget_busy")
        up.gate.set()
        assert first.result().status == 200
        assert weir.wait_gone() == 0
    assert weir.command("audit").returncode == 0


@pytest.mark.redis
def test_money_that_one_gateway_gives_back_serves_who_waits_at_another(
    tmp_path: Path, up: Upstream
) -> None:
    with own_server() as server, ThreadPoolExecutor(2) as pool:
        env = on_redis(server)
        shared = config(up) + IN_REDIS
        with (
            gateway(tmp_path / "a", shared, env) as one,
            gateway(tmp_path / "b", shared, env) as two,
        ):
            first = pool.submit(ask, one)
            wait_for(lambda: up.answering == 1, "the first is sent")
            second = pool.submit(ask, two)
            wait_for(lambda: waiting(two) == 1, "the second waits")
            opened_s = time.monotonic()
            up.gate.set()
            assert (first.result().status, second.result().status) == (200, 200)
            assert time.monotonic() - opened_s < AT_ONCE_S
            assert one.ended(second.result().request_id)["waited_ms"] > 0
            assert account(one) == account(two) == (2 * COST_NANO, 0, 0)
