"""Many requests at once for money that pays for ten: ten are served, the rest get 402, none over.

The money set aside is more than an answer costs, so at first fewer than ten fit. The others wait
in line for what comes back, and try again when they are told to.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from budgets.money import format_usd, nano_from_usd
from tests.journeys.gateway_process import (
    Answer,
    assert_clean,
    budget,
    gateway,
    sse_data,
    upstream_config,
)
from tests.journeys.prompts import MESSAGE
from tests.journeys.racing import persistent, race
from tests.journeys.upstream import PROMPT_TOKENS, Play, Upstream

PAID = 10
MAX_TOKENS = 20
INPUT_NANO, OUTPUT_NANO = 1_000, 2_000
COST_NANO = INPUT_NANO * PROMPT_TOKENS + OUTPUT_NANO * MAX_TOKENS


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


def assert_refused(answer: Answer, scope: str, limit_nano: int) -> None:
    """A 402 once all is spent: which budget, how much of it, and when it starts again."""
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
    assert (limit, spent, held) == (limit_nano, PAID * COST_NANO, 0)
    assert left == limit - spent < needed
    resets = datetime.fromisoformat(error["resets_at"])
    assert (resets.hour, resets.minute, resets.utcoffset()) == (0, 0, timedelta(0))


SCOPES = {
    "org": ("org", "org:default", {}),
    "key": ("key:*", "key:demo", {}),
    "workflow": ("workflow:*", "workflow:demo/triage", {"x-weir-workflow": "triage"}),
    "run": ("run:*", "run:demo/loop-1", {"x-weir-run": "loop-1"}),
}


@pytest.mark.parametrize("bounded", [True, False], ids=["with max_tokens", "without max_tokens"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("scope", "asked"), [("org", 50), ("key", 200), ("workflow", 50), ("run", 50)]
)
def test_exactly_those_that_the_budget_can_pay_are_served(
    tmp_path: Path,
    up: Upstream,
    ceiling_of: Callable[..., int],
    scope: str,
    asked: int,
    stream: bool,
    bounded: bool,
) -> None:
    configured, refused_by, headers = SCOPES[scope]
    limit_nano = (PAID - 1) * COST_NANO + ceiling_of(stream=stream)
    config = upstream_config(up.base_url, budget(configured, format_usd(limit_nano), "day"))
    up.play = Play(tokens=MAX_TOKENS, first_delay_s=0.02)
    limits = {"max_tokens": MAX_TOKENS} if bounded else {}
    with gateway(tmp_path, config) as weir:
        answers = race(asked, lambda _: persistent(weir, headers=headers, stream=stream, **limits))
        statuses = [answer.status for answer in answers]
        assert (statuses.count(200), statuses.count(402)) == (PAID, asked - PAID)
        for answer in answers:
            if answer.status == 402:
                assert_refused(answer, refused_by, limit_nano)
            elif stream:
                assert sse_data(answer.body)[-1] == "[DONE]"
        assert [line.sent_tokens for line in up.bill] == [MAX_TOKENS] * PAID
        assert len(up.seen) == PAID
        [account] = weir.admin("budgets")["budgets"]
        assert (account["scope"], account["limit_nano"]) == (refused_by, limit_nano)
        assert account["posted_nano"] == PAID * COST_NANO <= limit_nano
        assert (account["held_nano"], account["overrun_nano"]) == (0, 0)
        report = assert_clean(weir)
        assert (report["entries"], report["ledger_nano"]) == (PAID, PAID * COST_NANO)


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
