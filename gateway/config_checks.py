"""What the sections of the configuration say about each other.

Every name that one section uses must be defined by another, and no two models may share a name that
a client can ask for. All faults are noted; nothing is changed.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from budgets.config import BudgetSection
from budgets.scopes import Budget, ScopeKind, Unit, covers
from gateway.config_errors import KeyPath, suggest
from gateway.config_reading import FaultList
from routing.catalog import AUTO, AUTO_PREFIX, DEFAULT_POLICY, TIER_PREFIX
from routing.config import ModelSection, PolicySection, TierSection


@dataclass(frozen=True, slots=True)
class Named:
    """The sections that passed their own checks, and every name the file defines.

    A section with faults of its own is missing among the sections but not among the names, so that
    what refers to it is not blamed too.
    """

    models: Mapping[str, ModelSection]
    tiers: Mapping[str, TierSection]
    policies: Mapping[str, PolicySection]
    budgets: Mapping[int, BudgetSection]
    provider_names: Collection[str]
    model_names: Collection[str]
    tier_names: Collection[str]
    policy_names: Collection[str]


def check_references(named: Named, faults: FaultList) -> None:
    """Note every name that leads nowhere or means two things."""
    for path, provider in _providers_of_models(named.models):
        _known(provider, named.provider_names, "provider", path, faults)
    for name, tier in named.tiers.items():
        for index, model_name in enumerate(tier.models):
            path = ("tiers", name, "models", index)
            _known(model_name, named.model_names, "model", path, faults)
    for path, tier_name in _tiers_of_policies(named.policies):
        _known(tier_name, named.tier_names, "tier", path, faults)
    for name, policy in named.policies.items():
        if policy.last_resort is not None:
            path = ("policies", name, "last_resort")
            _known(policy.last_resort, named.model_names, "model", path, faults)
    _check_needed(named, faults)
    _check_client_names(named.models, faults)
    _check_budgets(named.budgets, named.model_names, faults)


def _known(name: str, names: Collection[str], what: str, path: KeyPath, faults: FaultList) -> None:
    if name not in names:
        defined = ", ".join(sorted(names)[:10]) or "none"
        faults.add(path, f"no {what} is called {name!r}; defined: {defined}", suggest(name, names))


def _providers_of_models(models: Mapping[str, ModelSection]) -> Iterator[tuple[KeyPath, str]]:
    for name, model in models.items():
        if not model.deployments:
            yield ("models", name, "provider"), model.provider
        for index, place in enumerate(model.deployments):
            yield ("models", name, "deployments", index, "provider"), place.provider


def _tiers_of_policies(policies: Mapping[str, PolicySection]) -> Iterator[tuple[KeyPath, str]]:
    for name, policy in policies.items():
        yield ("policies", name, "tier"), policy.tier
        if policy.degrade_to is not None:
            yield ("policies", name, "degrade_to"), policy.degrade_to
        for index, rule in enumerate(policy.rules):
            yield ("policies", name, "rules", index, "tier"), rule.tier


def _check_needed(named: Named, faults: FaultList) -> None:
    """Without these nothing could be answered."""
    for section, names in (
        ("providers", named.provider_names),
        ("models", named.model_names),
        ("tiers", named.tier_names),
    ):
        if not names:
            faults.add((section,), f"at least one [{section}.NAME] is needed")
    if DEFAULT_POLICY not in named.policy_names:
        close = suggest(DEFAULT_POLICY, named.policy_names)
        hint = f"; is [policies.{close}] meant to be it?" if close else ""
        message = f"[policies.{DEFAULT_POLICY}] is needed: it serves the model name {AUTO!r}"
        faults.add(("policies",), message + hint)


def _check_client_names(models: Mapping[str, ModelSection], faults: FaultList) -> None:
    taken: dict[str, str] = {}
    for path, name, model in _client_names(models):
        if name == AUTO or name.startswith((AUTO_PREFIX, TIER_PREFIX)):
            message = f"{name!r} is reserved: clients ask for policies and tiers with such names"
            faults.add(path, message)
        elif name in taken:
            faults.add(path, f"{name!r} already means model {taken[name]!r}")
        else:
            taken[name] = model


def _client_names(models: Mapping[str, ModelSection]) -> Iterator[tuple[KeyPath, str, str]]:
    """Every name a client can ask for: the models' own first, then aliases still in force."""
    for name in models:
        yield ("models", name), name, name
    for name, alias, index in standing_aliases(models):
        yield ("models", name, "aliases", index), alias, name


def standing_aliases(models: Mapping[str, ModelSection]) -> Iterator[tuple[str, str, int]]:
    """Model, alias and its position, without the aliases that stand-ins give up.

    A stand-in answers to a name only as long as no connected model has it.
    """
    connected = {
        alias
        for name, model in models.items()
        if not model.stand_in
        for alias in (name, *model.aliases)
    }
    for name, model in models.items():
        for index, alias in enumerate(model.aliases):
            if not (model.stand_in and alias in connected):
                yield name, alias, index


def _check_budgets(
    budgets: Mapping[int, BudgetSection], model_names: Collection[str], faults: FaultList
) -> None:
    seen: set[str] = set()
    for index, section in budgets.items():
        budget = section.to_budget()
        if budget.name in seen:
            window, what = section.window.value, "" if budget.unit is Unit.USD else budget.unit
            message = f"{section.scope} already has a {what} budget".replace("  ", " ")
            faults.add(("budgets", index), f"{message} for the window {window!r}")
        seen.add(budget.name)
        nobody = nobodys_budget(budget, model_names)
        if nobody is not None:
            close = suggest(budget.scope_id, model_names)
            hint = None if close is None else f"{ScopeKind.MODEL}:{close}"
            faults.add(("budgets", index, "scope"), nobody, hint)


def nobodys_budget(budget: Budget, model_names: Collection[str]) -> str | None:
    """Why a budget for a model can never count anything; None where it can."""
    if budget.kind is not ScopeKind.MODEL or any(covers(budget, name) for name in model_names):
        return None
    defined = ", ".join(sorted(model_names)[:10]) or "none"
    return f"no model is called {budget.scope_id!r}; defined: {defined}"


def is_web_address(text: str) -> bool:
    """Whether a text is an http or https URL with a host."""
    try:
        address = urlsplit(text)
        return address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:
        return False
