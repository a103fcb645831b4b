"""One host, two worker processes: one port, one set of books, and nothing lost when one dies."""

import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil
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
    wait_for,
)
from tests.journeys.upstream import PROMPT_TOKENS, Play, Upstream

pytestmark = pytest.mark.redis

REPEATS = int(os.environ.get("WEIR_TEST_REPEATS", "5"))
ASKED, FITTING = 200, 20
MAX_TOKENS = 20
MESSAGE = "Which way does the water run?"
INPUT_NANO, OUTPUT_NANO = 1_000, 2_000
COST_NANO = INPUT_NANO * PROMPT_TOKENS + OUTPUT_NANO * MAX_TOKENS
# A busy machine may take longer than a gateway should wait.
REDIS = IN_REDIS + "timeout_ms = 5_000\n"
TWO = ("--workers", "2")
SHORT_LEASE = "lease_s = 9\nrequest_timeout_s = 8"


def workers_of(weir: GatewayProcess) -> list[dict[str, Any]]:
    found = weir.admin("status")["workers"]
    assert isinstance(found, list)
    return found


def pids_of(weir: GatewayProcess) -> list[int]:
    return [worker["pid"] for worker in workers_of(weir)]


def row_of(weir: GatewayProcess, scope: str) -> dict[str, Any]:
    rows = weir.admin("budgets")["budgets"]
    return next(row for row in rows if row["scope"] == scope)


def ceiling_nano(weir: GatewayProcess) -> int:
    """What a request may cost at most, as a refusal tells it."""
    error = weir.chat(MESSAGE, max_tokens=MAX_TOKENS, headers={"x-weir-workflow": "probe"}).error
    return nano_from_usd(error["needed_usd"])


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended: a dead one may wait for whoever inherits it."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def gone(pids: list[int]) -> bool:
    return not any(map(runs, pids))


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_of_two_hundred_at_once_on_two_workers_exactly_those_that_fit_are_sent(
    server: RedisServer, up: Upstream, tmp_path: Path
) -> None:
    tiny = budget("workflow:demo/probe", "0.000000001")
    config = upstream_config(up.base_url, tiny) + REDIS
    with gateway(tmp_path / "probe", config, on_redis(server)) as weir:
        limit_nano = FITTING * ceiling_nano(weir) + 1
    server.client.flushall()
    each = budget("workflow:*", format_usd(limit_nano))
    config = upstream_config(up.base_url, each, "budget_wait_ms = 0") + REDIS
    with (
        gateway(tmp_path, config, on_redis(server), TWO) as weir,
        ThreadPoolExecutor(ASKED) as pool,
    ):
        busy_s = [psutil.Process(pid).cpu_times().user for pid in pids_of(weir)]
        for repeat in range(REPEATS):
            workflow = f"burst-{repeat}"
            asked = burst(weir, up, pool, workflow)
            statuses = [one.status for one in asked]
            assert (statuses.count(200), statuses.count(429)) == (FITTING, ASKED - FITTING)
            assert {one.error["code"] for one in asked if one.status == 429} == {"budget_busy"}
            billed = [line for line in up.bill if line.client_id == workflow]
            assert sum(line.sent_tokens for line in billed) == FITTING * MAX_TOKENS
            row = row_of(weir, f"workflow:demo/{workflow}")
            assert (row["posted_nano"], row["held_nano"]) == (FITTING * COST_NANO, 0)
        report = assert_clean(weir)
        spent = (REPEATS * FITTING, REPEATS * FITTING * COST_NANO)
        assert (report["entries"], report["ledger_nano"]) == spent
        worked_s = [psutil.Process(pid).cpu_times().user for pid in pids_of(weir)]
        shares_s = [after - before for before, after in zip(busy_s, worked_s, strict=True)]
        assert min(shares_s) > sum(shares_s) / 10, "both of them worked"


def burst(
    weir: GatewayProcess, up: Upstream, pool: ThreadPoolExecutor, workflow: str
) -> list[Answer]:
    """Ask at once; the upstream answers only when all that do not fit have been refused."""
    up.play = Play(tokens=MAX_TOKENS, gated=True)
    up.gate.clear()
    named = {"x-weir-workflow": workflow, "x-client-request-id": workflow}
    asked = [
        pool.submit(weir.chat, MESSAGE, max_tokens=MAX_TOKENS, headers=dict(named))
        for _ in range(ASKED)
    ]
    wait_for(lambda: sum(one.done() for one in asked) >= ASKED - FITTING, "the rest is refused")
    wait_for(lambda: up.answering >= FITTING, "what fits is sent")
    up.gate.set()
    return [one.result() for one in asked]


def test_a_worker_that_is_killed_is_replaced_and_the_books_balance_after_the_leases(
    server: RedisServer, up: Upstream, tmp_path: Path
) -> None:
    config = upstream_config(up.base_url, budget("org", "5"), SHORT_LEASE) + REDIS
    with (
        gateway(tmp_path, config, on_redis(server), TWO) as weir,
        ThreadPoolExecutor(16) as pool,
    ):
        up.play = Play(tokens=MAX_TOKENS, gated=True)
        asked = [pool.submit(weir.chat, MESSAGE, max_tokens=MAX_TOKENS) for _ in range(16)]
        wait_for(lambda: up.answering == 16, "all are at the provider")
        assert {worker["ready"] for worker in workers_of(weir)} == {True}
        killed, other = pids_of(weir)
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: up.answering < 16, "its requests break off")
        up.gate.set()
        wait_for(lambda: workers_of(weir)[0]["starts"] == 2, "it is started again")
        wait_for(lambda: workers_of(weir)[0]["ready"], "it answers")
        assert pids_of(weir)[1] == other
        answered = [one for one in map(answer_of, asked) if one is not None]
        assert {one.status for one in answered} <= {200}
        assert f"(process {killed}) ended with signal 9" in weir.log()
        up.play = Play(tokens=MAX_TOKENS)
        assert weir.chat(MESSAGE, max_tokens=MAX_TOKENS).status == 200
        wait_for(lambda: row_of(weir, "org:default")["held_nano"] == 0, "the leases end")
        report = assert_clean(weir)
        lost = 16 - len(answered)
        assert report["entries"] == 17
        assert report["ledger_nano"] >= 17 * COST_NANO
        assert (report["ledger_nano"] > 17 * COST_NANO) is (lost > 0)


def answer_of(asked: "Future[Answer]") -> Answer | None:
    """The answer, or None where its worker died."""
    try:
        return asked.result()
    except (OSError, HTTPException):
        return None


def test_a_stop_lets_every_worker_finish_what_is_under_way(
    server: RedisServer, up: Upstream, tmp_path: Path
) -> None:
    config = upstream_config(up.base_url, budget("org", "5")) + REDIS
    with gateway(tmp_path, config, on_redis(server), TWO) as weir, ThreadPoolExecutor(8) as pool:
        up.play = Play(tokens=MAX_TOKENS, gated=True)
        streams = [pool.submit(whole_stream, weir) for _ in range(8)]
        wait_for(lambda: up.answering == 8, "all are at the provider")
        pids = pids_of(weir)
        os.killpg(weir.pid, signal.SIGTERM)  # as a service manager does: to every process at once
        wait_for(lambda: weir.get("/healthz").status == 0, "nobody is let in any more")
        assert weir.running
        up.gate.set()
        assert [stream.result()[-1] for stream in streams] == ["[DONE]"] * 8
        assert weir.wait_gone() == 0
        assert gone(pids)
        assert not (weir.data / "gateway.json").exists()
        assert len(weir.events()) == 8
        weir.start()
        assert assert_clean(weir)["ledger_nano"] == 8 * COST_NANO


def whole_stream(weir: GatewayProcess) -> list[Any]:
    with weir.stream(MESSAGE, max_tokens=MAX_TOKENS) as answer:
        return sse_data(answer.read())


def test_a_second_signal_ends_all_at_once(
    server: RedisServer, up: Upstream, tmp_path: Path
) -> None:
    config = upstream_config(up.base_url, budget("org", "5")) + REDIS
    with gateway(tmp_path, config, on_redis(server), TWO) as weir, ThreadPoolExecutor(2) as pool:
        up.play = Play(tokens=MAX_TOKENS, gated=True)
        asked = [pool.submit(answer_of, pool.submit(weir.chat, MESSAGE)) for _ in range(1)]
        wait_for(lambda: up.answering == 1, "one is at the provider")
        pids = pids_of(weir)
        weir.ask_to_stop()
        wait_for(lambda: weir.get("/healthz").status == 0, "nobody is let in any more")
        started_s = time.monotonic()
        os.kill(weir.pid, signal.SIGINT)
        assert weir.wait_gone() == 0
        assert time.monotonic() - started_s < 15
        assert gone(pids)
        assert asked[0].result() is None


def test_workers_end_when_their_parent_was_killed(
    server: RedisServer, up: Upstream, tmp_path: Path
) -> None:
    config = upstream_config(up.base_url, budget("org", "5")) + REDIS
    with gateway(tmp_path, config, on_redis(server), TWO) as weir, ThreadPoolExecutor(1) as pool:
        up.play = Play(tokens=MAX_TOKENS, gated=True)
        asked = pool.submit(weir.chat, MESSAGE, max_tokens=MAX_TOKENS)
        wait_for(lambda: up.answering == 1, "one is at the provider")
        pids = pids_of(weir)
        weir.kill()
        wait_for(lambda: sum(map(runs, pids)) == 1, "the idle one ends")
        up.gate.set()
        assert asked.result().status == 200
        wait_for(lambda: gone(pids), "the other has finished and ends")
        weir.start()
        assert assert_clean(weir)["ledger_nano"] == COST_NANO


def test_a_ledger_in_a_file_takes_no_workers_and_says_which_key_to_change(tmp_path: Path) -> None:
    weir = GatewayProcess(tmp_path, SCRIPTED_CONFIG)
    for options in (TWO, ("--role", "gateway"), ("--role", "collector")):
        refused = weir.command("serve", *options)
        assert refused.returncode == 2
        assert 'ledger.store: "sqlite" keeps the ledger in one process' in refused.stderr
        assert 'write store = "redis" under [ledger] and set WEIR_REDIS_URL' in refused.stderr
        assert f"leave out {options[0]}" in refused.stderr
    assert "--workers: expected 1 or more" in weir.command("serve", "--workers", "0").stderr


def test_a_worker_that_cannot_start_is_named_and_nothing_is_left(
    server: RedisServer, tmp_path: Path
) -> None:
    tls = '[providers.up]\nkind = "openai_http"\nbase_url = "https://127.0.0.1/v1"\n'
    config = SCRIPTED_CONFIG + tls + f'ca_file = "{tmp_path / "none.pem"}"\n' + REDIS
    weir = GatewayProcess(tmp_path, config, on_redis(server), TWO)
    weir.launch()
    try:
        assert weir.wait_gone() == 1
    finally:
        weir.clean_up()
    assert "providers.up.ca_file" in weir.log()
    assert "does not start; its reason is above" in weir.log()


def test_a_changed_configuration_waits_for_the_next_start(
    server: RedisServer, tmp_path: Path
) -> None:
    config = SCRIPTED_CONFIG + REDIS
    with gateway(tmp_path, config, on_redis(server), TWO) as weir:
        weir.config.write_text("[server]\nport = 'x'\n")
        os.kill(pids_of(weir)[0], signal.SIGKILL)
        wait_for(lambda: workers_of(weir)[0]["starts"] == 2, "it is started again")
        wait_for(
            lambda: workers_of(weir)[0]["ready"], "it answers with the configuration of before"
        )
