"""A budget that is nearly used up moves `auto` to a cheaper tier, and nothing else anywhere."""

from collections.abc import Callable, Mapping

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budgets.thresholds import Crossed, Pressure
from routing.candidates import Quote
from routing.catalog import Auto, Catalog, ModelWish, Requested, TierWish
from routing.decide import NoRoute, RouteDecision, decide
from routing.degrade import Degraded, cheaper_tier, degrade_words
from routing.health import Health
from routing.policies import Fallback, Match, Policy, RouteRequest, Rule, policies_by_name
from tests.unit.routing.conftest import down

MakeRequest = Callable[..., RouteRequest]
CEILINGS = {"ant": 10, "bee": 20, "cat": 100, "elk": 900, "fox": 1_000, "owl": 5}
MONTH = Crossed("team:lab/month", "team:lab", 920, 900)
STRAINED = Pressure(950, MONTH)


def policies(
    tier: str = "large",
    fallback: Fallback = Fallback.UP,
    degrade_to: str = "",
    rules: tuple[Rule, ...] = (),
) -> Mapping[str, Policy]:
    return policies_by_name([Policy("default", tier, rules, fallback, degrade_to)])


def route(
    request: RouteRequest,
    catalog: Catalog,
    of: Mapping[str, Policy],
    health: Health | None = None,
    headroom_nano: int | None = None,
) -> RouteDecision | NoRoute:
    def quote(card: object) -> Quote:
        return Quote(CEILINGS[card.name], 100)  # type: ignore[attr-defined]

    return decide(request, catalog, of, health or Health(), quote, headroom_nano, 0)


def decided(
    request: RouteRequest, catalog: Catalog, of: Mapping[str, Policy], health: Health | None = None
) -> RouteDecision:
    found = route(request, catalog, of, health)
    assert isinstance(found, RouteDecision), found
    return found


# -- which tier -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "degrade_to", "expected"),
    [
        ("large", "", "medium"),
        ("medium", "", "small"),
        ("small", "", "small"),
        ("large", "small", "small"),
        ("large", "medium", "medium"),
        ("medium", "medium", "medium"),
        ("medium", "large", "medium"),
        ("small", "medium", "small"),
    ],
)
def test_a_request_moves_to_the_next_cheaper_tier_or_the_named_one_and_never_up(
    catalog: Catalog, chosen: str, degrade_to: str, expected: str
) -> None:
    assert cheaper_tier(catalog, chosen, degrade_to) == expected


def test_the_words_name_budget_share_and_both_tiers() -> None:
    assert degrade_words(MONTH, "frontier", "small") == (
        "budget team:lab/month at 92 %: tier frontier -> small"
    )
    precise = Crossed("key:*/24h", "key:demo", 1_005, 900)
    assert degrade_words(precise, "a", "b") == "budget key:*/24h at 100.5 %: tier a -> b"


# -- decisions --------------------------------------------------------------------------------


def test_auto_gets_a_cheaper_tier_and_is_told_why(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(pressure=STRAINED), catalog, policies())
    assert (decision.tier, decision.model.name) == ("medium", "cat")
    assert decision.reason == (
        "policy default: no rule matched, tier large; "
        "budget team:lab/month at 92 %: tier large -> medium"
    )
    assert decision.degraded == Degraded("team:lab/month", "team:lab", 920, "large", "medium")
    assert decision.tiers_tried == ("medium",)
    assert orjson.loads(orjson.dumps(decision.evidence()))["degraded"] == {
        "budget": "team:lab/month",
        "scope": "team:lab",
        "used": 0.92,
        "from_tier": "large",
        "to_tier": "medium",
    }


def test_a_policy_may_say_which_tier_that_is(catalog: Catalog, make_request: MakeRequest) -> None:
    decision = decided(make_request(pressure=STRAINED), catalog, policies(degrade_to="small"))
    assert (decision.tier, decision.model.name) == ("small", "ant")
    assert decision.reason.endswith(": tier large -> small")


@pytest.mark.parametrize("pressure", [None, Pressure(0), Pressure(1_000)])
def test_without_a_share_for_it_pressure_changes_no_tier(
    catalog: Catalog, make_request: MakeRequest, pressure: Pressure | None
) -> None:
    decision = decided(make_request(pressure=pressure), catalog, policies())
    assert (decision.tier, decision.degraded) == ("large", None)
    assert "degraded" not in decision.evidence()


@pytest.mark.parametrize("wish", [ModelWish("elk"), TierWish("large")])
def test_what_a_client_names_it_gets(
    catalog: Catalog, make_request: MakeRequest, wish: Requested
) -> None:
    decision = decided(make_request(wish, pressure=STRAINED), catalog, policies())
    assert (decision.model.name, decision.degraded) == ("elk", None)
    assert "budget" not in decision.reason


def test_the_cheapest_tier_stays_and_says_nothing(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(pressure=STRAINED), catalog, policies("small"))
    assert (decision.tier, decision.degraded) == ("small", None)
    assert "budget" not in decision.reason


def test_the_rule_that_matched_is_kept_and_its_tier_is_what_moves(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    hard = Rule("hard", Match(difficulty_min=0.6), "large")
    request = make_request(difficulty=0.9, pressure=STRAINED)
    decision = decided(request, catalog, policies("small", rules=(hard,)))
    assert (decision.rule, decision.tier) == ("hard", "medium")
    assert decision.conditions == ("difficulty 0.9 >= 0.6",)


def test_a_rule_on_pressure_comes_first_and_the_budget_may_move_its_tier_too(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    frugal = Rule("frugal", Match(pressure_min=0.9), "medium")
    decision = decided(make_request(pressure=STRAINED), catalog, policies(rules=(frugal,)))
    assert decision.reason == (
        "policy default: rule frugal (pressure 0.95 >= 0.9); "
        "budget team:lab/month at 92 %: tier medium -> small"
    )


def test_a_policy_by_name_is_still_a_free_choice(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    of = policies_by_name([Policy("default", "small"), Policy("best", "large")])
    decision = decided(make_request(Auto("best"), pressure=STRAINED), catalog, of)
    assert decision.tier == "medium"


# -- where the cheaper tier cannot serve ------------------------------------------------------


@pytest.mark.parametrize("fallback", Fallback)
def test_a_cheaper_tier_that_cannot_serve_gives_way_to_the_chosen_one(
    catalog: Catalog, make_request: MakeRequest, fallback: Fallback
) -> None:
    of = policies(fallback=fallback, degrade_to="small")
    decision = decided(make_request(images=1, pressure=STRAINED), catalog, of)
    assert (decision.tier, decision.model.name) == ("large", "elk")
    assert decision.degraded is None, "it has the tier that the policy chose"
    assert decision.reason.endswith("tier large -> small; small had no candidate, went to large")


def test_a_tier_between_is_still_a_cheaper_one(catalog: Catalog, make_request: MakeRequest) -> None:
    of = policies(degrade_to="small")
    decision = decided(make_request(schema=True, pressure=STRAINED), catalog, of)
    assert decision.tiers_tried == ("small", "medium")
    assert decision.degraded == Degraded("team:lab/month", "team:lab", 920, "large", "medium")


def test_without_a_fallback_only_the_cheaper_and_the_chosen_tier_are_looked_at(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    of = policies(fallback=Fallback.NONE, degrade_to="small")
    request = make_request(pressure=STRAINED)
    decision = decided(request, catalog, of, down("ant", "bee"))
    assert decision.tiers_tried == ("small", "large")
    refusal = route(request, catalog, of, down("ant", "bee", "elk", "fox"))
    assert isinstance(refusal, NoRoute)
    assert "budget team:lab/month at 92 %" in refusal.message
    codes = {rejected.model: rejected.code.value for rejected in refusal.rejected}
    assert codes["cat"] == "not_asked"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tier=st.sampled_from(["small", "medium", "large"]),
    degrade_to=st.sampled_from(["", "small", "medium", "large"]),
    fallback=st.sampled_from(Fallback),
    broken=st.sets(st.sampled_from(sorted(CEILINGS))),
    images=st.integers(0, 1),
    headroom_nano=st.none() | st.integers(0, 1_200),
)
def test_pressure_never_costs_an_answer_and_never_makes_one_dearer(
    catalog: Catalog,
    make_request: MakeRequest,
    tier: str,
    degrade_to: str,
    fallback: Fallback,
    broken: set[str],
    images: int,
    headroom_nano: int | None,
) -> None:
    of = policies(tier, fallback, degrade_to)
    calm = route(make_request(images=images), catalog, of, down(*broken), headroom_nano)
    request = make_request(images=images, pressure=STRAINED)
    strained = route(request, catalog, of, down(*broken), headroom_nano)
    listed = [rejected.model for rejected in strained.rejected]
    if isinstance(strained, RouteDecision):
        listed += [candidate.model.name for candidate in strained.candidates]
    assert sorted(listed) == sorted(catalog.models)
    if isinstance(calm, RouteDecision):
        assert isinstance(strained, RouteDecision)
        if not calm.over_headroom:
            assert not strained.over_headroom
            rank = {tier.name: tier.rank for tier in catalog.tiers}
            assert rank[strained.tier] <= rank[calm.tier]
    if isinstance(strained, RouteDecision) and strained.degraded is not None:
        assert strained.degraded.to_tier == strained.tier != tier
