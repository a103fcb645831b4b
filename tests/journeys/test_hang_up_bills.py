"""Callers that hang up at every point of a stream: the ledger has what the provider bills.

The provider counts the prompt as the gateway does, and each token is one event, so the two can be
compared to the nano-dollar wherever the provider stood still when its caller went.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tests.journeys.gateway_process import (
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    upstream_config,
    wait_for,
)
from tests.journeys.pooling import assert_every_connection_can_be_used
from tests.journeys.prompts import COUNTED_TOKENS, MESSAGE
from tests.journeys.scraping import scrape
from tests.journeys.upstream import Play, Seen, Upstream, upstream

ROUNDS = int(os.environ.get("WEIR_HANG_UPS", "100"))
AT_ONCE = 10
CONNECTIONS = 20
OUTPUT_NANO = 2_000
# How much further a provider of 100 tokens a second may come until it learns of a hang-up: for two
# seconds, which only a machine that is busy with other things takes.
IN_FLIGHT_TOKENS = 200
POINTS = ("before the answer", "before the first token", "mid-stream", "flowing", "at the end")


def play_of(seen: Seen) -> Play:
    """How the upstream answers, as the caller's id says: `POINT/TOKENS/...`."""
    point, tokens, _ = seen.headers["x-client-request-id"].split("/")
    named = {"X-Request-Id": seen.headers["x-client-request-id"]}
    play = {
        "before the answer": Play(first_delay_s=60),
        "before the first token": Play(stall_after=0, headers=named),
        "mid-stream": Play(tokens=900, stall_after=int(tokens), headers=named),
        "flowing": Play(tokens=900, delay_s=0.01, headers=named),
        "at the end": Play(tokens=int(tokens), headers=named),
        "whole": Play(gated=True, headers=named),
    }[point]
    return Play(
        **{name: getattr(play, name) for name in Play.__slots__ if name != "prompt_tokens"},
        prompt_tokens=COUNTED_TOKENS,
    )


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as server:
        server.choose = play_of
        yield server


@pytest.fixture
def weir(tmp_path: Path, up: Upstream) -> Iterator[GatewayProcess]:
    config = upstream_config(up.base_url, budget("key:*", "100") + budget("run:*", "1"))
    config = config.replace("base_url", f"max_connections = {CONNECTIONS}\nbase_url")
    with gateway(tmp_path, config) as running:
        yield running


def hang_up(weir: GatewayProcess, up: Upstream, client_id: str) -> int:
    """Ask for a stream and leave at the point that the id says; the tokens seen until then."""
    point, tokens, _ = client_id.split("/")
    headers = {"x-client-request-id": client_id, "x-weir-run": client_id.replace("/", "-")}
    fields = {"stream": True, "max_tokens": 1_000, "headers": headers}
    body, sent = weir.chat_request(MESSAGE, fields)
    connection = weir.connect()
    connection.request("POST", "/v1/chat/completions", body, sent)
    seen = b""
    if point == "before the answer":
        wait_for(lambda: any(client_id in one.headers.values() for one in up.seen), client_id)
    else:
        response = connection.getresponse()
        wanted = 0 if point == "before the first token" else int(tokens)
        while b"\n\n" not in seen or seen.count(b"water") < wanted:
            line = response.readline()
            assert line, f"{client_id} ended early"
            seen += line
        response.close()
    connection.close()
    return seen.count(b"water")


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_hang_ups_are_charged_what_the_provider_bills_and_leave_nothing_behind(
    weir: GatewayProcess, up: Upstream
) -> None:
    dice = Random(7)
    ids = [f"{POINTS[n % len(POINTS)]}/{dice.randrange(1, 40)}/{n}" for n in range(ROUNDS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = dict(zip(ids, pool.map(lambda one: hang_up(weir, up, one), ids), strict=True))
    wait_for(lambda: up.answering == 0, "the upstream is let go")
    wait_for(lambda: scrape(weir).value("weir_requests_in_flight") == 0, "all requests end")
    assert scrape(weir).value("weir_ledger_open_holds") == 0
    bill = {line.client_id: line for line in up.bill}
    assert (len(bill), len(up.bill)) == (ROUNDS, ROUNDS)
    assert_clean(weir)
    assert_every_connection_can_be_used(weir, up, [f"whole/5/{n}" for n in range(CONNECTIONS)])
    assert weir.stop() == 0
    rows = {row["run_id"]: row for row in weir.events()}
    uncharged_tokens = 0
    for client_id, line in bill.items():
        row = rows[client_id.replace("/", "-")]
        missing_tokens = (line.cost_nano - row["cost_nano"]) // OUTPUT_NANO
        if client_id.startswith("flowing"):
            assert row["output_tokens"] >= seen[client_id]
            assert 0 <= missing_tokens <= IN_FLIGHT_TOKENS
            uncharged_tokens += missing_tokens
        else:
            assert row["cost_nano"] == line.cost_nano, (client_id, line, row)
        gone = row["ending"] == "client_gone"
        assert gone or (client_id.startswith("at the end") and row["ending"] == "completed")
        assert row["usage_source"] == ("estimated" if gone else "provider")
        assert 0 < row["cost_nano"] <= row["reserved_nano"]
    billed_tokens = sum(line.sent_tokens for line in up.bill)
    print(f"{ROUNDS} hang-ups: {uncharged_tokens} of {billed_tokens} tokens not charged")
