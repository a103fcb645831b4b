"""The routing sections of `config.toml`, and their checked translation into catalog and policies.

pydantic checks each section by itself. References between sections are checked by `build_catalog`
and `build_policies`, which raise `ConfigFault` with the path of the wrong key, so that the config
loader can name file and line. A model's price keys are those of `budgets.config.ModelPricing`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from budgets.config import UNIT_OF_KEY, ModelPricing, Section
from budgets.prices import Price
from routing.catalog import (
    AUTO,
    AUTO_PREFIX,
    DEFAULT_POLICY,
    TIER_PREFIX,
    Balance,
    Capability,
    Catalog,
    ModelCard,
    Tier,
)
from routing.lexicon import Task
from routing.policies import Fallback, Match, Policy, Rule, policies_by_name
from routing.work import PAID_BY, Work, likely_work, work_of


class ConfigFault(ValueError):
    """A section that contradicts another one.

    `path` is the wrong key's, such as `("policies", "default", "rules", 0, "tier")`, `suggestion`
    what was probably meant (empty where nothing is close).
    """

    def __init__(self, path: tuple[str | int, ...], message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.message = message
        self.suggestion = suggestion


def _listed(value: object) -> object:
    """One text stands for a list of one."""
    return [value] if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1, max_length=200)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][\w.:/@+-]*$")]
Patterns = Annotated[tuple[Text, ...], BeforeValidator(_listed)]
Tokens = Annotated[int, Field(ge=0, le=100_000_000)]
Works = Annotated[frozenset[Work], BeforeValidator(_listed), Field(min_length=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class DeploymentSection(Section):
    """One of `deployments` of a model: where it is served, and its share of the requests."""

    provider: Text
    upstream_model: Text | None = None
    weight: Annotated[int, Field(ge=1, le=1_000)] = 1


class ModelSection(ModelPricing):
    """`[models.NAME]`: one model at one provider or several, with its price keys.

    With `deployments`, `provider` and `upstream_model` are those of the first.
    """

    provider: Text
    upstream_model: Text | None = None
    context_tokens: Annotated[int, Field(ge=1, le=100_000_000)]
    max_output_tokens: Annotated[int, Field(ge=1, le=100_000_000)]
    prompt_overhead_tokens: Tokens = 0
    capabilities: frozenset[Capability] = frozenset()
    aliases: tuple[Name, ...] = ()
    stand_in: bool = False
    tokenizer: Literal["auto", "bytes", "cl100k_base", "o200k_base"] = "auto"
    deployments: Annotated[tuple[DeploymentSection, ...], Field(max_length=32)] = ()
    balance: Balance = Balance.ORDERED
    answers: Works | None = None

    @model_validator(mode="before")
    @classmethod
    def _first_place(cls, values: Any) -> Any:
        """The first deployment stands for the model where only one provider is asked for."""
        if not isinstance(values, dict) or not isinstance(values.get("deployments"), list):
            return values
        for key in ("provider", "upstream_model"):
            if key in values:
                raise ValueError(
                    f"has both {key} and deployments; give each deployment its own {key} and "
                    f"remove {key} from the model"
                )
        first = values["deployments"][:1]
        if not first:
            raise ValueError("deployments is empty; list at least one, or give provider instead")
        if not isinstance(first[0], dict) or "provider" not in first[0]:
            return {**values, "provider": "?"}  # the deployment's own check says what is missing
        own = {key: first[0][key] for key in ("provider", "upstream_model") if key in first[0]}
        return {**values, **own}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_output_tokens > self.context_tokens:
            raise ValueError("max_output_tokens must not exceed context_tokens")
        if self.balance is not Balance.ORDERED and len(self.deployments) < 2:
            raise ValueError(
                f'balance = "{self.balance}" chooses between deployments; list two or more, or '
                "remove balance"
            )
        if self.balance is not Balance.WEIGHTED and any(d.weight != 1 for d in self.deployments):
            raise ValueError('weight counts only with balance = "weighted"; set that on the model')
        self._check_price_of_answers()
        return self

    def _check_price_of_answers(self) -> None:
        if self.answers is None or self.price is None or self.price.pico():
            return
        units = self.price.units()
        unpaid = self.answers - frozenset[Work]().union(*(PAID_BY[unit] for unit in units))
        if unpaid:
            keys = " and ".join(key for key, unit in UNIT_OF_KEY.items() if unit in units)
            raise ValueError(
                f"answers has {' and '.join(sorted(unpaid))}, which {keys} alone is no price of; "
                "give input and output as well, or leave it out of answers"
            )

    def places(self) -> tuple[DeploymentSection, ...]:
        """Where the model is served: its deployments, or the one its own keys name."""
        own = DeploymentSection(provider=self.provider, upstream_model=self.upstream_model)
        return self.deployments or (own,)


class TierSection(Section):
    """`[tiers.NAME]`: models of one class of price and strength, in order of preference."""

    models: Annotated[tuple[Text, ...], Field(min_length=1)]
    rank: int | None = None


class MatchSection(Section):
    """`match = { ... }` of a rule: every key given must hold."""

    workflow: Patterns = ()
    team: Patterns = ()
    key: Patterns = ()
    task: Annotated[tuple[Task, ...], BeforeValidator(_listed)] = ()
    difficulty_min: Share | None = None
    difficulty_max: Share | None = None
    prompt_tokens_min: Tokens | None = None
    prompt_tokens_max: Tokens | None = None
    pressure_min: Share | None = None
    pressure_max: Share | None = None
    tools: bool | None = None
    images: bool | None = None
    schema_: Annotated[bool | None, Field(alias="schema")] = None
    reasoning: bool | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("difficulty", "prompt_tokens", "pressure"):
            least, most = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if least is not None and most is not None and least > most:
                raise ValueError(f"{name}_min must not exceed {name}_max")
        return self

    def to_match(self) -> Match:
        values = {name: getattr(self, name) for name in MatchSection.model_fields}
        return Match(schema=values.pop("schema_"), **values)


class RuleSection(Section):
    """`[[policies.NAME.rules]]`: a match and the tier it leads to."""

    name: Name
    match: MatchSection = MatchSection()
    tier: Text


class PolicySection(Section):
    """`[policies.NAME]`: rules in order, and the tier where none matches."""

    tier: Text
    fallback: Fallback = Fallback.UP
    degrade_to: Text | None = None
    last_resort: Text | None = None
    rules: tuple[RuleSection, ...] = ()


def _check_known(name: str, known: Collection[str], path: tuple[str | int, ...], what: str) -> None:
    if name in known:
        return
    close = get_close_matches(name, known, n=1)
    listed = ", ".join(sorted(known)[:10]) or "none"
    suggestion = close[0] if close else ""
    raise ConfigFault(path, f"no {what} is called {name!r}; known: {listed}", suggestion)


def _check_client_name(name: str, taken: Mapping[str, str], path: tuple[str | int, ...]) -> None:
    if name == AUTO or name.startswith((AUTO_PREFIX, TIER_PREFIX)):
        raise ConfigFault(path, f"{name!r} is reserved: clients ask for policies and tiers so")
    if name in taken:
        raise ConfigFault(path, f"{name!r} already means model {taken[name]!r}")


def _check_places(model: str, section: ModelSection, providers: Collection[str]) -> None:
    if not section.deployments:
        _check_known(section.provider, providers, ("models", model, "provider"), "provider")
    seen: set[tuple[str, str]] = set()
    for index, place in enumerate(section.deployments):
        path = ("models", model, "deployments", index)
        _check_known(place.provider, providers, (*path, "provider"), "provider")
        told = (place.provider, place.upstream_model or model)
        if told in seen:
            message = (
                f"{told[1]!r} at {told[0]!r} is a deployment of {model!r} already; "
                "remove one, or raise the other's weight"
            )
            raise ConfigFault(path, message)
        seen.add(told)


def _spoken(
    section: ModelSection, providers: Mapping[str, Collection[str] | None]
) -> frozenset[str] | None:
    """The dialects that every deployment speaks, as any may be asked, and the model answers."""
    spoken = [providers[place.provider] for place in section.places()]
    limited = [frozenset(dialects) for dialects in spoken if dialects is not None]
    if not limited:
        return None
    common = frozenset.intersection(*limited)
    if section.answers is None:
        return common
    return frozenset(dialect for dialect in common if work_of(dialect) in section.answers)


def _check_answers(model: str, section: ModelSection, dialects: frozenset[str] | None) -> None:
    if section.answers is None or dialects is None:
        return
    unspoken = section.answers - {work_of(dialect) for dialect in dialects}
    if unspoken:
        where = " and ".join(sorted({place.provider for place in section.places()}))
        message = (
            f"no dialect of {where} asks for {' or '.join(sorted(unspoken))}; leave that out, or"
            " add the dialect to the provider's `dialects` if it takes it"
        )
        raise ConfigFault(("models", model, "answers"), message)


def _cards(
    models: Mapping[str, ModelSection],
    providers: Mapping[str, Collection[str] | None],
    prices: Mapping[str, Price | None],
) -> Iterable[ModelCard]:
    taken: dict[str, str] = {}
    for name in models:
        _check_client_name(name, taken, ("models", name))
        taken[name] = name
    for name, section in models.items():
        _check_places(name, section, providers)
        for index, alias in enumerate(section.aliases):
            _check_client_name(alias, taken, ("models", name, "aliases", index))
            taken[alias] = name
        spoken = _spoken(section, providers)
        _check_answers(name, section, spoken)
        upstream_model = section.upstream_model or name
        card = ModelCard(
            name=name,
            provider=section.provider,
            upstream_model=upstream_model,
            price_model=name,
            context_tokens=section.context_tokens,
            max_output_tokens=section.max_output_tokens,
            prompt_overhead_tokens=section.prompt_overhead_tokens,
            capabilities=section.capabilities,
            aliases=section.aliases,
            stand_in=section.stand_in,
            tokenizer=section.tokenizer,
            dialects=spoken,
            works=section.answers or likely_work(upstream_model, prices.get(name)),
            balance=section.balance,
        )
        deployments = [
            replace(
                card,
                provider=place.provider,
                upstream_model=place.upstream_model or name,
                weight=place.weight,
            )
            for place in section.deployments
        ]
        yield replace(card, deployments=tuple(deployments))


def _tiers(tiers: Mapping[str, TierSection], models: Collection[str]) -> Iterable[Tier]:
    ranks: dict[int, str] = {}
    for position, (name, section) in enumerate(tiers.items(), start=1):
        for index, model in enumerate(section.models):
            path = ("tiers", name, "models", index)
            _check_known(model, models, path, "model")
            if model in section.models[:index]:
                raise ConfigFault(path, f"{model!r} is already in this tier")
        rank = position if section.rank is None else section.rank
        if rank in ranks:
            message = f"tiers {ranks[rank]!r} and {name!r} both have rank {rank}; set each its own"
            raise ConfigFault(("tiers", name), message)
        ranks[rank] = name
        yield Tier(name, rank, section.models)


def build_catalog(
    models: Mapping[str, ModelSection],
    tiers: Mapping[str, TierSection],
    providers: Mapping[str, Collection[str] | None],
    prices: Mapping[str, Price | None] | None = None,
) -> Catalog:
    """The catalog of the `[models]` and `[tiers]` sections; raise ConfigFault for bad references.

    `providers` have the dialects that they speak, None where they speak all. What a model is for
    is told by its `answers`, or else by its price in `prices`.
    Models are priced under their own name. Tiers without `rank` take their position in the file,
    from 1.
    """
    return Catalog(list(_cards(models, providers, prices or {})), list(_tiers(tiers, models)))


def _rules(policy: str, section: PolicySection, tiers: Collection[str]) -> Iterable[Rule]:
    names: set[str] = set()
    for index, rule in enumerate(section.rules):
        path = ("policies", policy, "rules", index)
        _check_known(rule.tier, tiers, (*path, "tier"), "tier")
        if rule.name in names:
            raise ConfigFault((*path, "name"), f"two rules are called {rule.name!r}")
        names.add(rule.name)
        match = rule.match.to_match()
        if match == Match() and index + 1 < len(section.rules):
            message = f"rule {rule.name!r} matches everything, so no later rule can; put it last"
            raise ConfigFault((*path, "match"), message)
        yield Rule(rule.name, match, rule.tier)


def _check_last_resort(
    section: PolicySection, last_resort: str, catalog: Catalog, path: tuple[str | int, ...]
) -> None:
    """It must be for something that the policy's own models are for."""
    names = {section.tier, *(rule.tier for rule in section.rules)} & catalog.tiers_by_name.keys()
    models = [model for name in names for model in catalog.tiers_by_name[name].models]
    works = frozenset[Work]().union(*(catalog.models[model].works or Work for model in models))
    own = catalog.models[last_resort].works or frozenset(Work)
    if not own & works:
        message = (
            f"{last_resort!r} is for {' and '.join(sorted(own))}, and the policy's tiers for"
            f" {' and '.join(sorted(works))}; take a model for that, or say what it is for with"
            f" `answers` in [models.{last_resort}]"
        )
        raise ConfigFault(path, message)


def build_policies(policies: Mapping[str, PolicySection], catalog: Catalog) -> Mapping[str, Policy]:
    """The policies of the `[policies]` section; raise ConfigFault for bad references.

    Where there are policies, one is called `default`: it serves `auto`.
    """
    if policies and DEFAULT_POLICY not in policies:
        close = get_close_matches(DEFAULT_POLICY, policies, n=1)
        message = f"no policy is called {DEFAULT_POLICY!r}, which the model name {AUTO!r} needs"
        raise ConfigFault(("policies",), message, close[0] if close else "")
    tiers = catalog.tiers_by_name
    built: list[Policy] = []
    for name, section in policies.items():
        _check_known(section.tier, tiers, ("policies", name, "tier"), "tier")
        degrade_to = section.degrade_to or ""
        if degrade_to:
            _check_known(degrade_to, tiers, ("policies", name, "degrade_to"), "tier")
        last_resort = section.last_resort or ""
        if last_resort:
            path = ("policies", name, "last_resort")
            _check_known(last_resort, catalog.models, path, "model")
            _check_last_resort(section, last_resort, catalog, path)
        rules = tuple(_rules(name, section, tiers))
        built.append(Policy(name, section.tier, rules, section.fallback, degrade_to, last_resort))
    return policies_by_name(built)
