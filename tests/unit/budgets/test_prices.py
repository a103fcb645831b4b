"""Costs are exact, ceilings are never too low, and affordability is never one token off."""

import math
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.prices import (
    Price,
    PriceCard,
    PriceError,
    affordable_output_tokens,
    ceiling_nano,
    cost,
    make_price,
)
from budgets.usage import INPUT_CLASSES, OUTPUT_CLASSES, TOKEN_CLASSES, UNITS, TokenUsage

RATES = st.integers(0, 10**9)
PLAIN = st.fixed_dictionaries(
    {"fresh": RATES, "output": RATES},
    optional={name: RATES for name in TOKEN_CLASSES if name not in ("fresh", "output")},
)
CHANGED = st.dictionaries(st.sampled_from(TOKEN_CLASSES), RATES, max_size=4)
TIERS = st.dictionaries(st.integers(1, 500), CHANGED, max_size=3)
PRICES = st.builds(
    lambda pico, tiers: make_price("m", pico, version="v1", context_tiers=tiers), PLAIN, TIERS
)
USAGES = st.builds(TokenUsage, *[st.integers(0, 300)] * len(TOKEN_CLASSES))


def rates_in_force(price: Price, input_tokens: int) -> dict[str, int]:
    """The rates above the highest threshold that the input passes, found the slow way."""
    passed = [tier for tier in price.tiers if tier.above_input_tokens < input_tokens]
    chosen = passed[-1] if passed else price.tiers[0]
    rates = dict(chosen.pico)
    if "cache_write" in rates:
        rates.setdefault("cache_write_1h", math.ceil(Decimal(rates["cache_write"]) * 8 / 5))
    for name in INPUT_CLASSES:
        rates.setdefault(name, rates["fresh"])
    for name in OUTPUT_CLASSES:
        rates.setdefault(name, rates["output"])
    return rates


@given(PRICES, USAGES)
def test_a_cost_is_what_decimal_arithmetic_says(price: Price, usage: TokenUsage) -> None:
    rates = rates_in_force(price, usage.input_tokens)
    with localcontext() as context:
        context.prec = 80
        dollars = sum(
            (Decimal(rates[name]).scaleb(-12) * getattr(usage, name) for name in TOKEN_CLASSES),
            Decimal(0),
        )
        expected = int(dollars.scaleb(9).to_integral_value(rounding=ROUND_CEILING))
        found = cost(price, usage)
        assert found.total_nano == expected
        assert 0 <= Decimal(found.total_nano).scaleb(-9) - dollars < Decimal("1e-9")
    assert found.price_version == "v1"


UNIT_RATES = st.dictionaries(st.sampled_from(UNITS), st.integers(0, 10**12), min_size=1)
PIECES = st.fixed_dictionaries({name: st.integers(0, 10**6) for name in UNITS})


@given(UNIT_RATES, PIECES, st.none() | PLAIN, USAGES)
def test_pieces_cost_what_decimal_arithmetic_says_and_go_before_tokens(
    rates: dict[str, int], pieces: dict[str, int], pico: dict[str, int] | None, usage: TokenUsage
) -> None:
    price = make_price("m", pico or {}, version="v1", units=rates)
    assert price.by_tokens is (pico is not None)
    both = usage.plus(TokenUsage(**pieces))
    found = cost(price, both)
    if not any(pieces[unit] for unit in rates):
        assert found == cost(replace(price, units={}), usage)
        return
    dollars = sum((Decimal(rates[unit]).scaleb(-12) * pieces[unit] for unit in rates), Decimal(0))
    assert 0 <= Decimal(found.total_nano).scaleb(-9) - dollars < Decimal("1e-9")
    assert found.input_nano + found.output_nano == found.total_nano
    assert found.input_nano >= 0 and found.output_nano >= 0


@given(UNIT_RATES, PIECES, PIECES)
def test_more_pieces_never_cost_less(
    rates: dict[str, int], pieces: dict[str, int], more: dict[str, int]
) -> None:
    price = make_price("m", {}, version="v1", units=rates)
    some = TokenUsage(**pieces)
    assert cost(price, some).total_nano <= cost(price, some.plus(TokenUsage(**more))).total_nano


@pytest.mark.parametrize("units", [{"searches": 1}, {"images": -1}, {"images": 1.5}])
def test_a_unit_price_that_cannot_be_right_is_refused(units: Any) -> None:
    with pytest.raises(PriceError):
        make_price("m", {}, version="v1", units=units)


@given(PRICES, USAGES)
def test_input_and_output_share_the_total_between_them(price: Price, usage: TokenUsage) -> None:
    found = cost(price, usage)
    assert found.input_nano + found.output_nano == found.total_nano
    assert found.input_nano >= 0 and found.output_nano >= 0


@given(PRICES, USAGES, st.integers(0, 400), st.integers(0, 400))
def test_no_usage_within_its_bounds_costs_more_than_the_ceiling(
    price: Price, usage: TokenUsage, more_input: int, more_output: int
) -> None:
    asked = price.for_an_hour() if usage.cache_write_1h else price
    ceiling = ceiling_nano(
        asked, usage.input_tokens + more_input, usage.output_tokens + more_output
    )
    assert cost(price, usage).total_nano <= ceiling


@given(PRICES, st.integers(0, 1_000), st.integers(0, 10**9))
def test_the_affordable_output_is_the_most_whose_ceiling_fits(
    price: Price, input_tokens: int, budget_nano: int
) -> None:
    tokens = affordable_output_tokens(price, input_tokens, budget_nano)
    if tokens < 0:
        assert ceiling_nano(price, input_tokens, 0) > budget_nano
        return
    assert ceiling_nano(price, input_tokens, tokens) <= budget_nano
    if tokens < 1 << 53:
        assert ceiling_nano(price, input_tokens, tokens + 1) > budget_nano
    else:
        assert ceiling_nano(price, input_tokens, 10**9) <= budget_nano


def test_fractions_of_a_nano_dollar_buy_tokens_too() -> None:
    price = make_price("m", {"fresh": 400, "output": 100}, version="v1")
    assert affordable_output_tokens(price, 1, 1) == 6


def test_the_whole_request_pays_the_rate_of_its_context_tier() -> None:
    price = make_price(
        "m", {"fresh": 1_000, "output": 5_000}, version="v1",
        context_tiers={200: {"fresh": 2_000}},
    )  # fmt: skip
    assert cost(price, TokenUsage(fresh=200)).total_nano == 200
    assert cost(price, TokenUsage(fresh=201)).total_nano == 402
    assert cost(price, TokenUsage(fresh=150, cached=51, output=1)).total_nano == 407


def test_a_class_without_a_rate_costs_what_its_plain_class_costs() -> None:
    price = make_price("m", {"fresh": 1_000, "output": 5_000, "cached": 100}, version="v1")
    usage = TokenUsage(cached=10, cache_write=1, audio_input=1, reasoning=1, audio_output=1)
    assert cost(price, usage).total_nano == 1 + 1 + 1 + 5 + 5
    assert cost(price, TokenUsage(cache_write_1h=10)).total_nano == 10


def test_an_hour_s_write_costs_its_rate_or_eight_fifths_of_a_plain_write() -> None:
    pico = {"fresh": 1_000, "output": 5_000, "cache_write": 1_250}
    derived = make_price("m", pico, version="v1")
    assert cost(derived, TokenUsage(cache_write_1h=100)).total_nano == 200
    given_one = make_price("m", {**pico, "cache_write_1h": 3_000}, version="v1")
    assert cost(given_one, TokenUsage(cache_write_1h=100)).total_nano == 300


def test_a_ceiling_covers_an_hour_s_write_where_the_request_may_make_one() -> None:
    pico = {"fresh": 1_000, "output": 5_000, "cache_write": 1_250}
    price = make_price("m", pico, version="v1")
    assert price.keeps_dearer
    assert ceiling_nano(price, 100, 0) == 125
    assert ceiling_nano(price.for_an_hour(), 100, 0) == 200
    plain = make_price("m", {"fresh": 1_000, "output": 5_000}, version="v1")
    assert not plain.keeps_dearer


@pytest.mark.parametrize(
    ("pico", "tiers", "reason"),
    [
        ({"fresh": 1}, {}, "no price for output"),
        ({"output": 1}, {}, "no price for fresh"),
        ({"fresh": 1, "output": 1, "magic": 1}, {}, "unknown token class"),
        ({"fresh": -1, "output": 1}, {}, "zero or more"),
        ({"fresh": True, "output": 1}, {}, "zero or more"),
        ({"fresh": 0.5, "output": 1}, {}, "zero or more"),
        ({"fresh": 1, "output": 1}, {100: {"output": -1}}, "zero or more"),
        ({"fresh": 1, "output": 1}, {0: {"output": 2}}, "above 0"),
        ({"fresh": 1, "output": 1}, {-5: {"output": 2}}, "above 0"),
    ],
)
def test_a_price_that_cannot_be_used_names_model_and_reason(
    pico: dict[str, int], tiers: dict[int, dict[str, int]], reason: str
) -> None:
    with pytest.raises(PriceError, match=f"gpt-x: .*{reason}"):
        make_price("gpt-x", pico, version="v1", context_tiers=tiers)


def dated(model: str, valid_from_s: int, service_tier: str = "default") -> Price:
    return make_price(
        model,
        {"fresh": 1, "output": 1},
        version=f"{service_tier}-{valid_from_s}",
        valid_from_s=valid_from_s,
        service_tier=service_tier,
    )


@given(st.lists(st.integers(0, 50), unique=True, min_size=1), st.integers(-1, 60))
def test_the_price_in_force_is_the_newest_that_has_begun(starts: list[int], now_s: int) -> None:
    card = PriceCard(dated("m", start) for start in starts)
    begun = [start for start in starts if start <= now_s]
    found = card.at("m", now_s)
    assert (None if found is None else found.valid_from_s) == (max(begun) if begun else None)


def test_a_service_tier_has_its_own_price_or_the_default_one() -> None:
    card = PriceCard([dated("m", 0), dated("m", 10), dated("m", 0, "priority"), dated("n", 0)])
    assert [card.at("m", 20, tier).version for tier in ("priority", "flex")] == [  # type: ignore[union-attr]
        "priority-0",
        "default-10",
    ]
    assert card.at("unknown", 20) is None
    assert card.at("unknown", 20, "priority") is None
