"""Decisions: who is chosen, who could step in, and why everybody else is out."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing.candidates import Quote
from routing.catalog import (
    Auto,
    Catalog,
    ModelWish,
    RejectionCode,
    Requested,
    TierWish,
    Unknown,
)
from routing.decide import REASON_CHARS, NoRoute, NoRouteCode, RouteDecision, decide
from routing.health import Health
from routing.lexicon import Task
from routing.policies import Fallback, Match, Policy, RouteRequest, Rule, policies_by_name
from tests.unit.routing.conftest import down

MakeRequest = Callable[..., RouteRequest]

CEILINGS = {"ant": 10, "bee": 20, "cat": 100, "elk": 900, "fox": 1_000, "owl": 5}
HARD = Rule("hard", Match(difficulty_min=0.6), "large")


def policies(fallback: Fallback = Fallback.UP, *rules: Rule) -> Mapping[str, Policy]:
    return policies_by_name([Policy("default", "small", rules or (HARD,), fallback)])


def route(request: RouteRequest, catalog: Catalog, **given: Any) -> RouteDecision | NoRoute:
    ceilings = {**CEILINGS, **given.get("ceilings", {})}
    return decide(
        request,
        catalog,
        given.get("policies", policies()),
        given.get("health", Health()),
        lambda card: Quote(ceilings[card.name], 100),
        given.get("headroom_nano"),
        given.get("now_ms", 0),
    )


def decided(request: RouteRequest, catalog: Catalog, **given: Any) -> RouteDecision:
    found = route(request, catalog, **given)
    assert isinstance(found, RouteDecision), found
    return found


def refused(request: RouteRequest, catalog: Catalog, **given: Any) -> NoRoute:
    found = route(request, catalog, **given)
    assert isinstance(found, NoRoute), found
    return found


def kept(decision: RouteDecision) -> list[str]:
    return [candidate.model.name for candidate in decision.candidates]


def codes(found: RouteDecision | NoRoute) -> dict[str, str]:
    return {rejection.model: rejection.code.value for rejection in found.rejected}


def test_an_easy_request_goes_to_the_policys_tier(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(), catalog)
    assert kept(decision) == ["ant", "bee"]
    assert (decision.tier, decision.policy, decision.rule) == ("small", "default", "")
    assert decision.reason == "policy default: no rule matched, tier small"


def test_a_hard_request_goes_where_the_rule_says(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(difficulty=0.72), catalog)
    assert decision.model.name == "elk"
    assert decision.reason == "policy default: rule hard (difficulty 0.72 >= 0.6)"
    assert decision.conditions == ("difficulty 0.72 >= 0.6",)


def test_rules_passed_over_are_part_of_the_evidence(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    assert decided(make_request(), catalog).missed_rules == (("hard", "difficulty 0.3 < 0.6"),)


def test_the_dearest_candidate_sets_the_reserve(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(), catalog, ceilings={"ant": 30})
    assert decision.model.name == decision.reserve.model.name == "ant"
    assert decision.ceiling_nano == 30
    assert decided(make_request(), catalog).reserve.model.name == "bee"


@pytest.mark.parametrize("name", ["ant", "owl"])
def test_a_model_the_client_names_has_no_substitute(
    catalog: Catalog, make_request: MakeRequest, name: str
) -> None:
    request = make_request(ModelWish(name), difficulty=0.9)
    decision = decided(request, catalog)
    assert kept(decision) == [name]
    assert decision.reason == f"client named model {name}"
    refusal = refused(request, catalog, health=down(name))
    assert refusal.code is NoRouteCode.PROVIDER_DOWN
    assert set(codes(refusal)) == set(catalog.models)


def test_a_named_tier_is_not_left(catalog: Catalog, make_request: MakeRequest) -> None:
    request = make_request(TierWish("medium"))
    assert kept(decided(request, catalog)) == ["cat"]
    refusal = refused(request, catalog, health=down("cat"))
    assert codes(refusal)["elk"] == RejectionCode.NOT_ASKED


def test_a_tier_without_a_candidate_is_climbed_and_said(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(schema=True), catalog)
    assert kept(decision) == ["cat"]
    assert decision.tiers_tried == ("small", "medium")
    assert decision.reason.endswith("; small had no candidate, went to medium")
    assert codes(decision)["ant"] == RejectionCode.CAPABILITY_MISSING
    far = decided(make_request(images=1), catalog)
    assert far.tiers_tried == ("small", "medium", "large")


def test_fallback_none_stays(catalog: Catalog, make_request: MakeRequest) -> None:
    refusal = refused(make_request(schema=True), catalog, policies=policies(Fallback.NONE))
    assert refusal.code is NoRouteCode.CAPABILITY_MISSING
    assert refusal.policy == "default"
    assert "ant: lacks schema; bee: lacks schema" in refusal.message


def test_fallback_any_goes_down_after_up(catalog: Catalog, make_request: MakeRequest) -> None:
    request = make_request(difficulty=0.9)
    health = down("elk", "fox")
    assert refused(request, catalog, health=health).code is NoRouteCode.PROVIDER_DOWN
    decision = decided(request, catalog, health=health, policies=policies(Fallback.ANY))
    assert decision.tiers_tried == ("large", "medium")
    lower = decided(
        request, catalog, health=down("elk", "fox", "cat"), policies=policies(Fallback.ANY)
    )
    assert lower.tiers_tried == ("large", "medium", "small")


def test_a_dear_model_gives_way_to_one_the_headroom_bears(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(difficulty=0.9), catalog, headroom_nano=950)
    assert kept(decision) == ["elk"]
    assert codes(decision)["fox"] == RejectionCode.OVER_HEADROOM
    assert not decision.over_headroom


def test_where_only_money_is_missing_the_cheapest_is_decided_for_the_ledger_to_refuse(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(difficulty=0.9), catalog, headroom_nano=3)
    assert decision.over_headroom
    assert kept(decision) == ["elk"]
    assert decision.reason.endswith("; over headroom, cheapest of 2")
    assert set(codes(decision)) == set(catalog.models) - {"elk"}
    climbed = decided(make_request(), catalog, headroom_nano=3)
    assert (kept(climbed), climbed.tier) == (["ant"], "small")


def test_a_named_model_over_headroom_is_decided_too(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(ModelWish("fox")), catalog, headroom_nano=0)
    assert kept(decision) == ["fox"]
    assert decision.over_headroom


def test_unknown_models_and_policies_are_answered_with_what_was_meant(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    unknown = refused(make_request(Unknown("antt", ("ant",))), catalog)
    assert unknown.code is NoRouteCode.UNKNOWN_MODEL
    assert unknown.message == "no model is called 'antt'; did you mean 'ant'?"
    policy = refused(make_request(Auto("defualt")), catalog)
    assert policy.code is NoRouteCode.UNKNOWN_POLICY
    assert policy.message == "no policy is called 'defualt'; did you mean 'default'?"


@pytest.mark.parametrize(
    ("ceilings", "features", "health", "code"),
    [
        (dict.fromkeys(CEILINGS), {}, Health(), NoRouteCode.PRICE_UNKNOWN),
        ({}, {"prompt_tokens": 10**6}, Health(), NoRouteCode.CONTEXT_EXCEEDED),
        ({}, {"prompt_tokens": 10**6}, down("ant"), NoRouteCode.PROVIDER_DOWN),
        ({"ant": None}, {"prompt_tokens": 10**6}, Health(), NoRouteCode.NO_CANDIDATE),
    ],
)
def test_the_code_is_the_models_common_one_or_what_may_pass(
    catalog: Catalog,
    make_request: MakeRequest,
    ceilings: dict[str, int | None],
    features: dict[str, Any],
    health: Health,
    code: NoRouteCode,
) -> None:
    refusal = refused(make_request(**features), catalog, ceilings=ceilings, health=health)
    assert refusal.code is code
    assert set(codes(refusal)) == set(catalog.models)


def test_the_reason_is_one_ascii_line_whatever_the_names(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    rule = Rule("r", Match(workflow=("prüf\n*", "*")), "large")
    decision = decided(
        make_request(workflow="x\r\ny"), catalog, policies=policies(Fallback.UP, rule)
    )
    assert decision.reason == "policy default: rule r (workflow matches pr?f?*|*)"
    long = Rule("r", Match(workflow=("*" * 500,)), "large")
    cut = decided(make_request(), catalog, policies=policies(Fallback.UP, long)).reason
    assert len(cut) == REASON_CHARS


requests = st.fixed_dictionaries(
    {
        "task": st.sampled_from(Task),
        "difficulty": st.floats(0, 1),
        "prompt_tokens": st.sampled_from([10, 7_900, 50_000, 10**6]),
        "tools": st.integers(0, 1),
        "images": st.integers(0, 1),
        "schema": st.booleans(),
    }
)
wishes = st.sampled_from([Auto(), TierWish("small"), TierWish("large"), *map(ModelWish, CEILINGS)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wish=wishes,
    fields=requests,
    broken=st.sets(st.sampled_from(sorted(CEILINGS))),
    unpriced=st.sets(st.sampled_from(sorted(CEILINGS))),
    headroom_nano=st.none() | st.integers(0, 1_200),
    fallback=st.sampled_from(Fallback),
)
def test_every_model_is_a_candidate_or_rejected_with_a_reason(
    catalog: Catalog,
    make_request: MakeRequest,
    wish: Requested,
    fields: dict[str, Any],
    broken: set[str],
    unpriced: set[str],
    headroom_nano: int | None,
    fallback: Fallback,
) -> None:
    given = {
        "health": down(*broken),
        "ceilings": dict.fromkeys(unpriced),
        "headroom_nano": headroom_nano,
        "policies": policies(fallback),
    }
    found = route(make_request(wish, **fields), catalog, **given)
    names = kept(found) if isinstance(found, RouteDecision) else []
    listed = names + [rejection.model for rejection in found.rejected]
    assert sorted(listed) == sorted(catalog.models)
    assert all(rejection.why for rejection in found.rejected)
    orjson.dumps(found.evidence())
    if isinstance(found, RouteDecision):
        assert not set(names) & (broken | unpriced)
        assert found.ceiling_nano == max(CEILINGS[name] for name in names)
        if headroom_nano is not None and not found.over_headroom:
            assert found.ceiling_nano <= headroom_nano
        if isinstance(wish, ModelWish):
            assert names == [wish.model]
    assert route(make_request(wish, **fields), catalog, **given) == found


def test_the_evidence_is_plain_json(catalog: Catalog, make_request: MakeRequest) -> None:
    decision = decided(make_request(difficulty=0.9), catalog, headroom_nano=950)
    evidence = orjson.loads(orjson.dumps(decision.evidence()))
    assert evidence["model"] == "elk"
    assert evidence["candidates"] == [{"model": "elk", "ceiling_nano": 900, "output_tokens": 100}]
    assert evidence["rejected"][0] == {
        "model": "fox",
        "code": "over_headroom",
        "why": "costs up to 1000 nano-USD and 950 are left",
    }
    refusal = refused(make_request(ModelWish("ant"), images=1), catalog)
    assert refusal.evidence()["no_route"] == "capability_missing"


def speaking(catalog: Catalog, **dialects: str) -> Catalog:
    cards = [
        replace(card, dialects=frozenset(dialects.get(card.name, "chat").split()))
        for card in catalog.models.values()
    ]
    return Catalog(cards, catalog.tiers)


def test_a_request_goes_where_its_dialect_is_spoken(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    request = replace(make_request(), dialect="messages")
    decision = decided(request, speaking(catalog, bee="chat messages"))
    assert kept(decision) == ["bee"]
    assert codes(decision)["ant"] == RejectionCode.DIALECT
    further = decided(request, speaking(catalog, elk="messages"))
    assert (further.model.name, further.tier) == ("elk", "large")


def test_where_no_model_speaks_the_dialect_the_refusal_names_those_that_do(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    request = replace(make_request(requested=ModelWish("ant")), dialect="messages")
    refusal = refused(request, speaking(catalog, owl="messages"))
    assert refusal.code is NoRouteCode.DIALECT
    assert "ant-provider does not speak messages" in refusal.message
    assert refusal.message.endswith("Models that speak messages: owl (owl-provider).")
    nobody = refused(request, speaking(catalog))
    assert nobody.message.endswith("No model here speaks messages.")
