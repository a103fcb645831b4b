"""A quote is never below what the request can cost, and bounds the answer to what there is."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.prices import PriceCard, cost, make_price
from budgets.usage import TokenUsage
from gateway.input_size import MEDIA_TOKENS, whole_size
from gateway.quotes import MIN_ANSWER_TOKENS, Bid, Quoter
from gateway.wire import read_chat_request
from routing.catalog import ModelCard

CARD = ModelCard("m", "p", "up", "m", 10_000, 1_000, prompt_overhead_tokens=20)
PICO = {"fresh": 1_000_000, "output": 2_000_000, "cached": 100_000, "reasoning": 3_000_000}
PRICES = PriceCard(
    [
        make_price("m", PICO, version="v1"),
        make_price(
            "m", {name: 2 * rate for name, rate in PICO.items()}, version="v1", service_tier="flex"
        ),
    ]
)
OUTPUT_NANO = 3_000  # the dearest class of the output


def quoter(headroom_nano: int | None = None, **fields: Any) -> Quoter:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello there"}], **fields}
    request = read_chat_request(orjson.dumps(body))
    size = whole_size(request.raw, request.body)
    return Quoter(PRICES, request, headroom_nano, now_s=1, answer_cap_tokens=400, size=size)


def bid_of(headroom_nano: int | None = None, **fields: Any) -> Bid:
    bid = quoter(headroom_nano, **fields).bid(CARD)
    assert bid is not None
    return bid


@pytest.mark.parametrize(
    ("fields", "headroom_nano", "output", "inject"),
    [
        ({"max_tokens": 50}, None, 50, None),
        ({"max_completion_tokens": 50}, 10**9, 50, None),
        ({"max_tokens": 5_000}, None, 1_000, 1_000),
        ({"max_tokens": 70, "max_completion_tokens": 60}, None, 60, None),
        ({}, None, 400, 400),
        ({}, 10**9, 400, 400),
    ],
)
def test_the_answer_is_bounded_by_client_model_and_configuration(
    fields: dict[str, int], headroom_nano: int | None, output: int, inject: int | None
) -> None:
    bid = bid_of(headroom_nano, **fields)
    assert (bid.output_tokens, bid.inject_tokens) == (output, inject)


@pytest.mark.parametrize("choices", [1, 3])
def test_where_money_is_tight_the_answer_shrinks_to_what_it_bears(choices: int) -> None:
    full = bid_of(n=choices)
    fits = full.ceiling_nano - 100 * OUTPUT_NANO * choices
    bid = bid_of(fits, n=choices)
    assert bid.output_tokens == bid.inject_tokens == 300
    assert bid.total_output_tokens == 300 * choices
    assert fits - OUTPUT_NANO * choices < bid.ceiling_nano <= fits


def test_an_answer_too_short_to_be_one_is_not_offered() -> None:
    """Then the full ceiling is asked for, and the refusal names it."""
    smallest = bid_of(max_tokens=MIN_ANSWER_TOKENS).ceiling_nano
    assert bid_of(smallest + 10_000).output_tokens >= MIN_ANSWER_TOKENS
    assert bid_of(10_000).ceiling_nano == bid_of().ceiling_nano
    assert bid_of(0).output_tokens == 400


def test_a_client_that_set_a_limit_is_never_given_less() -> None:
    assert bid_of(1, max_tokens=300).output_tokens == 300


def test_another_service_tier_has_its_own_price() -> None:
    assert bid_of(max_tokens=50, service_tier="flex").price.service_tier == "flex"
    assert bid_of(max_tokens=50, service_tier="none").price.service_tier == "default"
    assert bid_of(max_tokens=50, service_tier=7).price.service_tier == "default"


def test_a_model_without_a_price_has_no_ceiling() -> None:
    other = ModelCard("x", "p", "up", "unpriced", 10_000, 1_000)
    asked = quoter()
    assert asked.bid(other) is None
    assert asked(other).ceiling_nano is None


def test_a_measured_input_tightens_the_quote() -> None:
    glance = quoter(max_tokens=50, user="line\nbreaks\n")
    measured = glance.measured()
    assert measured.input_tokens(CARD) < glance.input_tokens(CARD)
    bids = [one.bid(CARD) for one in (glance, measured)]
    assert bids[1] is not None
    assert bids[0] is not None
    assert bids[1].ceiling_nano < bids[0].ceiling_nano


def test_measured_media_count_by_their_number_and_not_by_their_bytes() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    parts = [{"type": "text", "text": "Look"}, image, image]
    asked = quoter(messages=[{"role": "user", "content": parts}]).measured()
    assert 2 * MEDIA_TOKENS < asked.input_tokens(CARD) < 2 * MEDIA_TOKENS + 400


@given(data=st.data(), max_tokens=st.integers(1, 3_000), choices=st.integers(1, 4))
def test_no_usage_within_the_bounds_costs_more_than_the_ceiling(
    data: st.DataObject, max_tokens: int, choices: int
) -> None:
    asked = quoter(max_tokens=max_tokens, n=choices)
    bid = asked.bid(CARD)
    assert bid is not None
    prompt = data.draw(st.integers(0, asked.input_tokens(CARD)))
    cached = data.draw(st.integers(0, prompt))
    output = data.draw(st.integers(0, bid.total_output_tokens))
    reasoning = data.draw(st.integers(0, output))
    usage = TokenUsage(
        fresh=prompt - cached, cached=cached, output=output - reasoning, reasoning=reasoning
    )
    assert cost(bid.price, usage).total_nano <= bid.ceiling_nano
    assert asked(CARD).ceiling_nano == bid.ceiling_nano
