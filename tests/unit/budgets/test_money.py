"""Money is exact from the text a person writes to the nano-dollar that is posted."""

from decimal import Decimal, InvalidOperation, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.money import (
    MAX_LIMIT_NANO,
    NANO_PER_USD,
    MoneyError,
    format_usd,
    nano_from_pico,
    nano_from_usd,
    parse_usd,
    pico_rate_from_usd_per_million,
)

DOLLARS = st.decimals(min_value=0, max_value=9_000_000, allow_nan=False, allow_infinity=False)


def ceiling(amount: Fraction) -> int:
    return -(-amount.numerator // amount.denominator)


@given(st.integers(0, 10**30))
def test_rounding_goes_up_and_by_less_than_one_nano(pico: int) -> None:
    nano = nano_from_pico(pico)
    assert 0 <= nano * 1_000 - pico < 1_000


@given(DOLLARS)
def test_dollars_become_nano_dollars_rounded_up_whatever_their_digits(amount: Decimal) -> None:
    expected = ceiling(Fraction(amount) * NANO_PER_USD)
    assert nano_from_usd(amount) == nano_from_usd(str(amount)) == expected


@given(st.integers(0, 10**9), st.integers(1, 60))
def test_digits_far_behind_the_point_still_round_up(nano: int, place: int) -> None:
    text = f"{nano // NANO_PER_USD}.{nano % NANO_PER_USD:09d}{'0' * place}1"
    assert nano_from_usd(text) == nano + 1


@given(st.decimals(min_value=0, max_value=1_000_000, allow_nan=False, allow_infinity=False))
def test_a_price_for_a_million_is_a_rate_for_a_token(price: Decimal) -> None:
    assert pico_rate_from_usd_per_million(price) == ceiling(Fraction(price) * 1_000_000)


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("12.50", 12_500_000_000),
        ("0", 0),
        ("-0", 0),
        ("1e-9", 1),
        ("1e-10", 1),
        ("1e-999999", 1),
        ("9000000", MAX_LIMIT_NANO),
        (7, 7 * NANO_PER_USD),
    ],
)
def test_amounts_people_write(text: str | int, nano: int) -> None:
    assert nano_from_usd(text) == nano


@pytest.mark.parametrize(
    "bad",
    [
        "NaN", "sNaN", "Inf", "-Inf", "-1", "-1e-30", "", " ", "ten", "$5", "0x10", "1e400",
        "9000000.000000001", "1e999999999999999999999", "\ud800", 0.1, 1e3, float("nan"), True,
        None, b"5", [], Decimal("NaN"), Decimal("-0.01"), 9_000_001,
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused_with_a_reason(bad: object) -> None:
    with pytest.raises(MoneyError, match="expected"):
        nano_from_usd(bad)  # type: ignore[arg-type]
    with pytest.raises(MoneyError, match="expected"):
        pico_rate_from_usd_per_million(bad if bad != 9_000_001 else -1)  # type: ignore[arg-type]


@given(st.one_of(st.text(max_size=30), st.floats(), st.integers(), st.decimals()))
def test_anything_is_an_amount_or_a_money_error(value: object) -> None:
    try:
        amount = parse_usd(value)  # type: ignore[arg-type]
    except MoneyError:
        return
    assert amount.is_finite() and amount >= 0


@given(DOLLARS)
def test_a_callers_decimal_context_changes_nothing(amount: Decimal) -> None:
    expected = nano_from_usd(amount)
    with localcontext() as context:
        context.prec = 3
        context.traps[InvalidOperation] = False
        assert nano_from_usd(amount) == expected


@given(st.integers(-MAX_LIMIT_NANO, MAX_LIMIT_NANO))
def test_what_is_shown_reads_back_as_the_same_amount(nano: int) -> None:
    assert Fraction(format_usd(nano)) * NANO_PER_USD == nano


def test_a_million_small_charges_add_up_exactly() -> None:
    one = nano_from_usd("0.00002055")
    assert sum([one] * 1_000_000) == nano_from_usd("20.55")
