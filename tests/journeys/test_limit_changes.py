"""A limit that is lowered below what is spent and held, and raised again, while requests run."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from budgets.money import format_usd, nano_from_usd
from tests.journeys.gateway_process import (
    Answer,
    GatewayProcess,
    assert_clean,
    gateway,
    sse_data,
    upstream_config,
    wait_for,
)
from tests.journeys.prompts import MESSAGE
from tests.journeys.upstream import PROMPT_TOKENS, Play, Upstream, upstream

MAX_TOKENS = 20
COST_NANO = 1_000 * PROMPT_TOKENS + 2_000 * MAX_TOKENS
SPENT, RUNNING = 3, 8


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as server:
        server.play = Play(tokens=MAX_TOKENS, gated=True)
        yield server


def ask(weir: GatewayProcess, *, stream: bool = False) -> Answer:
    return weir.chat(MESSAGE, max_tokens=MAX_TOKENS, stream=stream)


def limit(weir: GatewayProcess, limit_nano: int) -> dict[str, Any]:
    """Set the limit, and the budget as it stands then."""
    terms = {"scope": "key:demo", "window": "total", "limit_usd": format_usd(limit_nano)}
    answer = weir.change("PUT", "budgets", terms)
    assert answer.status == 200, answer.body
    [row] = answer.json["budgets"]
    assert row["left_nano"] >= 0
    assert isinstance(row, dict)
    return row


def assert_denied(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.error["code"]) == (status, code)
    assert nano_from_usd(answer.error["remaining_usd"]) == 0


def test_a_limit_below_what_is_spent_and_held_lets_running_requests_end_and_none_begin(
    tmp_path: Path, up: Upstream
) -> None:
    with (
        gateway(tmp_path, upstream_config(up.base_url, server="budget_waiters = 0")) as weir,
        ThreadPoolExecutor(RUNNING) as pool,
    ):
        limit(weir, 10**9)
        up.gate.set()
        assert [ask(weir).status for _ in range(SPENT)] == [200] * SPENT
        up.gate.clear()
        running = [pool.submit(ask, weir, stream=number % 2 == 0) for number in range(RUNNING)]
        wait_for(lambda: up.answering == RUNNING, "all are under way")
        lower_and_deny(weir, up)
        up.gate.set()
        finish(running, up)
        row = weir.admin("budgets")["budgets"][0]
        all_nano = (SPENT + RUNNING) * COST_NANO
        assert (row["posted_nano"], row["held_nano"], row["overrun_nano"]) == (all_nano, 0, 0)
        assert_denied(ask(weir), 402, "budget_exceeded")
        raise_and_admit_one(weir, all_nano)
        assert len(up.seen) == SPENT + RUNNING + 1
        assert assert_clean(weir)["ledger_nano"] == all_nano + COST_NANO


def lower_and_deny(weir: GatewayProcess, up: Upstream) -> None:
    """Below what is spent and held: nobody new, but for now only. Below what is spent: for good."""
    held_nano = weir.admin("budgets")["budgets"][0]["held_nano"]
    ceiling_nano = held_nano // RUNNING
    assert held_nano == RUNNING * ceiling_nano > RUNNING * COST_NANO
    row = limit(weir, SPENT * COST_NANO + 2 * ceiling_nano)
    assert (row["posted_nano"], row["held_nano"]) == (SPENT * COST_NANO, held_nano)
    for stream in (False, True):
        assert_denied(ask(weir, stream=stream), 429, "budget_busy")
    assert limit(weir, SPENT * COST_NANO - 1)["left_nano"] == 0
    for stream in (False, True):
        assert_denied(ask(weir, stream=stream), 402, "budget_exceeded")
    assert len(up.seen) == SPENT + RUNNING


def finish(running: list["Future[Answer]"], up: Upstream) -> None:
    """Everything that ran is answered in full."""
    for answer in [one.result() for one in running]:
        assert answer.status == 200
        if answer.headers["content-type"].startswith("text/event-stream"):
            assert sse_data(answer.body)[-1] == "[DONE]"
            assert answer.body.count(b"water") == MAX_TOKENS
    assert [line.sent_tokens for line in up.bill] == [MAX_TOKENS] * (SPENT + RUNNING)


def raise_and_admit_one(weir: GatewayProcess, spent_nano: int) -> None:
    """What fits under the new limit is admitted, and not a request more."""
    needed_nano = nano_from_usd(ask(weir).error["needed_usd"])
    limit(weir, spent_nano + needed_nano - 1)
    assert ask(weir).status == 402
    limit(weir, spent_nano + needed_nano)
    assert [ask(weir).status for _ in range(2)] == [200, 402]
