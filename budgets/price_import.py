"""Turn litellm's bundled price map into the price card, exactly and always the same way.

The map lists dollars for each token as JSON numbers. They are read as decimals and stored as
integer pico-USD, rounded up. Kept are models that are billed by the token, by the image, the
character or the second of sound; what a provider bills by the search has no place on the card.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from importlib.metadata import version as package_version
from importlib.util import find_spec
from pathlib import Path

from budgets.money import PICO_PER_USD
from budgets.prices import DEFAULT_SERVICE_TIER, FALLBACK_CLASS

MAP_NAME = "model_prices_and_context_window_backup.json"
MODES = frozenset({"chat", "completion", "embedding", "responses"})
IMAGES, SPEECH, TRANSCRIPTION = "image_generation", "audio_speech", "audio_transcription"
UNIT_OF_FIELD: Mapping[str, Mapping[str, str]] = {
    IMAGES: {"output_cost_per_image": "images"},
    SPEECH: {"input_cost_per_character": "characters"},
    TRANSCRIPTION: {"input_cost_per_second": "sound_ms"},
}
"""By the mode: which field says what a unit costs. A second's price becomes a millisecond's."""
MS_PER_S = 1_000

CLASS_OF_FIELD: Mapping[str, str] = {
    "input_cost_per_token": "fresh",
    "cache_read_input_token_cost": "cached",
    "cache_creation_input_token_cost": "cache_write",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
    "output_cost_per_audio_token": "audio_output",
}
SERVICE_TIER_OF_SUFFIX: Mapping[str, str] = {
    "": DEFAULT_SERVICE_TIER,
    "_flex": "flex",
    "_priority": "priority",
    "_ultrafast": "ultrafast",
    "_balanced": "balanced",
    "_batches": "batch",
}
CAPABILITY_OF_FIELD: Mapping[str, str] = {
    "supports_reasoning": "reasoning",
    "supports_response_schema": "schema",
    "supports_function_calling": "tools",
    "supports_vision": "vision",
}
INCLUSIVE_PROVIDERS = frozenset({"xai"})
"""Providers whose higher rate begins at the threshold, not above it."""

_PRICE_FIELD = re.compile(
    rf"(?P<field>{'|'.join(CLASS_OF_FIELD)})"
    r"(_above_(?P<above>\d+)(?P<kilo>k?)_tokens)?"
    rf"(?P<suffix>{'|'.join(SERVICE_TIER_OF_SUFFIX)})"
)

Rates = dict[str, int]
ContextRates = dict[int, Rates]


class PriceImportError(ValueError):
    """The price map cannot be found or read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ImportedCard:
    """The card's text as it is stored, and how many models went in and stayed out."""

    text: str
    version: str
    kept: int
    skipped: int


def bundled_map_path() -> Path:
    """Where the installed litellm keeps its map, found without importing it."""
    spec = find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        raise PriceImportError("litellm is not installed; give the path of a price map")
    path = Path(next(iter(spec.submodule_search_locations))) / MAP_NAME
    if not path.is_file():
        raise PriceImportError(f"litellm brings no {MAP_NAME}; give the path of a price map")
    return path


def import_litellm_prices(map_path: Path | None = None) -> ImportedCard:
    """Read a price map (the installed litellm's where none is given) and write the card's text.

    Raise PriceImportError for a file that is no price map.
    """
    path = map_path or bundled_map_path()
    try:
        raw = path.read_bytes()
        source = json.loads(raw, parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise PriceImportError(f"{path}: not a price map: {error}") from error
    if not isinstance(source, dict):
        raise PriceImportError(f"{path}: not a price map: expected an object of models")
    entries = {
        name: entry
        for name, fields in source.items()
        if isinstance(fields, dict) and (entry := _card_entry(fields)) is not None
    }
    version = f"litellm-{package_version('litellm')}" if map_path is None else f"file-{path.name}"
    stamp = {"version": version, "sha256": hashlib.sha256(raw).hexdigest()}
    return ImportedCard(
        _card_text(stamp, entries), version, len(entries), len(source) - len(entries)
    )


def _card_text(stamp: Mapping[str, str], entries: Mapping[str, object]) -> str:
    lines = [f"{_compact(name)}:{_compact(entries[name])}" for name in sorted(entries)]
    return f'{{"card":{_compact(stamp)},\n"models":{{\n' + ",\n".join(lines) + "\n}}\n"


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


def _card_entry(fields: Mapping[str, object]) -> dict[str, object] | None:
    """One model's line, or None where the card cannot say what its tokens cost."""
    mode = fields.get("mode")
    if mode in UNIT_OF_FIELD:
        entry = _media_entry(str(mode), fields)
        if entry is None:
            return None
    else:
        prices = _prices(fields) if mode in MODES else None
        if prices is None or _bills_images_dearer(fields):
            return None
        entry = {"prices": prices}
    for source, target in (("max_input_tokens", "max_input"), ("max_output_tokens", "max_output")):
        limit = fields.get(source)
        if isinstance(limit, int) and limit > 0:
            entry[target] = limit
    able = sorted(name for field, name in CAPABILITY_OF_FIELD.items() if fields.get(field) is True)
    if able:
        entry["capabilities"] = able
    return entry


def _media_entry(mode: str, fields: Mapping[str, object]) -> dict[str, object] | None:
    """Prices of a model for images or sound: by tokens where both rates are known, else by units.

    All output of a model for images is taken for images, which are dearer than text.
    """
    if mode == IMAGES:
        drawn = [_dollars(fields.get(f"output_cost_per{kind}_token")) for kind in ("_image", "")]
        fields = {**fields, "output_cost_per_token": max(drawn)} if any(drawn) else fields
    prices = _prices(fields)
    if prices is not None:
        image = _pico(fields.get("input_cost_per_image_token")) if mode == IMAGES else None
        if image is not None:
            prices[DEFAULT_SERVICE_TIER]["0"]["image_input"] = image
        return {"prices": prices}
    units: Rates = {}
    for field, unit in UNIT_OF_FIELD[mode].items():
        rate = _pico(fields.get(field))
        if rate is not None:
            units[unit] = -(-rate // MS_PER_S) if unit == "sound_ms" else rate
    return {"prices": {DEFAULT_SERVICE_TIER: {"0": {}}}, "units": units} if units else None


def _dollars(value: object) -> Decimal:
    is_rate = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return Decimal(value) if is_rate else Decimal(0)  # type: ignore[arg-type]


def _bills_images_dearer(fields: Mapping[str, object]) -> bool:
    """Whether image tokens cost more than the text tokens a usage report counts them as."""
    for image, text in (
        ("input_cost_per_image_token", "input_cost_per_token"),
        ("output_cost_per_image_token", "output_cost_per_token"),
    ):
        rate = _pico(fields.get(image))
        if rate is not None and rate > (_pico(fields.get(text)) or 0):
            return True
    return False


def _prices(fields: Mapping[str, object]) -> dict[str, dict[str, Rates]] | None:
    """Service tier -> input tokens above which -> class -> pico-USD."""
    by_tier = _plain_prices(fields)
    default = by_tier.setdefault(DEFAULT_SERVICE_TIER, {0: {}})
    default.update(_ranged_prices(fields, default.get(0, {})))
    first = default.get(0, {})
    if fields.get("mode") == "embedding":
        first.setdefault("output", 0)
    if "fresh" not in first or "output" not in first:
        return None
    return {
        tier: {str(above): rates for above, rates in _completed(contexts, default).items()}
        for tier, contexts in sorted(by_tier.items())
    }


def _plain_prices(fields: Mapping[str, object]) -> dict[str, ContextRates]:
    inclusive = fields.get("litellm_provider") in INCLUSIVE_PROVIDERS
    by_tier: dict[str, ContextRates] = {}
    for field, value in fields.items():
        match = _PRICE_FIELD.fullmatch(field)
        rate = _pico(value)
        if match is None or rate is None:
            continue
        above = int(match["above"] or 0) * (1000 if match["kilo"] else 1)
        threshold = above - 1 if above and inclusive else above
        contexts = by_tier.setdefault(SERVICE_TIER_OF_SUFFIX[match["suffix"]], {})
        contexts.setdefault(threshold, {})[CLASS_OF_FIELD[match["field"]]] = rate
    return by_tier


def _ranged_prices(fields: Mapping[str, object], plain: Rates) -> ContextRates:
    """A `tiered_pricing` list: the whole request is billed at the range its input falls into.

    What a range leaves out costs what the plain class of that range costs, so every class is named.
    """
    ranges = fields.get("tiered_pricing")
    contexts: ContextRates = {}
    for part in ranges if isinstance(ranges, list) else ():
        named = {name: rate for name, rate in _named_rates(part).items() if rate is not None}
        if "fresh" not in named or "range" not in part:
            continue
        named.setdefault("output", plain.get("output", 0))
        for name in ("cached", "cache_write", "reasoning"):
            named.setdefault(name, named[FALLBACK_CLASS[name]])
        contexts[int(part["range"][0])] = named
    return contexts


def _named_rates(part: Mapping[str, object]) -> dict[str, int | None]:
    return {name: _pico(part.get(field)) for field, name in CLASS_OF_FIELD.items()}


def _completed(contexts: ContextRates, default: ContextRates) -> ContextRates:
    """A service tier's rates; what it does not name costs what the default tier asks for it.

    Reasoning is billed as output where the service tier names only output.
    """
    completed: ContextRates = {}
    for above in sorted(default.keys() | contexts.keys() | {0}):
        own = contexts.get(above, {})
        rates = {**default.get(above, {}), **own}
        if "output" in own and "reasoning" not in own:
            rates.pop("reasoning", None)
        completed[above] = dict(sorted(rates.items()))
    return completed


def _pico(value: object) -> int | None:
    """Dollars for a token as pico-USD, rounded up; None for what is no rate."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value < 0:
        return None
    return int((Decimal(value) * PICO_PER_USD).to_integral_value(rounding=ROUND_CEILING))
