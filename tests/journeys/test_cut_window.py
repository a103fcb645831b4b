"""A provider that streams on beyond its limit is cut: how far it comes, and what it costs."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.journeys.gateway_process import (
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    upstream_config,
    wait_for,
)
from tests.journeys.prompts import MESSAGE
from tests.journeys.upstream import Play, Upstream, upstream

STREAMS = int(os.environ.get("WEIR_CUT_STREAMS", "30"))
LIMIT_TOKENS = 30
CUT = {"stream": True, "max_tokens": LIMIT_TOKENS}
AT_ONCE = 5


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture(scope="module")
def weir(tmp_path_factory: pytest.TempPathFactory, up: Upstream) -> Iterator[GatewayProcess]:
    with gateway(
        tmp_path_factory.mktemp("weir"), upstream_config(up.base_url, budget("key:*", "50"))
    ) as running:
        yield running


def p99(values: list[int]) -> int:
    """The smallest value that 99 of 100 do not exceed."""
    return sorted(values)[math.ceil(len(values) * 0.99) - 1]


@pytest.mark.parametrize(
    ("delay_s", "window_tokens"),
    [pytest.param(0.005, 40, id="slow"), pytest.param(0.0, 10_000, id="as fast as it can")],
)
def test_a_stream_that_goes_on_is_cut_and_charged_for_no_more_than_was_held(
    weir: GatewayProcess, up: Upstream, delay_s: float, window_tokens: int
) -> None:
    up.bill.clear()
    up.play = Play(tokens=1_000_000, obey_limit=False, delay_s=delay_s)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = [pool.submit(weir.chat, MESSAGE, **CUT) for _ in range(STREAMS)]
        answers = [answer.result() for answer in asked]
    for answer in answers:
        row = weir.ended(answer.request_id)
        assert (row["ending"], row["error_code"]) == ("killed", "budget_exceeded")
        assert answer.body.count(b"water") == row["all_output_tokens"] == LIMIT_TOKENS
        assert (row["overrun_nano"], row["cost_nano"] <= row["reserved_nano"]) == (0, True)
    wait_for(lambda: up.answering == 0 and len(up.bill) == STREAMS, "the upstream is let go")
    past = [line.sent_tokens - LIMIT_TOKENS for line in up.bill]
    print(f"tokens past the cut: p99 {p99(past)}, max {max(past)} of {STREAMS} streams")
    assert 0 <= min(past) <= max(past) <= window_tokens
    [row] = weir.admin("budgets")["budgets"]
    assert (row["held_nano"], row["overrun_nano"]) == (0, 0)
    assert_clean(weir)
