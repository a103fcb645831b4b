"""Agents that name no run, answered by two workers: which request was of which conversation.

The workers share no memory, so a conversation's name must come to each of them by itself. Precision
and recall are those of docs/attribution.md: of pairs of requests that are in one run.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from math import comb
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from bench.inferred_runs import pairs
from tests.contracts.redis_server import RedisServer, own_server
from tests.journeys.gateway_process import (
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    upstream_config,
)
from tests.journeys.upstream import Play, upstream

pytestmark = pytest.mark.redis

CONVERSATIONS, AT_ONCE = 36, 6
# Requests of a conversation, a few of them long, as the recorded ones of docs/attribution.md.
LENGTHS = (2, 3, 5, 6, 9, 20)
SYSTEM = "You are an agent of the support team. It is {minute} past nine."
GREETINGS = ("Hello", "Please help me.", "I have a question.")
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: of which conversation, and the how-manieth of it."""

    conversation: int
    turn: int
    request_id: str


def converse(weir: GatewayProcess, number: int) -> list[Asked]:
    """A whole conversation, each request on a connection of its own; it says nothing of a run."""
    dice = Random(number)
    said: list[dict[str, Any]] = [{"role": "user", "content": dice.choice(GREETINGS)}]
    asked = []
    for turn in range(LENGTHS[number % len(LENGTHS)]):
        system = {"role": "system", "content": SYSTEM.format(minute=dice.randrange(60))}
        answer = weir.chat(messages=[system, *said], max_tokens=5)
        assert answer.status == 200, answer.body
        asked.append(Asked(number, turn, answer.request_id))
        said.append(answer.json["choices"][0]["message"])
        said.append({"role": "user", "content": f"And step {turn} of matter {number}?"})
    return asked


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with own_server() as server:
        yield server


@pytest.mark.slow
def test_two_workers_name_a_conversation_alike_from_its_second_request_on(
    server: RedisServer, tmp_path: Path
) -> None:
    environment = {"WEIR_REDIS_URL": server.url, "WEIR_SECRET": "0123456789abcdef" * 2}
    redis = '[ledger]\nstore = "redis"\ntimeout_ms = 5_000\n'
    with upstream() as up:
        numbers = count()
        # Many begin with the same words, and get other ones for an answer.
        up.choose = lambda seen: Play(tokens=3, word=f" water{next(numbers)}")
        text = upstream_config(up.base_url, budget("key:*", "50") + budget("run:*", "1")) + redis
        options = ("--workers", str(WORKERS))
        with (
            gateway(tmp_path, text, environment, options) as weir,
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            workers = [psutil.Process(worker["pid"]) for worker in weir.admin("status")["workers"]]
            busy_s = [worker.cpu_times().user for worker in workers]
            talks = pool.map(lambda number: converse(weir, number), range(CONVERSATIONS))
            asked = [one for talk in talks for one in talk]
            assert all(
                worker.cpu_times().user > before_s
                for worker, before_s in zip(workers, busy_s, strict=True)
            ), "one of the workers answered nobody"
            assert_clean(weir)
            assert weir.stop() == 0
            rows = {row["request_id"]: row for row in weir.events()}
    assert_named_alike(asked, rows)


def assert_named_alike(asked: Sequence[Asked], rows: Mapping[str, Mapping[str, Any]]) -> None:
    assert rows.keys() >= {one.request_id for one in asked}
    found = [(one.conversation, rows[one.request_id]["run_id"]) for one in asked]
    together = pairs(Counter(found))
    inferred, true = (pairs(Counter(one[place] for one in found)) for place in (1, 0))
    precision, recall = together / inferred, together / true
    print(f"{len(asked)} requests of {CONVERSATIONS} conversations on {WORKERS} workers:")
    print(f"precision {precision:.4f}, recall {recall:.4f}")
    assert precision == 1.0
    # The first request of each keeps a name of its own, all others share one.
    lengths = Counter(one.conversation for one in asked).values()
    promised = sum(comb(length - 1, 2) for length in lengths) / true
    assert recall == promised > 0.8
    for one in asked:
        assert rows[one.request_id]["run_source"] == ("inferred" if one.turn else "request")
