"""Which provider a file is for, and with what the lines of a batch are bounded there."""

from gateway.batches.bounding import Terms, batch_price
from gateway.batches.kit import Kit
from gateway.batches.lines import line_fault
from gateway.errors import bad_request
from gateway.ownership import named_in
from routing.catalog import ModelCard, ModelWish, Unknown

PROVIDER_HEADER = b"x-weir-provider"


def named_provider(kit: Kit, name: str) -> str:
    """The provider that a header names, "" for none; raise ApiError (400) for one without files."""
    if name and name not in kit.keepers:
        raise bad_request(
            f"Provider {name[:100]!r} keeps no files; {_known(kit)}.", "x-weir-provider"
        )
    return name


def only_provider(kit: Kit, name: str) -> str:
    """The provider for a file that names no model; raise ApiError (400) where that is not clear."""
    if name:
        return name
    keepers = kit.keepers
    if len(keepers) == 1:
        return keepers[0]
    raise bad_request(
        f"Which provider shall keep the file? Name it in x-weir-provider; {_known(kit)}.",
        "x-weir-provider",
    )


def place_of(kit: Kit, model: str, provider: str) -> ModelCard:
    """Where the model of a batch is served; raise ApiError (400) where a file cannot name it so."""
    catalog = kit.desk.catalog
    meaning = catalog.resolve(model)
    if isinstance(meaning, Unknown):
        raise line_fault(1, f"no model is called {model[:100]!r}.", "body.model", "model_not_found")
    if not isinstance(meaning, ModelWish):
        why = f"{model[:100]!r} leaves the choice to the gateway, and a file cannot be rerouted: "
        raise line_fault(1, f"{why}name a model.", "body.model")
    card = catalog.models[meaning.model]
    places = {one.provider: one for one in reversed(card.places) if one.provider in kit.keepers}
    if provider:
        places = {name: one for name, one in places.items() if name == provider}
    if not places:
        at = f" at {provider}" if provider else ""
        why = f"no provider of model {card.name!r}{at} works batches off; {_known(kit)}."
        raise line_fault(1, why, "body.model")
    if len(places) > 1:
        why = f"model {card.name!r} is served by {', '.join(sorted(places))}: name one of them in "
        raise line_fault(1, f"{why}the header x-weir-provider.", "body.model")
    return next(iter(places.values()))


async def terms_of(kit: Kit, card: ModelCard, model: str) -> Terms:
    """With what the lines for a model are bounded now; raise ApiError (400) without a price."""
    desk = kit.desk
    now_s = desk.now_ms() // 1_000
    vocabulary = desk.vocabularies.get(card.name, "")
    count = await desk.tokenizer.counter(vocabulary) if vocabulary else None
    batch_price(desk.prices, card, now_s)  # without one, nothing can be bounded
    return Terms(
        model=model,
        card=card,
        prices=desk.prices,
        now_s=now_s,
        spoken=kit.offers[card.provider],
        files_in=lambda dialect, request: named_in(dialect, request).files,
        hosted_tool_uses=desk.limits.hosted_tool_uses,
        vocabulary=vocabulary,
        count=count,
    )


def _known(kit: Kit) -> str:
    return f"those that do: {', '.join(kit.keepers)}" if kit.keepers else "none does"
