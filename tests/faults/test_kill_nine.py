"""`kill -9` in the middle of mixed load, again and again: nothing promised is lost or doubled."""

import http.client
import os
import threading
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.journeys.gateway_process import (
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    upstream_config,
    wait_for,
)
from tests.journeys.upstream import Line, Play, Upstream, upstream

ROUNDS = int(os.environ.get("KILL_ROUNDS", "10"))
CALLERS = 12
INPUT_NANO, OUTPUT_NANO = 1_000, 2_000


@dataclass(frozen=True, slots=True)
class Promise:
    """A complete answer that a caller has seen: the gateway's id, the caller's, and how it came."""

    request_id: str
    client_id: str
    streamed: bool


class Load:
    """Callers that ask in turns, every other one for a stream, until the gateway is gone."""

    def __init__(self, weir: GatewayProcess, seed: int) -> None:
        self.promises: list[Promise] = []
        self._weir = weir
        self._threads = [
            threading.Thread(target=self._call, args=(Random(seed * CALLERS + number),))
            for number in range(CALLERS)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _call(self, random: Random) -> None:
        while True:
            streamed = random.random() < 0.5
            client_id = uuid.uuid4().hex
            try:
                request_id = self._ask_once(client_id, streamed, random.randrange(1, 30))
            except (OSError, http.client.HTTPException):
                return
            self.promises.append(Promise(request_id, client_id, streamed))

    def _ask_once(self, client_id: str, streamed: bool, max_tokens: int) -> str:
        fields: dict[str, Any] = {
            "max_tokens": max_tokens,
            "stream": streamed,
            "headers": {"x-client-request-id": client_id, "x-weir-workflow": "load"},
        }
        answer = self._weir.chat("Which way does the water run?", **fields)
        assert answer.status == 200, answer.body
        if streamed:
            assert answer.body.endswith(b"data: [DONE]\n\n")
        return answer.request_id


def kill_under_load(weir: GatewayProcess, seed: int, enough: int) -> list[Promise]:
    """Kill the gateway after so many answers, while more are on their way."""
    with Load(weir, seed) as load:
        wait_for(lambda: len(load.promises) >= enough, "answers")
        weir.kill()
    return load.promises


def cost_nano(line: Line) -> int:
    return INPUT_NANO * line.prompt_tokens + OUTPUT_NANO * line.sent_tokens


def check_books(weir: GatewayProcess, up: Upstream, promises: list[Promise]) -> Counter[str]:
    """Compare the files of a stopped gateway with what callers saw and the upstream charges."""
    events = weir.events()
    ids = Counter(event["event_id"] for event in events)
    assert [event_id for event_id, count in ids.items() if count > 1] == []
    settled = {event["request_id"]: event for event in events if event["kind"] == "request"}
    assert [one for one in promises if one.request_id not in settled] == []
    bill = {line.client_id: line for line in up.bill}
    assert len(bill) == len(up.bill), "one call was sent twice"
    for promise in promises:
        event = settled[promise.request_id]
        line = bill[promise.client_id]
        assert line.whole
        assert (event["usage_source"], event["ending"]) == ("provider", "completed")
        assert event["streamed"] == promise.streamed
        assert (event["fresh_tokens"], event["output_tokens"]) == (
            line.prompt_tokens,
            line.sent_tokens,
        )
        assert event["cost_nano"] == cost_nano(line)
    for event in events:
        if event["kind"] == "assumed":
            assert (event["usage_source"], event["ending"]) == ("assumed", "unknown")
            assert event["cost_nano"] == event["reserved_nano"]
    # Whatever the upstream charges for is in the books, be it promised, settled or assumed.
    assert sum(event["cost_nano"] for event in events) >= sum(map(cost_nano, up.bill))
    assert len(settled) + sum(event["kind"] == "assumed" for event in events) >= len(up.bill)
    return Counter(event["kind"] for event in events)


@pytest.mark.slow
def test_ten_kills_under_load_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    random = Random(9)
    promises: list[Promise] = []
    with upstream() as up:
        up.play = Play(tokens=25, first_delay_s=0.002, delay_s=0.002)
        config = upstream_config(up.base_url, budget("workflow:*", "100"))
        with gateway(tmp_path, config) as weir:
            for number in range(ROUNDS):
                promises += kill_under_load(weir, number, random.randrange(20, 150))
                weir.start()
                report = assert_clean(weir)
                assert report["entries"] >= len(promises)
                # The dead process's holds ended at this start; nobody's money stays held.
                assert all(row["held_nano"] == 0 for row in weir.admin("budgets")["budgets"])
            wait_for(lambda: up.answering == 0, "the upstream is at rest")
            assert weir.stop() == 0
            kinds = check_books(weir, up, promises)
    assert kinds["request"] >= len(promises) > 20 * ROUNDS
    assert kinds["assumed"] > 0, "no kill caught a request on its way"
