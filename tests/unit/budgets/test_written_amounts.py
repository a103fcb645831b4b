"""Whatever is written for a limit or a price is kept exactly, or refused with the field's name."""

import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from budgets.config import BudgetSection, PriceSection
from budgets.money import NANO_PER_USD
from gateway.budget_registry import BudgetFault, read_budget_json
from gateway.config import load_settings
from gateway.config_errors import ConfigError
from tests.unit.gateway.gateways import CONFIG

MOST_USD = 9_000_000
MOST_USD_A_MILLION = 1_000_000
# Numbers as people and programs write them, and what only looks like one.
WRITTEN = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.decimals(min_value=0, max_value=MOST_USD, allow_nan=False).map(str),
    st.from_regex(r"-?[0-9]{1,12}(\.[0-9]{0,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.text(max_size=8),
)
EXAMPLES = ("NaN", "sNaN", "Infinity", "-Infinity", "-1", "1e400", "0.1", "0.30000000000000004", "")


def exact(text: str, most: int) -> Fraction | None:
    """What the text is worth in dollars; None where it is no amount that can be meant."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    if not amount.is_finite() or amount < 0 or amount > most:
        return None
    return Fraction(amount)


def rounded_up(amount: Fraction) -> int:
    return -(-amount.numerator // amount.denominator)


def with_examples(test: Callable[[str], None]) -> Callable[[], None]:
    for text in EXAMPLES:
        test = example(text)(test)
    return given(WRITTEN)(test)


@with_examples
def test_a_limit_is_exactly_what_is_written_or_refused_by_name(text: str) -> None:
    worth = exact(text, MOST_USD)
    values = {"scope": "org", "window": "day", "limit_usd": text}
    if worth is not None:
        section = BudgetSection.model_validate(values)
        assert section.to_budget().limit_nano == rounded_up(worth * NANO_PER_USD)
        return
    with pytest.raises(ValidationError) as caught:
        BudgetSection.model_validate(values)
    assert [error["loc"] for error in caught.value.errors()] == [("limit_usd",)]


@with_examples
def test_a_limit_in_a_json_body_is_exactly_what_is_written_or_refused_by_name(text: str) -> None:
    """As a JSON string, and as a JSON number where it is one: never by way of a float."""
    worth = exact(text, MOST_USD)
    for written in (json.dumps(text), text):
        body = f'{{"scope": "org", "window": "day", "limit_usd": {written}}}'
        if written is text and not is_json_number(text):
            continue
        try:
            limit_nano = read_budget_json(body.encode("utf-8", "surrogatepass")).limit_usd
        except BudgetFault as fault:
            assert worth is None and fault.key in ("limit_usd", "")
        else:
            assert worth is not None and limit_nano == rounded_up(worth * NANO_PER_USD)


def is_json_number(text: str) -> bool:
    try:
        return type(json.loads(text)) in (int, float)
    except ValueError:
        return False


@with_examples
def test_a_price_is_exactly_what_is_written_or_refused_by_name(text: str) -> None:
    worth = exact(text, MOST_USD_A_MILLION)
    values = {"input": text, "output": "0"}
    if worth is not None:
        assert PriceSection.model_validate(values).pico()["fresh"] == rounded_up(worth * 10**6)
        return
    with pytest.raises(ValidationError) as caught:
        PriceSection.model_validate(values)
    assert [error["loc"] for error in caught.value.errors()] == [("input",)]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", '"1e400"', "1e400", '"NaN"', "true"])
@pytest.mark.parametrize(
    ("line", "key"),
    [('limit_usd = "5"', "budgets[0].limit_usd"), ('input = "1"', "models.tiny.price.input")],
)
def test_a_gateway_does_not_start_with_it_and_names_the_field(
    tmp_path: Path, line: str, key: str, text: str
) -> None:
    (tmp_path / "config.toml").write_text(
        CONFIG.replace(line, f"{line.partition(' ')[0]} = {text}")
    )
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / "config.toml", {})
    assert [fault for fault in caught.value.faults if f"{key}: " in str(fault)]


def test_a_tenth_and_two_tenths_are_three_tenths(tmp_path: Path) -> None:
    """A number without quotes is no float on its way either."""
    config = CONFIG.replace('limit_usd = "5"', "limit_usd = 0.3")
    (tmp_path / "config.toml").write_text(config)
    [budget] = load_settings(tmp_path / "config.toml", {}).budgets.budgets
    assert budget.limit_nano == 100_000_000 + 200_000_000
