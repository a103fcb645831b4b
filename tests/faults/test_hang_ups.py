"""Every way to hang up, over and over: who pays what, and what is left of it in the gateway.

The provider stands still where its caller leaves, so that bill and books can be compared to the
nano-dollar. What a provider that goes on generating bills is in `test_hang_up_bills.py`.
"""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from random import Random

import psutil
import pytest

from tests.faults.raw_clients import connect, head, reset
from tests.faults.upstreams import assert_at_rest
from tests.journeys.gateway_process import (
    GatewayProcess,
    budget,
    gateway,
    upstream_config,
    wait_for,
)
from tests.journeys.pooling import assert_every_connection_can_be_used
from tests.journeys.prompts import COUNTED_TOKENS, MESSAGE
from tests.journeys.scraping import scrape
from tests.journeys.upstream import Play, Seen, Upstream, upstream

ROUNDS = int(os.environ.get("WEIR_LEAVING_ROUNDS", "30"))
AT_ONCE = 20
LET_GO_WITHIN_S = 1.0
WHEN = ("before the answer", "before the first token", "mid-stream")
HOW = ("close", "reset", "half-close")
EACH_ONE = [f"whole/-/5/{number}" for number in range(AT_ONCE)]


def play_of(seen: Seen) -> Play:
    """How the upstream answers, as the caller's id says: `WHEN/HOW/TOKENS/NUMBER`."""
    when, _, tokens, _ = seen.headers["x-client-request-id"].split("/")
    if when == "whole":
        return Play(prompt_tokens=COUNTED_TOKENS, gated=True)
    return Play(
        tokens=900,
        prompt_tokens=COUNTED_TOKENS,
        first_delay_s=60.0 if when == "before the answer" else 0.0,
        stall_after=int(tokens),
    )


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as server:
        server.choose = play_of
        yield server


@pytest.fixture
def weir(up: Upstream, tmp_path: Path) -> Iterator[GatewayProcess]:
    text = upstream_config(
        up.base_url, budget("key:*", "100"), "max_new_ids_per_hour = 100000"
    ).replace("base_url", f"max_connections = {AT_ONCE}\nbase_url")
    with gateway(tmp_path, text) as running:
        yield running


class Hangers:
    """Callers that leave, so many at a time, and how long the provider went on afterwards."""

    def __init__(self, weir: GatewayProcess, up: Upstream) -> None:
        self._weir = weir
        self._up = up
        self._asked = 0
        self.longest_s = 0.0

    def leave(self, ids: list[str]) -> None:
        """All ask at once and leave as their ids say; then the provider is let go in time."""
        self._asked = len(self._up.seen) + len(ids)
        with ThreadPoolExecutor(len(ids)) as pool:
            list(pool.map(self._leave, ids))
        left_s = time.monotonic()
        wait_for(lambda: self._up.answering == 0, "the provider is let go", LET_GO_WITHIN_S)
        self.longest_s = max(self.longest_s, time.monotonic() - left_s)

    def _leave(self, client_id: str) -> None:
        when, how, tokens, _ = client_id.split("/")
        named = (f"X-Client-Request-Id: {client_id}", f"X-Weir-Run: {client_id.replace('/', '-')}")
        text, _ = self._weir.chat_request(MESSAGE, {"stream": True, "max_tokens": 1_000})
        client = connect(self._weir)
        client.sendall(head(self._weir, *named, f"Content-Length: {len(text)}") + text)
        received = b""
        if when == "before the answer":
            wait_for(lambda: len(self._up.seen) >= self._asked, "the provider is asked")
        else:
            while b'"delta"' not in received or received.count(b"water") < int(tokens):
                received += client.recv(4_096)
        if how == "half-close":
            client.shutdown(socket.SHUT_WR)
            while client.recv(4_096):
                continue
        (reset if how == "reset" else socket.socket.close)(client)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_every_way_to_hang_up_is_charged_as_billed_and_leaves_nothing_behind(
    weir: GatewayProcess, up: Upstream
) -> None:
    dice, hangers = Random(7), Hangers(weir, up)
    ids = [
        f"{when}/{how}/{dice.randrange(1, 40) if when == 'mid-stream' else 0}/{number}"
        for number in range(ROUNDS)
        for when, how in product(WHEN, HOW)
    ]
    # And all that comes with the first requests.
    assert_every_connection_can_be_used(weir, up, EACH_ONE)
    before = what_is_held(weir)
    for start in range(0, len(ids), AT_ONCE):
        hangers.leave(ids[start : start + AT_ONCE])
    print(f"{len(ids)} hang-ups: the provider was let go within {hangers.longest_s:.3f} s")
    assert up.aborted == len(ids)
    assert_at_rest(weir)
    assert_every_connection_can_be_used(weir, up, EACH_ONE)
    wait_for(
        lambda: all(now <= then for now, then in zip(what_is_held(weir), before, strict=True)),
        f"tasks, descriptors and connections are again at most {before}",
        20,
    )
    assert_at_rest(weir)
    assert weir.stop() == 0
    rows = {row["run_id"]: row for row in weir.events()}
    bill = {line.client_id: line for line in up.bill}
    for client_id in ids:
        line, row = bill[client_id], rows[client_id.replace("/", "-")]
        assert row["cost_nano"] == line.cost_nano > 0, (client_id, line, row)
        assert (row["ending"], row["usage_source"]) == ("client_gone", "estimated")
        assert row["attempts"] == 1


def what_is_held(weir: GatewayProcess) -> tuple[int, int, int]:
    """Tasks, file descriptors, and connections to anybody of the gateway."""
    process = psutil.Process(weir.pid)
    tasks = int(scrape(weir).value("weir_tasks"))
    return tasks, process.num_fds(), len(process.net_connections("tcp"))
