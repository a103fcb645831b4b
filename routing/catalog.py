"""The models the gateway can use, their tiers, and what a client's model name means."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from routing.work import Work

DEFAULT_POLICY = "default"
AUTO = "auto"
AUTO_PREFIX = "auto:"
TIER_PREFIX = "tier:"


class Capability(StrEnum):
    """What a model can be asked for beyond text. `reasoning` informs; it is never demanded."""

    TOOLS = "tools"
    VISION = "vision"
    AUDIO = "audio"
    FILES = "files"
    SCHEMA = "schema"
    REASONING = "reasoning"


class Balance(StrEnum):
    """Which deployment of a model is asked first: in order, by weight, or the quickest."""

    ORDERED = "ordered"
    WEIGHTED = "weighted"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model at one provider, as configured.

    `name` is what clients and policies say, `upstream_model` what the provider is told,
    `price_model` the name in the price card. `prompt_overhead_tokens` is what the provider's
    template adds to a prompt. A `stand_in` answers in the place of a model that is not connected.
    `tokenizer` is how its input is bounded: `bytes`, a tiktoken vocabulary that is truly the
    model's, or `auto` for one that goes by the model's name. `dialects` are the ways of asking
    that it answers, None where it answers all. `works` is what it may be chosen for, None for
    anything; a client that names the model is not held to that.

    A model that is served in several places has them in `deployments`: cards that differ from it in
    `provider`, `upstream_model` and `weight` only. Its own are then those of the first.
    """

    name: str
    provider: str
    upstream_model: str
    price_model: str
    context_tokens: int
    max_output_tokens: int
    prompt_overhead_tokens: int = 0
    capabilities: frozenset[Capability] = frozenset()
    aliases: tuple[str, ...] = ()
    stand_in: bool = False
    tokenizer: str = "bytes"
    dialects: frozenset[str] | None = None
    works: frozenset[Work] | None = None
    weight: int = 1
    balance: Balance = Balance.ORDERED
    deployments: tuple["ModelCard", ...] = ()

    @property
    def places(self) -> tuple["ModelCard", ...]:
        """Where the model is served: its deployments, or itself."""
        return self.deployments or (self,)


@dataclass(frozen=True, slots=True)
class Tier:
    """Models of one class of price and strength, the preferred one first; higher rank is dearer."""

    name: str
    rank: int
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Auto:
    """The client leaves the choice to a policy."""

    policy: str = DEFAULT_POLICY


@dataclass(frozen=True, slots=True)
class TierWish:
    """The client names a tier."""

    tier: str


@dataclass(frozen=True, slots=True)
class ModelWish:
    """The client names a model, directly or by an alias."""

    model: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A name that means nothing here, and the names it may be a slip of."""

    name: str
    suggestions: tuple[str, ...]


Requested = Auto | TierWish | ModelWish | Unknown


class RejectionCode(StrEnum):
    """Why a model is no candidate; the list is closed."""

    NOT_ASKED = "not_asked"
    DIALECT = "dialect"
    PROVIDER_DOWN = "provider_down"
    CAPABILITY_MISSING = "capability_missing"
    CONTEXT_EXCEEDED = "context_exceeded"
    PRICE_UNKNOWN = "price_unknown"
    OVER_HEADROOM = "over_headroom"
    MODEL_BUDGET = "model_budget"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A model that is no candidate, and why in words."""

    model: str
    code: RejectionCode
    why: str


class Catalog:
    """Every model and tier, checked and indexed once; immutable afterwards.

    `tiers` ascend by rank. Raises ValueError where two models share a name or a tier names a model
    that is not there.
    """

    __slots__ = ("_meanings", "_unasked", "models", "tiers", "tiers_by_name")

    def __init__(self, models: Iterable[ModelCard], tiers: Iterable[Tier] = ()) -> None:
        cards = tuple(models)
        self.models: Mapping[str, ModelCard] = {card.name: card for card in cards}
        self.tiers: tuple[Tier, ...] = tuple(sorted(tiers, key=lambda tier: tier.rank))
        self.tiers_by_name: Mapping[str, Tier] = {tier.name: tier for tier in self.tiers}
        if len(self.models) != len(cards) or len(self.tiers_by_name) != len(self.tiers):
            raise ValueError("two models or two tiers have the same name")
        self._meanings: Mapping[str, Requested] = self._index_names(cards)
        tiers_of = self._tiers_of()
        self._unasked: Mapping[str, Rejection] = {
            name: Rejection(name, RejectionCode.NOT_ASKED, _unasked_why(tiers_of[name]))
            for name in self.models
        }

    def _index_names(self, cards: tuple[ModelCard, ...]) -> dict[str, Requested]:
        meanings: dict[str, Requested] = {}
        for card in cards:
            for name in (card.name, *card.aliases):
                if name in meanings:
                    raise ValueError(f"two models are called {name!r}")
                meanings[name] = ModelWish(card.name)
        for tier in self.tiers:
            meanings[TIER_PREFIX + tier.name] = TierWish(tier.name)
        meanings[AUTO] = Auto()
        return meanings

    def _tiers_of(self) -> dict[str, list[str]]:
        tiers_of: dict[str, list[str]] = {name: [] for name in self.models}
        for tier in self.tiers:
            for model in tier.models:
                if model not in tiers_of:
                    raise ValueError(f"tier {tier.name!r} names the unknown model {model!r}")
                tiers_of[model].append(tier.name)
        return tiers_of

    def resolve(self, name: str) -> Requested:
        """What a client's model name asks for; whether a policy exists is for `decide` to say."""
        meaning = self._meanings.get(name)
        if meaning is not None:
            return meaning
        if name.startswith(AUTO_PREFIX) and len(name) > len(AUTO_PREFIX):
            return Auto(name[len(AUTO_PREFIX) :])
        # A name can be as long as the request allows; comparing it must not be.
        return Unknown(name, tuple(get_close_matches(name[:200], self._meanings, n=3)))

    def places(self) -> list[ModelCard]:
        """Every deployment of every model."""
        return [place for card in self.models.values() for place in card.places]

    def names(self) -> list[tuple[str, str]]:
        """Every name a client may send, and its provider, or `weir` where that is chosen."""
        return [
            (
                name,
                self.models[meaning.model].provider if isinstance(meaning, ModelWish) else "weir",
            )
            for name, meaning in self._meanings.items()
        ]

    def unasked(self, considered: Iterable[str]) -> list[Rejection]:
        """A rejection for every model but those considered, in the catalog's order."""
        seen = set(considered)
        return [rejection for name, rejection in self._unasked.items() if name not in seen]


def _unasked_why(tiers: list[str]) -> str:
    if not tiers:
        return "in no tier, so only a client that names it gets it"
    return f"tier {', '.join(tiers)} not asked for"
