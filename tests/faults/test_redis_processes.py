"""Whole gateways on one Redis: one dies between reserving and sending, one has a wrong clock."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from budgets.ledger import Hold
from budgets.money import format_usd
from budgets.stores.redis_scripts import Keys, scripts
from budgets.stores.redis_texts import read_hold
from tests.contracts.redis_server import RedisServer
from tests.journeys.gateway_process import (
    IN_REDIS,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    on_redis,
    upstream_config,
)
from tests.journeys.prompts import MESSAGE
from tests.journeys.upstream import PROMPT_TOKENS, Play, Upstream, upstream

pytestmark = pytest.mark.redis

REDIS = IN_REDIS + "timeout_ms = 10_000\n"
LEASE_S, SWEEP_S, SLACK_S = 4, 5, 2
MAX_TOKENS = 20
COST_NANO = 1_000 * PROMPT_TOKENS + 2_000 * MAX_TOKENS


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as up:
        up.play = Play(tokens=MAX_TOKENS)
        yield up


# -- a kill between reservation and dispatch ----------------------------------------------------


class Deaf:
    """The way to a server, which from one call of a script on hears nothing more."""

    def __init__(self, server: RedisServer, script: str) -> None:
        self.heard = threading.Event()
        self._server = server
        self._call = b"EVALSHA\r\n$40\r\n" + scripts()[script].sha
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            away = socket.socket(socket.AF_UNIX)
            away.connect(self._server.url.removeprefix("unix://"))
            threading.Thread(target=self._carry, args=(client, away), daemon=True).start()
            threading.Thread(target=self._carry, args=(away, client), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(1 << 16):
            if self._call in data:
                self.heard.set()
            if not self.heard.is_set():
                target.sendall(data)
        target.close()

    def close(self) -> None:
        self._listener.close()


@contextmanager
def deaf_way(server: RedisServer, script: str) -> Iterator[Deaf]:
    way = Deaf(server, script)
    try:
        yield way
    finally:
        way.close()


def open_holds(server: RedisServer) -> list[Hold]:
    found = server.client.hgetall(Keys.of("default").hold)
    return [read_hold(hold_id.decode(), text) for hold_id, text in found.items()]


def test_a_kill_between_reserving_and_sending_costs_nothing_and_frees_at_the_leases_end(
    server: RedisServer, up: Upstream, tmp_path: Path
) -> None:
    times = f"lease_s = {LEASE_S}\nrequest_timeout_s = {LEASE_S - 1}"
    config = upstream_config(up.base_url, budget("key:*", "5"), times) + REDIS
    env = on_redis(server)

    def held_nano(weir: GatewayProcess) -> int:
        return int(weir.admin("budgets")["budgets"][0]["held_nano"])

    with gateway(tmp_path / "a", config, env) as alive, deaf_way(server, "dispatch") as way:
        assert alive.chat(MESSAGE, max_tokens=MAX_TOKENS).status == 200
        with (
            gateway(tmp_path / "b", config, {**env, "WEIR_REDIS_URL": way.url}) as dying,
            ThreadPoolExecutor(1) as pool,
        ):
            lost = pool.submit(dying.chat, MESSAGE, max_tokens=MAX_TOKENS)
            assert way.heard.wait(30)
            [hold] = open_holds(server)
            dying.kill()
            assert isinstance(lost.exception(), OSError)
        assert held_nano(alive) == hold.amount_nano > COST_NANO
        while open_holds(server):
            assert server_ms(server) < hold.lease_until_ms + (SWEEP_S + SLACK_S) * 1_000
        assert server_ms(server) >= hold.lease_until_ms == hold.admitted_ms + LEASE_S * 1_000
        assert held_nano(alive) == 0
        assert (len(up.seen), len(up.bill)) == (1, 1)
        report = assert_clean(alive)
        assert (report["entries"], report["ledger_nano"]) == (1, COST_NANO)


def server_ms(server: RedisServer) -> int:
    seconds, micros = server.client.time()
    return int(seconds) * 1_000 + int(micros) // 1_000


# -- clocks --------------------------------------------------------------------------------------

SKEW = """\
import os, time

real_ns, real, skew_s = time.time_ns, time.time, int(os.environ["SKEW_S"])
time.time_ns = lambda: real_ns() + skew_s * 10**9
time.time = lambda: real() + skew_s
"""
DAY_S = 86_400
TWO_DAYS_S = 2 * DAY_S
WINDOWS = ("total", "month", "day", "24h")


def test_gateways_whose_clocks_are_two_days_off_decide_like_those_with_the_right_time(
    server: RedisServer, up: Upstream, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SKEW)
    decided = {}
    for skews in ((0, 0), (-TWO_DAYS_S, TWO_DAYS_S)):
        server.client.flushall()
        decided[skews] = decisions(server, up, tmp_path, skews)
    first, second = decided.values()
    assert first == second
    assert first[0].count(200) == len(WINDOWS) * 3


def decisions(
    server: RedisServer, up: Upstream, folder: Path, skews: tuple[int, int]
) -> tuple[list[int], dict[str, int]]:
    """What two gateways answer in turns, and what is in the ledger's accounts then."""
    budgets = "".join(
        budget(f"workflow:demo/{window}", format_usd(2 * COST_NANO + 97_000), window)
        for window in WINDOWS
    )
    config = upstream_config(up.base_url, budgets) + REDIS
    statuses = []
    with ExitStack() as stack:
        pair = []
        for number, skew_s in enumerate(skews):
            env = on_redis(server)
            env |= {"SKEW_S": str(skew_s), "PYTHONPATH": str(folder)}
            place = folder / f"{skew_s} {number}"
            pair.append(stack.enter_context(gateway(place, config, env)))
        for window in WINDOWS:
            for number in range(5):
                weir = pair[number % 2]
                headers = {"x-weir-workflow": window}
                answer = weir.chat(MESSAGE, max_tokens=MAX_TOKENS, headers=headers)
                statuses.append(answer.status)
                told_ms = int(answer.request_id.removeprefix("req_")[:12], 16)
                skew_ms = skews[number % 2] * 1_000
                assert abs(told_ms - skew_ms - server_ms(server)) < 60_000, "the clock is skewed"
        assert_clean(pair[0])
    return statuses, posted_in_windows_of_now(server)


def posted_in_windows_of_now(server: RedisServer) -> dict[str, int]:
    """The accounts by name; the window of each has begun by the server's clock, and not ended."""
    now_s, found = server_ms(server) // 1_000, {}
    for name, amount in server.client.hgetall(Keys.of("default").posted).items():
        account, _, start = name.decode().rpartition("|")
        window = account.rpartition("|")[2]
        longest_s = {"total": now_s, "month": 31 * DAY_S, "day": DAY_S, "24h": DAY_S // 24}[window]
        assert int(start) <= now_s <= int(start) + longest_s + SLACK_S * 60, name
        found[account] = found.get(account, 0) + int(amount)
    return found
