"""A provider that bills the most a request can cost: still within what was held for it.

The provider takes every byte of the prompt for a token, each of them written to its cache, and as
many output tokens as it was allowed, each of them spent on reasoning: the dearest of all classes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from budgets.money import format_usd, nano_from_usd
from tests.journeys.gateway_process import (
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    upstream_config,
)
from tests.journeys.prompts import MESSAGE
from tests.journeys.upstream import Play, Seen, Upstream, event, upstream

OVERHEAD_TOKENS = 8
CACHE_WRITE_NANO, REASONING_NANO = 3_000, 5_000
MODEL_MAX, ANSWER_CAP = 4_096, 300
PRICE = 'input = "1", cached = "0.1", cache_write = "3", output = "2", reasoning = "5"'


def dearest(seen: Seen) -> Play:
    """The answer with the dearest usage report that the request allows."""
    body = seen.body
    prompt = sum(len(message["content"].encode()) for message in body["messages"])
    prompt += OVERHEAD_TOKENS * len(body["messages"])
    choices = max(body.get("n", 1), body.get("best_of", 1))
    output = choices * int(body["max_tokens"])
    report = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "prompt_tokens_details": {"cache_write_tokens": prompt},
        "completion_tokens_details": {"reasoning_tokens": output},
    }
    if body.get("stream"):
        return Play(
            pieces=(event({"content": "!"}), event(None, usage=report), b"data: [DONE]\n\n")
        )
    message = {"role": "assistant", "content": "!"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {"id": "x", "object": "chat.completion", "model": "m", "created": 1}
    return Play(body=json.dumps({**whole, "choices": [choice], "usage": report}).encode())


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as server:
        server.choose = dearest
        yield server


@pytest.fixture(scope="module")
def weir(tmp_path_factory: pytest.TempPathFactory, up: Upstream) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("weir")
    with gateway(folder, config(up, budget("key:*", "100"))) as running:
        yield running
        assert_clean(running)


def config(up: Upstream, budgets: str) -> str:
    text = upstream_config(up.base_url, budgets, f"answer_cap_tokens = {ANSWER_CAP}")
    text = text.replace('input = "1", output = "2"', PRICE)
    return text.replace(
        'upstream_model = "up', 'capabilities = ["reasoning"]\nupstream_model = "up'
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "fields",
    [{}, {"n": 3}, {"best_of": 4}, {"n": 2, "best_of": 5}, {"max_tokens": 50}],
    ids=["plain", "n", "best_of", "n and best_of", "max_tokens"],
)
def test_the_dearest_answer_that_is_allowed_costs_no_more_than_was_held(
    weir: GatewayProcess, up: Upstream, fields: dict[str, Any], stream: bool
) -> None:
    answer = weir.chat(MESSAGE, stream=stream, **fields)
    assert answer.status == 200, answer.body
    row = weir.ended(answer.request_id)
    choices = max(fields.get("n", 1), fields.get("best_of", 1))
    bound = fields.get("max_tokens", ANSWER_CAP)
    assert up.seen[-1].body["max_tokens"] == bound
    input_nano = CACHE_WRITE_NANO * (len(MESSAGE.encode()) + OVERHEAD_TOKENS)
    assert row["cost_nano"] == input_nano + REASONING_NANO * bound * choices
    assert row["cost_nano"] <= row["reserved_nano"]
    assert row["overrun_nano"] == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_without_max_tokens_the_answer_is_bounded_to_what_the_budget_bears_at_its_dearest(
    tmp_path: Path, up: Upstream, stream: bool
) -> None:
    """Each answer is as long as the rest of the budget bears, until that is no answer any more."""
    limit_nano = 3_000_000
    with gateway(tmp_path, config(up, budget("key:*", format_usd(limit_nano)))) as weir:
        spent_nano, before = 0, len(up.seen)
        while (answer := weir.chat(MESSAGE, stream=stream)).status == 200:
            row = weir.ended(answer.request_id)
            assert spent_nano + row["reserved_nano"] <= limit_nano
            assert (row["overrun_nano"], row["cost_nano"] <= row["reserved_nano"]) == (0, True)
            bound = up.seen[-1].body["max_tokens"]
            assert row["all_output_tokens"] == bound >= 16
            if bound < ANSWER_CAP:  # as much as fits was given: one token more would not have
                assert spent_nano + row["reserved_nano"] + REASONING_NANO > limit_nano
            spent_nano += row["cost_nano"]
        sent = len(up.seen)
        assert (answer.status, answer.error["code"]) == (402, "budget_exceeded")
        assert nano_from_usd(answer.error["spent_usd"]) == spent_nano <= limit_nano
        assert weir.chat(MESSAGE, stream=stream).status == 402
        assert len(up.seen) == sent >= before + 2
        assert assert_clean(weir)["ledger_nano"] == spent_nano
