"""The import of a price map: exact, the same every time, and in step with litellm's arithmetic."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from budgets.price_card import CARD_PATH, card_names, card_stamp, read_card
from budgets.price_import import PriceImportError, bundled_map_path, import_litellm_prices
from budgets.prices import PriceCard, cost
from budgets.usage import TokenUsage

PLAIN = {"mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06}


def entry_of(tmp_path: Path, fields: dict[str, Any]) -> dict[str, Any] | None:
    """The card's entry for the one model of a made-up map."""
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"m": fields}))
    entry: dict[str, Any] | None = json.loads(import_litellm_prices(path).text)["models"].get("m")
    return entry


def imported(tmp_path: Path, fields: dict[str, Any]) -> Any:
    """The prices of that entry, None where there is none."""
    entry = entry_of(tmp_path, fields)
    return None if entry is None else entry["prices"]


def test_the_card_in_the_repository_is_what_the_import_writes() -> None:
    card = import_litellm_prices()
    assert card.text == CARD_PATH.read_text(encoding="utf-8")
    assert card.version == card_stamp().version


def test_rates_are_read_exactly_and_rounded_up(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(
        '{"m": {"mode": "chat", "input_cost_per_token": 1.1e-07, '
        '"output_cost_per_token": 2.00000000000000001e-06}}'
    )
    entry = json.loads(import_litellm_prices(path).text)["models"]["m"]
    assert entry["prices"]["default"]["0"] == {"fresh": 110_000, "output": 2_000_001}


def test_every_token_class_is_taken_over(tmp_path: Path) -> None:
    prices = imported(
        tmp_path,
        {
            **PLAIN,
            "cache_read_input_token_cost": 1e-07,
            "cache_creation_input_token_cost": 1.25e-06,
            "input_cost_per_audio_token": 3e-06,
            "output_cost_per_reasoning_token": 4e-06,
            "output_cost_per_audio_token": 5e-06,
        },
    )
    assert prices == {
        "default": {
            "0": {
                "audio_input": 3_000_000,
                "audio_output": 5_000_000,
                "cache_write": 1_250_000,
                "cached": 100_000,
                "fresh": 1_000_000,
                "output": 2_000_000,
                "reasoning": 4_000_000,
            }
        }
    }


def test_a_service_tier_keeps_the_default_rates_it_does_not_name(tmp_path: Path) -> None:
    prices = imported(
        tmp_path,
        {
            **PLAIN,
            "cache_read_input_token_cost": 1e-07,
            "input_cost_per_token_above_200k_tokens": 3e-06,
            "input_cost_per_token_priority": 2e-06,
            "output_cost_per_token_batches": 1e-06,
        },
    )
    assert prices is not None
    assert prices["priority"] == {
        "0": {"cached": 100_000, "fresh": 2_000_000, "output": 2_000_000},
        "200000": {"fresh": 3_000_000},
    }
    assert prices["batch"]["0"] == {"cached": 100_000, "fresh": 1_000_000, "output": 1_000_000}


def test_a_service_tier_bills_reasoning_as_its_own_output(tmp_path: Path) -> None:
    prices = imported(
        tmp_path,
        {
            **PLAIN,
            "output_cost_per_reasoning_token": 2e-06,
            "output_cost_per_token_priority": 5e-06,
        },
    )
    assert prices is not None
    assert prices["priority"]["0"] == {"fresh": 1_000_000, "output": 5_000_000}
    assert prices["default"]["0"]["reasoning"] == 2_000_000


def test_a_threshold_that_includes_itself_begins_one_token_earlier(tmp_path: Path) -> None:
    fields = {**PLAIN, "input_cost_per_token_above_128k_tokens": 2e-06}
    above = imported(tmp_path, fields)
    at = imported(tmp_path, {**fields, "litellm_provider": "xai"})
    assert above is not None and list(above["default"]) == ["0", "128000"]
    assert at is not None and list(at["default"]) == ["0", "127999"]


def test_ranges_become_context_tiers_with_every_class_named(tmp_path: Path) -> None:
    ranges = [
        {"range": [0, 32e3], "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
        {
            "range": [32e3, 1e6],
            "input_cost_per_token": 3e-06,
            "output_cost_per_token": 6e-06,
            "output_cost_per_reasoning_token": 9e-06,
        },
    ]
    prices = imported(tmp_path, {"mode": "chat", "tiered_pricing": ranges})
    assert prices is not None
    assert list(prices["default"]) == ["0", "32000"]
    assert prices["default"]["32000"] == {
        "cache_write": 3_000_000,
        "cached": 3_000_000,
        "fresh": 3_000_000,
        "output": 6_000_000,
        "reasoning": 9_000_000,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {**PLAIN, "mode": "rerank"},
        {"mode": "chat", "input_cost_per_token": 1e-06},
        {"mode": "chat", "output_cost_per_second": 0.1},
        {**PLAIN, "input_cost_per_token": -1},
        {**PLAIN, "input_cost_per_token": "1e-06"},
        {**PLAIN, "output_cost_per_image_token": 3e-05},
        {},
    ],
)
def test_what_is_not_billed_by_the_token_stays_out(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert imported(tmp_path, fields) is None


def test_an_embedding_has_no_output_to_pay(tmp_path: Path) -> None:
    prices = imported(tmp_path, {"mode": "embedding", "input_cost_per_token": 1e-08})
    assert prices == {"default": {"0": {"fresh": 10_000, "output": 0}}}


@pytest.mark.parametrize(
    ("fields", "units"),
    [
        ({"mode": "image_generation", "output_cost_per_image": 0.04}, {"images": 4 * 10**10}),
        ({"mode": "audio_speech", "input_cost_per_character": 1.5e-05}, {"characters": 15 * 10**6}),
        ({"mode": "audio_transcription", "input_cost_per_second": 0.0001}, {"sound_ms": 10**5}),
    ],
)
def test_what_is_billed_by_the_piece_has_a_unit_price(
    tmp_path: Path, fields: dict[str, Any], units: dict[str, int]
) -> None:
    assert entry_of(tmp_path, fields) == {"prices": {"default": {"0": {}}}, "units": units}


def test_images_are_billed_by_the_token_where_tokens_have_a_price(tmp_path: Path) -> None:
    fields = {
        "mode": "image_generation",
        "input_cost_per_token": 5e-06,
        "input_cost_per_image_token": 1e-05,
        "output_cost_per_token": 1e-05,
        "output_cost_per_image_token": 4e-05,
        "output_cost_per_image": 0.04,
    }
    rates = {"fresh": 5_000_000, "image_input": 10_000_000, "output": 40_000_000}
    assert entry_of(tmp_path, fields) == {"prices": {"default": {"0": rates}}}


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"'])
def test_a_file_that_is_no_map_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(PriceImportError, match=r"map\.json: not a price map"):
        import_litellm_prices(path)
    with pytest.raises(PriceImportError, match=r"none\.json"):
        import_litellm_prices(tmp_path / "none.json")


ORACLE = """
import json, sys
import litellm
from litellm.types.utils import CompletionTokensDetailsWrapper, PromptTokensDetailsWrapper, Usage

answers = []
for case in json.load(sys.stdin):
    fresh, cached, output, reasoning = case["tokens"]
    usage = Usage(
        prompt_tokens=fresh + cached,
        completion_tokens=output + reasoning,
        total_tokens=fresh + cached + output + reasoning,
        prompt_tokens_details=PromptTokensDetailsWrapper(cached_tokens=cached),
        completion_tokens_details=CompletionTokensDetailsWrapper(reasoning_tokens=reasoning),
    )
    try:
        parts = litellm.cost_per_token(
            model=case["model"],
            custom_llm_provider=case["provider"],
            usage_object=usage,
            service_tier=case["tier"],
        )
        answers.append(parts[0] + parts[1])
    except Exception as error:
        answers.append(type(error).__name__)
print()
print(json.dumps(answers))
"""


def ask_litellm(cases: list[dict[str, Any]]) -> list[float | str]:
    run = subprocess.run(
        [sys.executable, "-c", ORACLE],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )
    answers: list[float | str] = json.loads(run.stdout.splitlines()[-1])
    return answers


def is_comparable(fields: dict[str, Any]) -> bool:
    """Whether litellm bills by its map alone.

    For Fireworks it assumes a discount on cached tokens that the map does not list, and where the
    map lists off-peak rates it bills by the clock; the card keeps the listed daytime rate.
    """
    return (
        fields["mode"] == "chat"
        and fields["litellm_provider"] != "fireworks_ai"
        and "off_peak_pricing" not in fields
    )


def oracle_cases() -> list[dict[str, Any]]:
    source = json.loads(bundled_map_path().read_text(encoding="utf-8"))
    names = [name for name in card_names() if is_comparable(source[name])]
    chosen = [*names[::25], "gpt-5", "gpt-4o", "claude-sonnet-4-5", "gemini/gemini-2.5-pro"]
    tokens = [(1_000, 0, 500, 0), (70_001, 130_000, 900, 300), (300_001, 0, 10, 7), (5, 0, 1, 0)]
    return [
        {"model": name, "provider": source[name]["litellm_provider"], "tokens": t, "tier": tier}
        for name in chosen
        for t in tokens
        for tier in (None, "flex", "priority")
    ]


def our_dollars(case: dict[str, Any], card: PriceCard) -> Decimal:
    price = card.at(case["model"], 0, case["tier"] or "default")
    assert price is not None
    fresh, cached, output, reasoning = case["tokens"]
    usage = TokenUsage(fresh=fresh, cached=cached, output=output, reasoning=reasoning)
    return Decimal(cost(price, usage).total_nano) / 10**9


def test_costs_agree_with_litellm_to_the_rounding() -> None:
    cases = oracle_cases()
    models = read_card({case["model"] for case in cases})
    card = PriceCard(price for model in models.values() for price in model.prices)
    compared, differing = set(), []
    for case, theirs in zip(cases, ask_litellm(cases), strict=True):
        if isinstance(theirs, str):
            continue
        ours = our_dollars(case, card)
        compared.add(case["model"])
        exact = Decimal(repr(theirs))
        doubles = exact * Decimal("1e-12")
        rounding = Decimal("1e-9") + sum(case["tokens"]) * Decimal("1e-12")
        if not exact - doubles <= ours <= exact + rounding + doubles:
            differing.append((case, ours, theirs))
    assert differing == []
    assert len(compared) >= 100
