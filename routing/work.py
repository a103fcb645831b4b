"""What a model is for: the kinds of work that requests ask for, and which of them a model does.

A dialect is a way of asking, and a provider says which it takes. Its models differ: one that is for
embeddings cannot chat, although the provider takes both.
"""

from collections.abc import Mapping
from enum import StrEnum

from budgets.prices import Price


class Work(StrEnum):
    TEXT = "text"
    EMBEDDINGS = "embeddings"
    IMAGES = "images"
    SPEECH = "speech"
    TRANSCRIPTIONS = "transcriptions"


# What is paid by these units alone; everything else is paid by tokens.
PAID_BY: Mapping[str, frozenset[Work]] = {
    "images": frozenset({Work.IMAGES}),
    "characters": frozenset({Work.SPEECH}),
    "sound_ms": frozenset({Work.TRANSCRIPTIONS, Work.SPEECH}),
}
_OF_DIALECT: Mapping[str, Work] = {work.value: work for work in Work if work is not Work.TEXT}
_TEXT = frozenset({Work.TEXT})


def work_of(dialect: str) -> Work:
    """What a request in a dialect asks for; every dialect of conversations asks for text."""
    return _OF_DIALECT.get(dialect, Work.TEXT)


def likely_work(upstream_model: str, price: Price | None) -> frozenset[Work]:
    """What a model does that does not say so, by its price and its name at the provider.

    A price by a unit alone tells the work. Embeddings are billed for input only, and where they are
    free their models are still called so. Everything else makes text.
    """
    if price is not None and not price.by_tokens:
        return frozenset[Work]().union(*(PAID_BY[unit] for unit in price.units))
    if "embed" in upstream_model.lower():
        return frozenset({Work.EMBEDDINGS})
    if price is not None:
        rates = price.tiers[0]
        if rates.rate_pico("fresh") > 0 and rates.rate_pico("output") == 0:
            return frozenset({Work.EMBEDDINGS})
    return _TEXT
