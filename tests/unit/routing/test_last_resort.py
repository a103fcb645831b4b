"""The last resort stands behind the candidates, and alone where nothing else can be reached."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from routing.candidates import Quote
from routing.catalog import Catalog, ModelWish, RejectionCode, TierWish
from routing.decide import NoRoute, RouteDecision, decide
from routing.health import Health
from routing.policies import Fallback, Policy, RouteRequest

MakeRequest = Callable[..., RouteRequest]
CEILINGS = {"ant": 10, "bee": 20, "cat": 100, "elk": 900, "fox": 1_000, "owl": 5}
EVERYTHING = ("ant", "bee", "cat", "elk", "fox")


def route(
    request: RouteRequest,
    catalog: Catalog,
    last: str = "owl",
    down: tuple[str, ...] = (),
    headroom_nano: int | None = None,
    fallback: Fallback = Fallback.UP,
) -> RouteDecision | NoRoute:
    policies: Mapping[str, Policy] = {
        "default": Policy("default", "small", fallback=fallback, last_resort=last)
    }
    health = Health()
    for name in down:
        health = health.with_ready(f"{name}-provider", "loading")
    return decide(
        request,
        catalog,
        policies,
        health,
        lambda card: Quote(CEILINGS[card.name], 100),
        headroom_nano,
        0,
    )


def decided(*given: object, **more: object) -> RouteDecision:
    found = route(*given, **more)  # type: ignore[arg-type]
    assert isinstance(found, RouteDecision), found
    return found


def kept(decision: RouteDecision) -> list[str]:
    return [candidate.model.name for candidate in decision.candidates]


def test_it_comes_after_the_candidates_of_the_tier(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(), catalog)
    assert kept(decision) == ["ant", "bee", "owl"]
    assert (decision.last_resort, decision.tier) == ("owl", "small")
    assert decision.evidence()["last_resort"] == "owl"
    assert {no.model for no in decision.rejected} == {"cat", "elk", "fox"}


def test_what_is_reserved_covers_it(catalog: Catalog, make_request: MakeRequest) -> None:
    assert decided(make_request(), catalog, last="fox").ceiling_nano == 1_000


def test_a_candidate_of_the_tier_is_not_kept_twice(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(), catalog, last="bee")
    assert kept(decision) == ["ant", "bee"]
    assert decision.last_resort == ""


def test_alone_it_answers_where_everything_is_down(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(), catalog, down=EVERYTHING)
    assert kept(decision) == ["owl"]
    assert decision.tier == ""
    assert decision.reason.endswith("; nothing else can answer: last resort owl")


@pytest.mark.parametrize("wish", [ModelWish("ant"), TierWish("small")])
def test_who_names_a_model_or_a_tier_gets_no_other(
    catalog: Catalog, make_request: MakeRequest, wish: ModelWish | TierWish
) -> None:
    assert "owl" not in kept(decided(make_request(wish), catalog))
    assert isinstance(route(make_request(wish), catalog, down=EVERYTHING), NoRoute)


def test_it_must_be_up_able_and_affordable_itself(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    assert kept(decided(make_request(), catalog, down=("owl",))) == ["ant", "bee"]
    assert kept(decided(make_request(tools=True), catalog)) == ["bee"]
    assert isinstance(route(make_request(), catalog, down=(*EVERYTHING, "owl")), NoRoute)
    decision = decided(make_request(), catalog, last="elk", headroom_nano=50)
    assert kept(decision) == ["ant", "bee"]
    lost = {no.model: no.code for no in decision.rejected}
    assert lost["elk"] is RejectionCode.OVER_HEADROOM


def test_where_money_is_missing_and_nothing_is_down_it_plays_no_part(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(), catalog, headroom_nano=7)
    assert (decision.over_headroom, kept(decision)) == (True, ["ant"])


def test_it_keeps_its_turn_where_attempts_are_few(
    catalog: Catalog, make_request: MakeRequest
) -> None:
    decision = decided(make_request(), catalog)
    named = {
        attempts: [one.model.name for one in decision.in_turn(attempts)] for attempts in (1, 2, 3)
    }
    assert named == {1: ["ant", "owl"], 2: ["ant", "owl"], 3: ["ant", "bee", "owl"]}
    plain = replace(decision, last_resort="")
    assert [one.model.name for one in plain.in_turn(2)] == ["ant", "bee"]


def test_without_it_the_decision_has_none(catalog: Catalog, make_request: MakeRequest) -> None:
    decision = decided(make_request(), catalog).without("owl", "its own budget")
    assert (kept(decision), decision.last_resort) == (["ant", "bee"], "")
