"""The card that ships with the project, read line by line."""

import json
from pathlib import Path

import pytest

from budgets.price_card import CARD_PATH, CardError, card_names, card_stamp, read_card
from budgets.prices import PriceCard, cost
from budgets.usage import TokenUsage


def test_the_card_is_one_json_document_with_one_model_a_line() -> None:
    text = CARD_PATH.read_text(encoding="utf-8")
    models = json.loads(text)["models"]
    assert list(models) == sorted(models) == list(card_names())
    assert len(text.splitlines()) == len(models) + 3
    assert len(text.encode()) < 1_500_000


def test_only_the_models_asked_for_are_kept() -> None:
    found = read_card({"gpt-5", "claude-sonnet-4-5", "no-such-model"})
    assert set(found) == {"gpt-5", "claude-sonnet-4-5"}
    assert found["gpt-5"].max_input_tokens == 272_000
    assert "tools" in found["gpt-5"].capabilities


def test_every_model_of_the_card_makes_prices() -> None:
    names = card_names()
    found = read_card(names)
    assert len(found) == len(names) > 3_000
    assert all(len(model.prices) >= 1 for model in found.values())


def test_a_known_price_is_what_the_provider_publishes() -> None:
    price = PriceCard(read_card({"gpt-5"})["gpt-5"].prices).at("gpt-5", 0)
    assert price is not None
    dollars_a_million = cost(price, TokenUsage(fresh=1_000_000, output=1_000_000))
    assert dollars_a_million.by_class_pico["fresh"] == 1_250_000_000_000
    assert dollars_a_million.by_class_pico["output"] == 10_000_000_000_000
    assert price.version == card_stamp().version


def test_service_tiers_have_prices_of_their_own() -> None:
    card = PriceCard(read_card({"gpt-5"})["gpt-5"].prices)
    usage = TokenUsage(fresh=1000, output=1000)
    costs = [
        cost(price, usage).total_nano
        for tier in ("batch", "flex", "default", "priority")
        if (price := card.at("gpt-5", 0, tier)) is not None
    ]
    assert costs == [5_625_000, 5_625_000, 11_250_000, 22_500_000]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"models":{}}',
        '{"card":{"version":"v"},\n"models":{\n}}',
    ],
)
def test_a_file_that_is_no_card_is_refused_with_the_fix(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(text)
    with pytest.raises(CardError, match=r"card\.json.*weir prices import"):
        read_card({"a"}, path)


@pytest.mark.parametrize(
    "entry", ["{}", '{"prices":{"default":{"0":{"fresh":1}}}}', '{"prices":[1]}', "{nonsense}"]
)
def test_a_broken_entry_is_refused_by_name(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(f'{{"card":{{"version":"v","sha256":"0"}},\n"models":{{\n"a":{entry}\n}}}}\n')
    with pytest.raises(CardError, match=r"broken entry 'a'"):
        read_card({"a"}, path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="weir prices import"):
        card_names(tmp_path / "none.json")
