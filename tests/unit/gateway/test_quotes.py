"""A quote is never below what the request can cost, and bounds the answer to what there is."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.ledger import Account
from budgets.prices import PriceCard, cost, make_price
from budgets.scopes import Charge, Unit, Window
from budgets.usage import TokenUsage
from gateway.input_size import MEDIA_TOKENS, exact_size, whole_size
from gateway.quotes import MIN_ANSWER_TOKENS, Bid, Quoter
from gateway.room import Room, room_of
from gateway.wire import read_chat_request
from routing.catalog import ModelCard, RejectionCode
from tests.unit.gateway.dialects.requests_made import CHAT, chat_parts

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


def room(left_nano: int | None, held_nano: int = 0) -> Room:
    """What a single budget has left, and holds besides."""
    if left_nano is None:
        return room_of({}, (), {})
    charge = Charge("org:o|total|0", "org:o", Window.TOTAL, left_nano + held_nano, None)
    return room_of({charge.account: Account(held_nano=held_nano)}, (charge,), {})


def quoter(headroom_nano: int | None = None, **fields: Any) -> Quoter:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello there"}], **fields}
    request = read_chat_request(orjson.dumps(body))
    size = whole_size(request.raw, len(request.body["messages"]))
    tier = CHAT.service_tier(request)
    left = room(headroom_nano)
    return Quoter(PRICES, request, left, 1, answer_cap_tokens=400, size=size, service_tier=tier)


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


@pytest.mark.parametrize(
    ("fits_tokens", "unheld_tokens", "may_wait", "answer_tokens"),
    [
        (400, 400, True, 400),  # all of it fits
        (299, 1_000, True, 299),  # held money takes a fair part of it: no reason to wait
        (255, 1_000, True, 400),  # what fits is too short for an answer
        (100, 1_000, False, 100),  # a quarter is better than nothing in the end
        (99, 1_000, False, 400),  # but less than that is not
        (0, 1_000, True, 400),
        (100, 100, True, 100),  # spent money shortens an answer, whatever is left
        (99, 100, True, 100),  # held money does not shorten it further
        (25, 100, False, 25),
        (24, 100, False, 100),
        (16, 40, False, 16),
        (15, 40, False, 40),  # no answer is shorter than that
        (5, 10, True, 400),  # too little even when nothing is held: the refusal names it all
    ],
)
def test_held_money_shortens_an_answer_to_a_fair_part_and_no_further(
    fits_tokens: int, unheld_tokens: int, may_wait: bool, answer_tokens: int
) -> None:
    full = bid_of()
    input_nano = full.ceiling_nano - 400 * OUTPUT_NANO
    held_nano = (unheld_tokens - fits_tokens) * OUTPUT_NANO
    asked = quoter(input_nano + fits_tokens * OUTPUT_NANO)
    asked.room = room(asked.room.left_nano, held_nano)
    asked.may_wait = may_wait
    bid = asked.bid(CARD)
    assert bid is not None
    assert bid.output_tokens == bid.inject_tokens == answer_tokens
    fits = bid.ceiling_nano <= (asked.room.left_nano or 0)
    assert fits == (answer_tokens == min(400, fits_tokens))


def test_while_it_may_wait_a_long_answer_is_not_cut_to_less_than_a_quarter() -> None:
    long = ModelCard("m", "p", "up", "m", 100_000, 8_000, prompt_overhead_tokens=20)
    asked = quoter()
    asked.answer_cap_tokens = 8_000
    full = asked.bid(long)
    assert full is not None
    for fits_tokens, may_wait, answer_tokens in (
        (1_999, True, 8_000),
        (2_000, True, 2_000),
        (256, False, 256),
        (255, False, 8_000),
    ):
        held = quoter()
        held.room = room(
            full.ceiling_nano - (8_000 - fits_tokens) * OUTPUT_NANO, 9_000 * OUTPUT_NANO
        )
        held.answer_cap_tokens, held.may_wait = 8_000, may_wait
        bid = held.bid(long)
        assert bid is not None
        assert bid.output_tokens == answer_tokens


def test_a_measured_input_tightens_the_quote() -> None:
    glance = quoter(max_tokens=50, user="line\nbreaks\n")
    measured = quoter(max_tokens=50, user="line\nbreaks\n")
    measured.size = exact_size(chat_parts(measured.request.body))
    assert measured.input_tokens(CARD) < glance.input_tokens(CARD)
    bids = [one.bid(CARD) for one in (glance, measured)]
    assert bids[1] is not None
    assert bids[0] is not None
    assert bids[1].ceiling_nano < bids[0].ceiling_nano


def test_measured_media_count_by_their_number_and_not_by_their_bytes() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    parts = [{"type": "text", "text": "Look"}, image, image]
    asked = quoter(messages=[{"role": "user", "content": parts}])
    asked.size = exact_size(chat_parts(asked.request.body))
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


def quoter_in(room: Room, **fields: Any) -> Quoter:
    return replace(quoter(**fields), room=room, _bids={})


def with_tokens(nano: int | None, tokens: int) -> Room:
    """What a budget in money and one in tokens have left."""
    limits = ((Unit.USD, nano), (Unit.TOKENS, tokens))
    charges = [
        Charge(f"a/{unit}", "org:o", Window.DAY, limit, 9, unit=unit) for unit, limit in limits
    ]
    return room_of({}, charges, {})


@pytest.mark.parametrize("choices", [1, 3])
def test_where_tokens_are_tight_the_answer_shrinks_to_what_they_bear(choices: int) -> None:
    full = bid_of(n=choices)
    assert full.tokens == quoter(n=choices).input_tokens(CARD) + full.total_output_tokens
    left = full.tokens - 100 * choices - 1
    bid = quoter_in(with_tokens(10**12, left), n=choices).bid(CARD)
    assert bid is not None
    assert bid.output_tokens == bid.inject_tokens == 299
    assert left - choices < bid.tokens <= left


def test_a_budget_in_tokens_that_cannot_bear_a_request_is_a_reason_against_a_model() -> None:
    asked = quoter_in(with_tokens(None, 100), max_tokens=300)
    over = asked(CARD).over
    assert over is not None
    assert (over.code, over.model) == (RejectionCode.OVER_HEADROOM, "m")
    assert over.why.endswith("tokens and 100 are left")
    assert asked.is_tight


def of_model(limit: int, unit: Unit) -> Charge:
    return Charge(f"m/{unit}", "model:m", Window.DAY, limit, 9, unit=unit)


@pytest.mark.parametrize(
    ("unit", "limit", "why"),
    [
        (Unit.USD, 10_000, "nano-USD and 10000 are left"),
        (Unit.TOKENS, 90, "tokens and 90 are left"),
        (Unit.REQUESTS, 0, "no request is left"),
    ],
)
def test_a_models_own_budget_is_a_reason_against_it_alone(unit: Unit, limit: int, why: str) -> None:
    of_models = {"m": (of_model(limit, unit),)}
    room = room_of({}, [], of_models)
    over = quoter_in(room, max_tokens=300)(CARD).over
    assert over is not None
    assert over.code is RejectionCode.MODEL_BUDGET
    assert why in over.why
    other = replace(CARD, name="other")
    assert quoter_in(room, max_tokens=300)(other).over is None


def test_a_models_own_budget_bounds_its_answer() -> None:
    full = bid_of()
    account = {"m/usd": Account(40, 2)}
    room = room_of(account, [], {"m": (of_model(full.ceiling_nano + 42 - 1, Unit.USD),)})
    assert room.left_nano is None
    asked = quoter_in(room)
    bid = asked.bid(CARD)
    assert bid is not None
    assert bid.output_tokens == bid.inject_tokens == 399
    assert asked(CARD).over is None
    other = asked.bid(replace(CARD, name="other"))
    assert other is not None
    assert other.output_tokens == 400


def test_budgets_of_a_model_are_charged_what_that_model_can_take() -> None:
    bid = bid_of(max_tokens=50)
    charges = [of_model(10**9, unit) for unit in (Unit.USD, Unit.TOKENS, Unit.REQUESTS)]
    amounts = [charge.amount for charge in bid.charges(charges)]
    assert amounts == [bid.ceiling_nano, bid.tokens, None]


def test_measuring_is_worth_it_where_a_request_is_a_large_part_of_what_is_left() -> None:
    full = bid_of(max_tokens=50)
    for left, tight in ((full.ceiling_nano * 21, False), (full.ceiling_nano * 19, True)):
        own = room_of({}, (), {"m": (of_model(left, Unit.USD),)})
        for asked in (quoter(left, max_tokens=50), quoter_in(own, max_tokens=50)):
            asked.bid(CARD)
            assert asked.is_tight is tight
    for tokens, tight in ((full.tokens * 21, False), (full.tokens * 19, True)):
        asked = quoter_in(with_tokens(None, tokens), max_tokens=50)
        asked.bid(CARD)
        assert asked.is_tight is tight
    without_limit = quoter(max_tokens=50)
    without_limit.bid(CARD)
    assert not without_limit.is_tight


def test_a_stream_in_a_tight_budget_of_tokens_begins_with_a_step_of_them() -> None:
    full = bid_of(stream=True)
    asked = quoter_in(with_tokens(None, full.tokens + 10), stream=True)
    asked.step_tokens = 64
    bid = asked.bid(CARD)
    assert bid is not None
    assert (bid.held_tokens, bid.total_output_tokens) == (64, full.total_output_tokens)
    assert bid.tokens == bid.input_tokens + 64
    assert bid.price_of(100)[1] == bid.input_tokens + 100


def test_a_request_that_may_write_to_a_cache_for_an_hour_is_held_at_that_rate() -> None:
    pico = {"fresh": 1_000_000, "output": 2_000_000, "cache_write": 1_250_000}
    prices = PriceCard([make_price("m", pico, version="v1")])
    costs = {}
    for ttl in ("5m", "1h"):
        content = [{"type": "text", "text": "x", "cache_control": {"ttl": ttl}}]
        asked = quoter(messages=[{"role": "user", "content": content}], max_tokens=16)
        asked.prices = prices
        bid = asked.bid(CARD)
        assert bid is not None
        costs[ttl] = bid.ceiling_nano - 16 * 2_000
    assert costs["1h"] * 10 == costs["5m"] * 16


def test_what_is_free_holds_nothing_whatever_it_asks_for() -> None:
    asked = quoter(0, max_tokens=5_000)
    asked.is_free = True
    bid = asked.bid(CARD)
    assert bid is not None
    assert (bid.ceiling_nano, bid.tokens, bid.inject_tokens) == (0, 0, None)
