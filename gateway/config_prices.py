"""Which price each configured model has: written in the file, named, or found on the card.

A model without a price is a fault. Unknown is not free, and free has to be said.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from budgets.config import ModelPricing
from budgets.price_card import CardModel, card_names, read_card
from budgets.prices import DEFAULT_SERVICE_TIER, Price, PriceCard, make_price
from gateway.config_errors import KeyPath, suggest
from gateway.config_reading import FaultList

FREE_VERSION = "free"


@dataclass(frozen=True, slots=True)
class PricedModel:
    """A model's price keys and the names under which the card may know it.

    `prefix` is how the card begins the names of its provider's models; such a name goes first.
    """

    pricing: ModelPricing
    upstream_model: str
    prefix: str = ""


def build_price_card(
    models: Mapping[str, PricedModel], connected: Collection[str], faults: FaultList
) -> PriceCard:
    """The prices of the connected models, by configured name; faults of every model are noted."""
    card = read_card({name for model in models.values() for name in _card_names_of(model)})
    dated = {name: list(_dated_prices(name, model, card, faults)) for name, model in models.items()}
    return PriceCard(
        price
        for name, prices in dated.items()
        if name in connected
        for price in _for_every_service_tier(prices)
    )


def _card_names_of(model: PricedModel) -> Iterator[str]:
    pricing = model.pricing
    yield pricing.price_from or model.upstream_model
    yield model.prefix + model.upstream_model
    for dated in pricing.prices:
        if dated.price_from is not None:
            yield dated.price_from


def _dated_prices(
    name: str, model: PricedModel, card: Mapping[str, CardModel], faults: FaultList
) -> Iterator[tuple[Price, ...]]:
    path: KeyPath = ("models", name)
    yield _first_price(name, model, card, faults)
    for index, dated in enumerate(model.pricing.prices):
        place = (*path, "prices", index)
        if dated.price is not None:
            if dated.price.is_zero and not model.pricing.free:
                faults.add((*place, "price"), _ZERO)
            yield (dated.price.to_price(name, dated.valid_from),)
        elif dated.price_from is not None:
            yield _from_card(
                name, dated.price_from, (*place, "price_from"), card, faults, dated.valid_from
            )


_ZERO = "every rate is zero; set `free = true` on the model if it really costs nothing"


def _first_price(
    name: str, model: PricedModel, card: Mapping[str, CardModel], faults: FaultList
) -> tuple[Price, ...]:
    """The price in force from the beginning."""
    pricing, path = model.pricing, ("models", name)
    if pricing.price is not None:
        if pricing.price.is_zero != pricing.free:
            message = _ZERO if pricing.price.is_zero else "`free = true`, but a rate is above zero"
            faults.add((*path, "price"), message)
        return (pricing.price.to_price(name),)
    if pricing.price_from is not None:
        found = _from_card(name, pricing.price_from, (*path, "price_from"), card, faults)
        if found and card[pricing.price_from].is_zero and not pricing.free:
            faults.add((*path, "price_from"), _ZERO)
        return found
    if pricing.free:
        return (make_price(name, {"fresh": 0, "output": 0}, version=FREE_VERSION),)
    known = card.get(model.prefix + model.upstream_model) or card.get(model.upstream_model)
    if known is None:
        faults.add(
            path,
            f"has no price: {model.upstream_model!r} is not on the price card. Set "
            '`price = { input = "...", output = "..." }` (dollars for a million tokens), '
            '`price_from = "NAME"` (see `weir prices show NAME`) or `free = true`',
            suggest(model.upstream_model, card_names()),
        )
        return ()
    if known.is_zero:
        faults.add(path, f"has no price: the card lists {model.upstream_model!r} at zero. {_ZERO}")
    return _renamed(known, name, 0)


def _from_card(
    name: str,
    card_name: str,
    path: KeyPath,
    card: Mapping[str, CardModel],
    faults: FaultList,
    valid_from_s: int = 0,
) -> tuple[Price, ...]:
    known = card.get(card_name)
    if known is None:
        faults.add(
            path, f"{card_name!r} is not on the price card", suggest(card_name, card_names())
        )
        return ()
    return _renamed(known, name, valid_from_s)


def _renamed(known: CardModel, name: str, valid_from_s: int) -> tuple[Price, ...]:
    return tuple(replace(price, model=name, valid_from_s=valid_from_s) for price in known.prices)


def _for_every_service_tier(dated: list[tuple[Price, ...]]) -> Iterator[Price]:
    """Each moment's prices for every service tier the model ever has.

    Otherwise a new price without, say, a `flex` rate would leave the old `flex` rate in force.
    """
    service_tiers = {price.service_tier for prices in dated for price in prices}
    for prices in dated:
        by_tier = {price.service_tier: price for price in prices}
        default = by_tier.get(DEFAULT_SERVICE_TIER)
        for service_tier in sorted(service_tiers):
            price = by_tier.get(service_tier, default)
            if price is not None:
                yield replace(price, service_tier=service_tier)
