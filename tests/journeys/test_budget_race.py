"""Fifty requests at once for money that bears ten: ten are sent, forty refused, nothing over."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from budgets.money import format_usd, nano_from_usd
from tests.journeys.gateway_process import (
    Answer,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    sse_data,
    upstream_config,
    wait_for,
)
from tests.journeys.upstream import PROMPT_TOKENS, Play, Upstream, upstream

ASKED, FITTING = 50, 10
MAX_TOKENS = 20
MESSAGE = "Which way does the water run?"
INPUT_NANO, OUTPUT_NANO = 1_000, 2_000


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture(scope="module")
def ceiling_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., int]]:
    """What a request may cost at most, as a refusal of the gateway tells it; every byte counts."""
    config = upstream_config("http://127.0.0.1:1/v1", budget("org", "0.000000001"))
    with gateway(tmp_path_factory.mktemp("probe"), config) as weir:

        def ask(**fields: Any) -> int:
            error = weir.chat(MESSAGE, max_tokens=MAX_TOKENS, **fields).error
            ceiling_nano = nano_from_usd(error["needed_usd"])
            assert ceiling_nano > OUTPUT_NANO * MAX_TOKENS + INPUT_NANO * PROMPT_TOKENS
            return ceiling_nano

        yield ask


def race(weir: GatewayProcess, up: Upstream, **fields: Any) -> list[Answer]:
    """Ask fifty times at once; the upstream answers only when the others have been refused."""
    up.play = Play(tokens=MAX_TOKENS, gated=True)
    up.gate.clear()
    with ThreadPoolExecutor(ASKED) as pool:
        asked = [
            pool.submit(weir.chat, MESSAGE, max_tokens=MAX_TOKENS, **fields) for _ in range(ASKED)
        ]
        wait_for(lambda: sum(one.done() for one in asked) >= ASKED - FITTING, "forty are refused")
        wait_for(lambda: len(up.seen) >= FITTING, "ten are sent")
        up.gate.set()
        return [one.result() for one in asked]


def assert_refused(answer: Answer, scope: str, limit_nano: int, needed_nano: int) -> None:
    """A 402 that says which budget, how much of it is left, and when it starts again."""
    assert answer.headers["x-should-retry"] == "false"
    error = answer.error
    assert (error["code"], error["type"], error["scope"], error["window"]) == (
        "budget_exceeded",
        "insufficient_quota",
        scope,
        "day",
    )
    limit, spent, held, left, needed = (
        nano_from_usd(error[f"{name}_usd"])
        for name in ("limit", "spent", "held", "remaining", "needed")
    )
    assert (limit, needed) == (limit_nano, needed_nano)
    assert spent + held + left == limit
    assert left < needed
    resets = datetime.fromisoformat(error["resets_at"])
    assert (resets.hour, resets.minute, resets.utcoffset()) == (0, 0, timedelta(0))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("configured", "refused_by", "headers"),
    [
        ("org", "org:default", {}),
        ("key:*", "key:demo", {}),
        ("workflow:*", "workflow:demo/triage", {"x-weir-workflow": "triage"}),
        ("run:*", "run:demo/loop-1", {"x-weir-run": "loop-1"}),
    ],
)
def test_exactly_ten_of_fifty_are_sent(
    tmp_path: Path,
    up: Upstream,
    ceiling_of: Callable[..., int],
    configured: str,
    refused_by: str,
    headers: dict[str, str],
    stream: bool,
) -> None:
    ceiling_nano = ceiling_of(stream=stream)
    limit_nano = FITTING * ceiling_nano + ceiling_nano - 1
    config = upstream_config(up.base_url, budget(configured, format_usd(limit_nano), "day"))
    with gateway(tmp_path, config) as weir:
        answers = race(weir, up, headers=headers, stream=stream)
        statuses = [answer.status for answer in answers]
        assert (statuses.count(200), statuses.count(402)) == (FITTING, ASKED - FITTING)
        for answer in answers:
            if answer.status == 402:
                assert_refused(answer, refused_by, limit_nano, ceiling_nano)
            elif stream:
                assert sse_data(answer.body)[-1] == "[DONE]"
        assert len(up.seen) == FITTING
        cost_nano = INPUT_NANO * PROMPT_TOKENS + OUTPUT_NANO * MAX_TOKENS
        [account] = weir.admin("budgets")["budgets"]
        assert (account["scope"], account["limit_nano"]) == (refused_by, limit_nano)
        assert account["posted_nano"] == FITTING * cost_nano <= limit_nano
        assert (account["held_nano"], account["overrun_nano"]) == (0, 0)
        report = assert_clean(weir)
        assert (report["entries"], report["ledger_nano"]) == (FITTING, FITTING * cost_nano)


def test_a_budget_spent_in_a_row_ends_where_the_next_ceiling_does_not_fit(
    tmp_path: Path, up: Upstream, ceiling_of: Callable[..., int]
) -> None:
    ceiling_nano = ceiling_of()
    limit_nano = 2 * ceiling_nano
    with gateway(
        tmp_path, upstream_config(up.base_url, budget("key:*", format_usd(limit_nano), "day"))
    ) as weir:
        spent_nano = 0
        up.play = Play(tokens=MAX_TOKENS)
        while (answer := weir.chat(MESSAGE, max_tokens=MAX_TOKENS)).status == 200:
            spent_nano += nano_from_usd(answer.headers["x-weir-cost-usd"])
            assert len(up.seen) < 10
        assert limit_nano - ceiling_nano < spent_nano <= limit_nano
        assert nano_from_usd(answer.error["spent_usd"]) == spent_nano
        assert_clean(weir)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_without_a_limit_the_answer_is_bounded_to_what_the_budget_affords(
    tmp_path: Path, up: Upstream, ceiling_of: Callable[..., int], stream: bool
) -> None:
    up.play = Play(tokens=10_000)
    ceiling_nano = ceiling_of(stream=stream)
    limit_nano = 2 * ceiling_nano
    config = upstream_config(up.base_url, budget("key:*", format_usd(limit_nano)))
    with gateway(tmp_path, config) as weir:
        answer = weir.chat(MESSAGE, stream=stream)
        assert answer.status == 200, answer.body
        bound = up.seen[0].body["max_tokens"]
        assert MAX_TOKENS < bound < limit_nano // OUTPUT_NANO
        assert up.bill[0].sent_tokens == bound
        row = weir.request(answer.request_id)
        assert row["all_output_tokens"] == bound
        assert row["cost_nano"] <= row["reserved_nano"] <= limit_nano
        # As much as fits was given: one token more would not have.
        assert row["reserved_nano"] + OUTPUT_NANO > limit_nano
        refused = weir.chat(MESSAGE, stream=stream)
        assert (refused.status, refused.error["code"]) == (402, "budget_exceeded")
        assert len(up.seen) == 1
        assert_clean(weir)
