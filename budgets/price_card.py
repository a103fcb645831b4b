"""The imported price card: thousands of models in one file, of which only those asked for are kept.

The file is JSON with one model a line, so a line is found by its name without reading the rest, and
a change of price shows as one changed line. `weir prices import` writes it.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from budgets.prices import DEFAULT_SERVICE_TIER, Price, make_price

CARD_PATH = Path(__file__).with_name("price_card.json")


class CardError(ValueError):
    """A price card file that cannot be read; the message names the file and the fix."""


@dataclass(frozen=True, slots=True)
class CardStamp:
    """Where the card comes from: `litellm-VERSION` and the SHA-256 of the imported file."""

    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class CardModel:
    """What the card knows of a model: a price for each service tier, limits, capabilities."""

    name: str
    prices: tuple[Price, ...]
    max_input_tokens: int | None
    max_output_tokens: int | None
    capabilities: tuple[str, ...]

    @property
    def is_zero(self) -> bool:
        """Whether the default price names no rate above zero."""
        default = next(p for p in self.prices if p.service_tier == DEFAULT_SERVICE_TIER)
        rates = [*default.units.values()]
        rates += [rate for tier in default.tiers for rate in tier.pico.values()]
        return not any(rates)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: {error}; run `weir prices import` to write it again") from error


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    """Name and JSON text of each model, in the file's order."""
    for line in _lines(path):
        if line.startswith('"') and line.rstrip(",\n").endswith("}"):
            name, _, entry = line[1:].partition('":')
            yield name, entry.rstrip(",\n")


def card_stamp(path: Path = CARD_PATH) -> CardStamp:
    """The card's origin; raise CardError for a file that is no card."""
    first = next(_lines(path), "")
    try:
        stamp = json.loads(first.removeprefix("{").rstrip(",\n").removeprefix('"card":'))
        return CardStamp(stamp["version"], stamp["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise CardError(f"{path}: no price card; run `weir prices import` to write it") from error


def card_names(path: Path = CARD_PATH) -> tuple[str, ...]:
    """Every model name of the card, sorted."""
    return tuple(name for name, _ in _entries(path))


def read_card(names: Collection[str], path: Path = CARD_PATH) -> Mapping[str, CardModel]:
    """The named models, as far as the card knows them; raise CardError for a broken file."""
    version = card_stamp(path).version
    wanted = frozenset(names)
    return {
        name: _card_model(name, entry, version, path)
        for name, entry in _entries(path)
        if name in wanted
    }


def _card_model(name: str, text: str, version: str, path: Path) -> CardModel:
    try:
        entry = json.loads(text)
        prices = tuple(
            make_price(
                name,
                tiers["0"],
                version=version,
                context_tiers={int(above): pico for above, pico in tiers.items() if above != "0"},
                service_tier=service_tier,
                units=entry.get("units"),
            )
            for service_tier, tiers in entry["prices"].items()
        )
        return CardModel(
            name,
            prices,
            entry.get("max_input"),
            entry.get("max_output"),
            tuple(entry.get("capabilities", ())),
        )
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CardError(
            f"{path}: broken entry {name!r}; run `weir prices import` to write it again"
        ) from error
