"""The routing sections: read as written, checked against each other, faults with their path."""

import tomllib
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from routing.catalog import Balance, Capability, Catalog, ModelWish
from routing.config import (
    ConfigFault,
    ModelSection,
    PolicySection,
    TierSection,
    build_catalog,
    build_policies,
)
from routing.lexicon import Task
from routing.policies import Fallback, Match

CONFIG = """
[models.smollm2]
provider = "local"
upstream_model = "smollm2-135m"
price = { input = "0.01", output = 0.04 }
context_tokens = 4096
max_output_tokens = 1024
prompt_overhead_tokens = 40
capabilities = ["tools", "schema"]
aliases = ["gpt-5"]

[models.big]
provider = "openai"
price_from = "gpt-5-mini"
context_tokens = 200_000
max_output_tokens = 32_000
stand_in = true

[tiers.small]
models = ["smollm2"]

[tiers.frontier]
models = ["big", "smollm2"]

[policies.default]
tier = "small"

[[policies.default.rules]]
name = "hard-goes-frontier"
tier = "frontier"
[policies.default.rules.match]
workflow = "x*"
team = ["a", "b*"]
task = ["code", "math"]
difficulty_min = 0.6
schema = true
pressure_max = 0.95

[policies.night]
tier = "frontier"
fallback = "none"
degrade_to = "small"
"""


def read(text: str = CONFIG) -> dict[str, Any]:
    return tomllib.loads(text, parse_float=Decimal)


def catalog_of(raw: dict[str, Any]) -> Catalog:
    models = {name: ModelSection.model_validate(table) for name, table in raw["models"].items()}
    tiers = {name: TierSection.model_validate(table) for name, table in raw["tiers"].items()}
    return build_catalog(models, tiers, {"local": None, "openai": ["chat"]})


def fault_of(raw: dict[str, Any]) -> ConfigFault:
    with pytest.raises(ConfigFault) as caught:
        policies = {
            name: PolicySection.model_validate(table) for name, table in raw["policies"].items()
        }
        build_policies(policies, catalog_of(raw))
    return caught.value


def test_models_and_tiers_become_a_catalog() -> None:
    catalog = catalog_of(read())
    small, big = catalog.models["smollm2"], catalog.models["big"]
    assert (small.upstream_model, small.prompt_overhead_tokens) == ("smollm2-135m", 40)
    assert small.capabilities == {Capability.TOOLS, Capability.SCHEMA}
    assert catalog.resolve("gpt-5") == ModelWish("smollm2")
    assert (big.upstream_model, big.price_model, big.stand_in) == ("big", "big", True)
    assert [(tier.name, tier.rank) for tier in catalog.tiers] == [("small", 1), ("frontier", 2)]


def test_policies_become_rules_in_order() -> None:
    raw = read()
    sections = {name: PolicySection.model_validate(t) for name, t in raw["policies"].items()}
    built = build_policies(sections, catalog_of(raw))
    (rule,) = built["default"].rules
    assert rule.match == Match(
        workflow=("x*",),
        team=("a", "b*"),
        task=(Task.CODE, Task.MATH),
        difficulty_min=0.6,
        schema=True,
        pressure_max=0.95,
    )
    assert built["default"].weighs_pressure
    assert (built["default"].fallback, built["default"].degrade_to) == (Fallback.UP, "")
    assert (built["night"].fallback, built["night"].degrade_to) == (Fallback.NONE, "small")


def deployed(*deployments: dict[str, Any], **keys: Any) -> dict[str, Any]:
    raw = read()
    big = raw["models"]["big"]
    del big["provider"]
    big.pop("upstream_model", None)
    raw["models"]["big"] = {**big, "deployments": list(deployments), **keys}
    return raw


def test_deployments_become_places_of_one_model() -> None:
    raw = deployed(
        {"provider": "openai", "weight": 3},
        {"provider": "local", "upstream_model": "big-q4"},
        balance="weighted",
    )
    big = catalog_of(raw).models["big"]
    assert (big.provider, big.upstream_model) == ("openai", "big")
    places = [(one.provider, one.upstream_model, one.weight) for one in big.places]
    assert places == [("openai", "big", 3), ("local", "big-q4", 1)]
    assert {one.balance for one in big.places} == {Balance.WEIGHTED}
    assert catalog_of(read()).models["big"].places == (catalog_of(read()).models["big"],)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (deployed({"provider": "local"}, provider="local"), "has both provider and deployments"),
        (deployed({"provider": "local"}, upstream_model="x"), "has both upstream_model and"),
        (deployed(), "deployments is empty"),
        (deployed({"provider": "local"}, balance="latency"), "list two or more"),
        (
            deployed({"provider": "local", "weight": 2}, {"provider": "openai"}),
            'counts only with balance = "weighted"',
        ),
        (deployed({"provider": "local", "weight": 0}), "greater than or equal to 1"),
        (deployed({"upstream_model": "x"}), "Field required"),
        (deployed({"provider": "local", "wieght": 2}), "Extra inputs"),
    ],
)
def test_deployments_that_contradict_themselves_are_refused(
    raw: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        catalog_of(raw)


def test_a_deployment_at_nobodys_or_given_twice_is_named() -> None:
    with pytest.raises(ConfigFault) as caught:
        catalog_of(deployed({"provider": "local"}, {"provider": "opnai"}))
    assert caught.value.path == ("models", "big", "deployments", 1, "provider")
    assert caught.value.suggestion == "openai"
    with pytest.raises(ConfigFault, match="is a deployment of 'big' already") as caught:
        catalog_of(deployed({"provider": "local"}, {"provider": "local"}))
    assert caught.value.path == ("models", "big", "deployments", 1)


def test_a_last_resort_is_a_model_that_is_there() -> None:
    raw = read()
    raw["policies"]["default"]["last_resort"] = "smolm2"
    fault = fault_of(raw)
    assert fault.path == ("policies", "default", "last_resort")
    assert fault.suggestion == "smollm2"


def test_no_policies_at_all_are_allowed() -> None:
    assert build_policies({}, catalog_of(read())) == {}


def test_ranks_order_tiers() -> None:
    raw = read()
    raw["tiers"]["small"]["rank"] = 9
    assert [tier.name for tier in catalog_of(raw).tiers] == ["frontier", "small"]


def change(raw: dict[str, Any], path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    place: Any = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return raw


RULE = ("policies", "default", "rules", 0)
MATCHES_ALL = [{"name": "all", "tier": "small"}, {"name": "late", "tier": "small"}]


@pytest.mark.parametrize(
    ("path", "value", "fault_path", "suggestion"),
    [
        (("models", "big", "provider"), "openia", ("models", "big", "provider"), "openai"),
        (("tiers", "small", "models"), ["smolm2"], ("tiers", "small", "models", 0), "smollm2"),
        (("tiers", "small", "models"), ["big", "big"], ("tiers", "small", "models", 1), ""),
        (("tiers", "small", "rank"), 2, ("tiers", "frontier"), ""),
        (("policies", "default", "tier"), "smal", ("policies", "default", "tier"), "small"),
        ((*RULE, "tier"), "fronteer", (*RULE, "tier"), "frontier"),
        (("policies", "night", "degrade_to"), "smal", ("policies", "night", "degrade_to"), "small"),
        (("models", "big", "aliases"), ["gpt-5"], ("models", "big", "aliases", 0), ""),
        (("models", "big", "aliases"), ["smollm2"], ("models", "big", "aliases", 0), ""),
        (("models", "big", "aliases"), ["auto"], ("models", "big", "aliases", 0), ""),
        (("models", "tier:x"), read()["models"]["big"], ("models", "tier:x"), ""),
        (("policies", "default", "rules"), MATCHES_ALL, (*RULE, "match"), ""),
        (
            ("policies", "default", "rules"),
            [{**read()["policies"]["default"]["rules"][0]} for _ in range(2)],
            ("policies", "default", "rules", 1, "name"),
            "",
        ),
    ],
)
def test_a_bad_reference_is_a_fault_with_its_path(
    path: tuple[str | int, ...], value: object, fault_path: tuple[str | int, ...], suggestion: str
) -> None:
    fault = fault_of(change(read(), path, value))
    assert fault.path == fault_path
    assert fault.suggestion == suggestion
    assert str(fault) == fault.message != ""


def test_policies_need_a_default() -> None:
    raw = read()
    raw["policies"]["defualt"] = raw["policies"].pop("default")
    fault = fault_of(raw)
    assert (fault.path, fault.suggestion) == (("policies",), "defualt")


@pytest.mark.parametrize(
    ("section", "table", "said"),
    [
        (ModelSection, {"max_output_tokens": 5000}, "must not exceed context_tokens"),
        (ModelSection, {"capabilities": ["telepathy"]}, "'tools'"),
        (ModelSection, {"context_tokens": 0}, "greater than or equal to 1"),
        (ModelSection, {"colour": "red"}, "Extra inputs"),
        (ModelSection, {"price_from": "x"}, "not both"),
        (TierSection, {"models": []}, "at least 1"),
        (PolicySection, {"tier": "small", "fallback": "sideways"}, "'up'"),
        (PolicySection, {"tier": "a", "rules": [{"name": "a b", "tier": "a"}]}, "pattern"),
    ],
)
def test_a_section_alone_is_checked(
    section: type[ModelSection | TierSection | PolicySection], table: dict[str, Any], said: str
) -> None:
    base = read()["models"]["smollm2"] if section is ModelSection else {}
    with pytest.raises(ValidationError, match=said):
        section.model_validate({**base, **table})


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ({"difficulty_min": 0.7, "difficulty_max": 0.6}, "difficulty_min must not exceed"),
        ({"prompt_tokens_min": 7, "prompt_tokens_max": 6}, "prompt_tokens_min must not exceed"),
        ({"pressure_min": 0.7, "pressure_max": 0.6}, "pressure_min must not exceed"),
        ({"pressure_max": 80}, "less than or equal to 1"),
        ({"difficulty_min": 1.1}, "less than or equal to 1"),
        ({"task": "cooking"}, "'chat'"),
        ({"workflow": ""}, "at least 1 character"),
        ({"schema_": True}, "Extra inputs"),
    ],
)
def test_a_match_that_cannot_be_meant_is_refused(match: dict[str, Any], said: str) -> None:
    rule = {"name": "r", "tier": "small", "match": match}
    with pytest.raises(ValidationError, match=said):
        PolicySection.model_validate({"tier": "small", "rules": [rule]})


def test_a_model_speaks_what_every_place_of_it_speaks() -> None:
    raw = deployed({"provider": "openai"}, {"provider": "local"})
    models = {name: ModelSection.model_validate(table) for name, table in raw["models"].items()}
    tiers = {name: TierSection.model_validate(table) for name, table in raw["tiers"].items()}

    def spoken(**providers: tuple[str, ...] | None) -> frozenset[str] | None:
        return build_catalog(models, tiers, providers).models["big"].dialects

    assert spoken(openai=("chat", "responses"), local=("chat",)) == {"chat"}
    assert spoken(openai=("chat",), local=None) == {"chat"}
    assert spoken(openai=None, local=None) is None
