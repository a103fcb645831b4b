"""Each model's price: written, named, found on the card, free, or a fault."""

from pathlib import Path

import pytest

from budgets.price_card import card_names, read_card
from budgets.prices import PriceCard, cost
from budgets.usage import TokenUsage
from gateway.config import load_settings
from gateway.config_errors import ConfigError
from gateway.config_prices import FREE_VERSION

FRAME = """\
[providers.here]
kind = "scripted"
[tiers.small]
models = ["tiny"]
[policies.default]
tier = "small"
[models.tiny]
provider = "here"
context_tokens = 4096
max_output_tokens = 1024
"""
DECEMBER_S = 1_796_083_200
DATED = '\n[[models.tiny.prices]]\nvalid_from = "2026-12-01"\n'
MILLION = TokenUsage(fresh=1_000_000)


def prices_of(folder: Path, text: str) -> PriceCard:
    path = folder / "config.toml"
    path.write_text(FRAME + text)
    return load_settings(path, {}).prices


def dollars(card: PriceCard, now_s: int = 0, tier: str = "default") -> float:
    price = card.at("tiny", now_s, tier)
    assert price is not None
    return cost(price, MILLION).total_nano / 1e9


def fault_of(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        prices_of(folder, text)
    (fault,) = caught.value.faults
    return str(fault)


def test_a_written_price_is_used(tmp_path: Path) -> None:
    assert dollars(prices_of(tmp_path, 'price = { input = "3", output = "4" }')) == 3.0


def test_a_named_price_comes_from_the_card_with_its_service_tiers(tmp_path: Path) -> None:
    card = prices_of(tmp_path, 'price_from = "gpt-5"')
    assert (dollars(card), dollars(card, tier="flex"), dollars(card, tier="priority")) == (
        1.25,
        0.625,
        2.5,
    )
    assert card.at("gpt-5", 0) is None


def test_without_a_price_the_card_is_asked_for_the_upstream_model(tmp_path: Path) -> None:
    assert dollars(prices_of(tmp_path, 'upstream_model = "gpt-5-mini"')) == 0.25


def test_a_model_without_any_price_is_a_fault_that_names_it(tmp_path: Path) -> None:
    fault = fault_of(tmp_path, 'upstream_model = "gpt-5-minni"')
    assert "config.toml:7: models.tiny: has no price: 'gpt-5-minni' is not on the price" in fault
    assert 'did you mean "gpt-5-mini"?' in fault
    assert "`free = true`" in fault


def test_an_unknown_card_name_is_a_fault_at_its_line(tmp_path: Path) -> None:
    fault = fault_of(tmp_path, 'price_from = "gtp-5"')
    assert "config.toml:11: models.tiny.price_from: 'gtp-5' is not on the price card" in fault
    assert 'did you mean "gpt-5"?' in fault


def test_free_has_to_be_said(tmp_path: Path) -> None:
    zero = 'price = { input = "0", output = 0 }'
    assert "models.tiny.price: every rate is zero; set `free = true`" in fault_of(tmp_path, zero)
    assert dollars(prices_of(tmp_path, zero + "\nfree = true")) == 0
    free = prices_of(tmp_path, "free = true").at("tiny", 0)
    assert free is not None and free.version == FREE_VERSION
    priced = 'price = { input = "1", output = "0" }\nfree = true'
    assert "but a rate is above zero" in fault_of(tmp_path, priced)


@pytest.mark.parametrize("key", ["price_from", "upstream_model"])
def test_a_zero_on_the_card_is_not_taken_for_free(tmp_path: Path, key: str) -> None:
    zero = next(name for name, model in read_card(card_names()).items() if model.is_zero)
    fault = fault_of(tmp_path, f'{key} = "{zero}"')
    assert "zero" in fault and "`free = true`" in fault
    assert dollars(prices_of(tmp_path, f'price_from = "{zero}"\nfree = true')) == 0


def test_a_price_takes_over_on_its_day(tmp_path: Path) -> None:
    text = 'price = { input = "3", output = "4" }' + DATED
    card = prices_of(tmp_path, text + 'price = { input = "2", output = "4" }')
    assert (dollars(card, DECEMBER_S - 1), dollars(card, DECEMBER_S)) == (3.0, 2.0)


def test_a_dated_price_replaces_every_service_tier(tmp_path: Path) -> None:
    card = prices_of(
        tmp_path, 'price_from = "gpt-5"' + DATED + 'price = { input = "9", output = "9" }'
    )
    assert dollars(card, DECEMBER_S - 1, "flex") == 0.625
    assert dollars(card, DECEMBER_S, "flex") == 9.0


def test_a_dated_card_price_brings_its_service_tiers(tmp_path: Path) -> None:
    text = 'price = { input = "3", output = "4" }' + DATED + 'price_from = "gpt-5"'
    card = prices_of(tmp_path, text)
    assert dollars(card, DECEMBER_S - 1, "flex") == 3.0
    assert dollars(card, DECEMBER_S, "flex") == 0.625


@pytest.mark.parametrize(
    ("dated", "place", "message"),
    [
        ('price = { input = "0", output = "0" }', "prices[0].price", "every rate is zero"),
        ('price_from = "gtp-5"', "prices[0].price_from", "not on the price card"),
        ('price = { input = "1" }', "prices[0].price", "output is missing"),
    ],
)
def test_a_dated_price_is_checked_like_the_first(
    tmp_path: Path, dated: str, place: str, message: str
) -> None:
    fault = fault_of(tmp_path, 'price = { input = "3", output = "4" }' + DATED + dated)
    assert f"models.tiny.{place}: " in fault
    assert message in fault


def test_a_vendors_models_are_found_under_its_name_on_the_card(tmp_path: Path) -> None:
    frame = FRAME.replace('kind = "scripted"', 'kind = "mistral"\napi_key_env = "PATH"')
    path = tmp_path / "config.toml"
    path.write_text(frame + 'upstream_model = "mistral-large-3"\n', encoding="utf-8")
    card = load_settings(path, {"PATH": "k"}).prices
    known = read_card({"mistral/mistral-large-3"})["mistral/mistral-large-3"]
    price = card.at("tiny", 0)
    assert price is not None
    assert cost(price, MILLION).total_nano == cost(known.prices[0], MILLION).total_nano > 0
