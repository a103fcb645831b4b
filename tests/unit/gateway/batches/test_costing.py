"""What a batch cost: its lines one by one, or what else is told, or what was held."""

from typing import Any

import orjson
import pytest

from budgets.prices import make_price
from budgets.usage import TokenUsage
from gateway.batches.costing import (
    LineCosts,
    cost_as_held,
    cost_as_reported,
    cost_of_nothing,
    counts_in,
    reported_usage,
)
from gateway.batches.lines import BATCHED
from telemetry.event import UsageSource
from tests.unit.gateway.batches.made import CHAT, HALF

PRICE = make_price("tiny", HALF, version="v1")
LINE_NANO, LINE_TOKENS = 99_000, 77


def answer(tokens_in: int = 3, tokens_out: int = 2, **changes: Any) -> bytes:
    usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}
    response = {"status_code": 200, "body": {"usage": usage}}
    return orjson.dumps({"custom_id": "a", "response": response, "error": None, **changes})


def costs(*lines: bytes, **changes: Any) -> LineCosts:
    found = LineCosts(BATCHED[CHAT], PRICE, LINE_NANO, LINE_TOKENS, **changes)
    found.add(lines)
    return found


def test_each_answered_line_costs_its_own_usage() -> None:
    total = costs(answer(3, 2), b"", answer(10, 5)).total()
    assert total.usage == TokenUsage(fresh=13, output=7)
    assert (total.cost.total_nano, total.cost.output_nano) == (13 * 500 + 7_000, 7_000)
    assert (total.tokens, total.done, total.failed) == (20, 2, 0)
    assert total.source is UsageSource.PROVIDER


def test_fractions_of_a_nano_dollar_are_rounded_up_once() -> None:
    price = make_price("tiny", {"fresh": 1, "output": 1}, version="v1")
    found = LineCosts(BATCHED[CHAT], price, LINE_NANO, LINE_TOKENS)
    found.add([answer(1, 0)] * 3)
    assert found.total().cost.total_nano == 1


def test_a_long_line_is_priced_as_a_long_request_and_a_short_one_is_not() -> None:
    price = make_price("tiny", HALF, version="v1", context_tiers={100: {"fresh": 5_000_000}})
    found = LineCosts(BATCHED[CHAT], price, LINE_NANO, LINE_TOKENS)
    found.add([answer(100, 0), answer(101, 0)])
    assert found.total().cost.total_nano == 100 * 500 + 101 * 5_000


@pytest.mark.parametrize(
    "line",
    [
        answer(response={"status_code": 429, "body": {"error": {}}}),
        answer(response=None, error={"code": "batch_expired"}),
        answer(error={"code": "batch_cancelled"}),
    ],
)
def test_a_line_that_was_not_answered_costs_nothing(line: bytes) -> None:
    total = costs(answer(), line).total()
    assert (total.tokens, total.done, total.failed) == (5, 1, 1)
    assert total.source is UsageSource.PROVIDER


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[]",
        answer(response={"status_code": 200, "body": {}}),
        answer(-1, 2),
    ],
)
def test_a_line_that_does_not_tell_its_usage_is_charged_at_the_dearest_lines_bound(
    line: bytes,
) -> None:
    total = costs(answer(), line).total()
    assert total.cost.total_nano == 3 * 500 + 2_000 + LINE_NANO
    assert (total.tokens, total.done) == (5 + LINE_TOKENS, 2)
    assert total.source is UsageSource.ESTIMATED


def test_the_frontier_model_is_priced_line_by_line_as_well() -> None:
    frontier = make_price("big", {"fresh": 10_000_000, "output": 10_000_000}, version="v1")
    assert costs(answer(3, 2), frontier=frontier).total().frontier_nano == 50_000


def test_the_providers_own_sum_stands_in_for_lines_that_cannot_be_read() -> None:
    batch = {"usage": {"input_tokens": 30, "output_tokens": 20, "total_tokens": 50}}
    usage = reported_usage(batch)
    assert usage == TokenUsage(fresh=30, output=20)
    assert usage is not None
    total = cost_as_reported(usage, PRICE, 4, 1)
    assert (total.cost.total_nano, total.tokens, total.done) == (35_000, 50, 4)
    assert total.source is UsageSource.ESTIMATED


@pytest.mark.parametrize(
    "usage",
    [None, {}, {"total_tokens": 0}, {"total_tokens": 5}, {"total_tokens": 5, "input_tokens": -1}],
)
def test_no_report_is_not_a_report_of_nothing(usage: Any) -> None:
    assert reported_usage({"usage": usage}) is None


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"completed": 2, "failed": 1, "total": 3}, (2, 1)),
        ({"completed": True, "failed": 1}, None),
        ({"completed": -1, "failed": 1}, None),
        (None, None),
    ],
)
def test_counts_are_whole_numbers_or_not_told(counts: Any, expected: object) -> None:
    assert counts_in({"request_counts": counts}) == expected


def test_nothing_answered_costs_nothing_and_silence_costs_what_was_held() -> None:
    nothing = cost_of_nothing(3)
    assert (nothing.cost.total_nano, nothing.tokens, nothing.failed) == (0, 0, 3)
    held = cost_as_held(1_000, 70, 3)
    assert (held.cost.total_nano, held.cost.output_nano, held.tokens, held.done) == (
        1_000,
        1_000,
        70,
        3,
    )
    assert held.source is UsageSource.ASSUMED
