"""What a whole request notices of a budget that acts before its limit (gateway.lifecycle)."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from budgets.actions import Action, Threshold
from budgets.scopes import Budget, ScopeKind, Window
from gateway.desk import Desk
from routing.catalog import Catalog, Tier
from routing.policies import Match, Policy, Rule
from telemetry.event import Ending, EventKind
from tests.unit.gateway.desks import (
    INPUT_NANO,
    ask,
    assert_at_rest,
    chat,
    events,
    make_desk,
    run,
    scripted,
)


def two_tiers(*at: tuple[int, Action], limit_nano: int, policy: Policy | None = None) -> Desk:
    """Provider `cheap` in tier small, `dear` in tier frontier, which the policy prefers."""
    desk = make_desk({"cheap": scripted(say="one"), "dear": scripted(say="one")})
    cards = desk.catalog.models.values()
    tiers = [Tier("small", 1, ("model-cheap",)), Tier("frontier", 2, ("model-dear",))]
    entries = tuple(Threshold(*entry) for entry in at)
    desk.budgets.change([Budget(ScopeKind.TEAM, "lab", Window.MONTH, limit_nano, at=entries)])
    return replace(
        desk,
        catalog=Catalog(cards, tiers),
        policies={"default": policy or Policy("default", "frontier")},
        tier_of={"model-cheap": "small", "model-dear": "frontier"},
    )


BODY = chat("a b", max_tokens=2)
# The request above is billed for two tokens in and one out.
COST_NANO = 4 * INPUT_NANO
LIMIT_NANO = 100 * COST_NANO


def evidence(desk: Desk) -> dict[str, Any]:
    found = orjson.loads(events(desk)[-1].decision_json)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_auto_is_degraded_from_the_share_on_and_told_so(stream: bool) -> None:
    desk = two_tiers((10, Action.DEGRADE), limit_nano=LIMIT_NANO)
    body = chat("a b", max_tokens=2, stream=stream)
    first = run(ask(desk, body))
    assert (first.header(b"x-weir-tier"), first.header(b"x-weir-degraded")) == (b"frontier", None)
    second = run(ask(desk, body))
    assert second.header(b"x-weir-tier") == b"small"
    assert second.header(b"x-weir-degraded") == b"team:lab/month"
    assert second.header(b"x-weir-reason") == (
        b"policy default: no rule matched, tier frontier; "
        b"budget team:lab/month at 1 %: tier frontier -> small"
    )
    one, two = events(desk)
    assert (one.tier, two.tier, two.model) == ("frontier", "small", "model-cheap")
    assert "degraded" not in orjson.loads(one.decision_json)
    assert evidence(desk)["degraded"] == {
        "budget": "team:lab/month",
        "scope": "team:lab",
        "used": 0.01,
        "from_tier": "frontier",
        "to_tier": "small",
    }
    assert_at_rest(desk)


@pytest.mark.parametrize("model", ["model-dear", "tier:frontier"])
def test_what_a_client_names_is_not_degraded(model: str) -> None:
    desk = two_tiers((10, Action.DEGRADE), limit_nano=LIMIT_NANO)
    run(ask(desk, BODY))
    client = run(ask(desk, chat("a b", max_tokens=2, model=model)))
    assert (client.header(b"x-weir-tier"), client.header(b"x-weir-degraded")) == (b"frontier", None)


def test_a_budget_that_is_set_and_taken_back_holds_from_the_next_request_on() -> None:
    desk = two_tiers((10, Action.DEGRADE), limit_nano=LIMIT_NANO)
    asking = desk.budgets.budgets
    run(ask(desk, BODY))
    tiers = []
    for budgets in (asking, [replace(asking[0], at=())], asking):
        desk.budgets.change(budgets)
        tiers.append(run(ask(desk, BODY)).header(b"x-weir-tier"))
    assert tiers == [b"small", b"frontier", b"small"]


def test_a_rule_sees_the_pressure_of_budgets_that_ask_for_nothing() -> None:
    frugal = Rule("frugal", Match(pressure_min=0.01), "small")
    policy = Policy("default", "frontier", (frugal,))
    desk = two_tiers(limit_nano=LIMIT_NANO, policy=policy)
    assert run(ask(desk, BODY)).header(b"x-weir-tier") == b"frontier"
    client = run(ask(desk, BODY))
    assert (client.header(b"x-weir-tier"), client.header(b"x-weir-degraded")) == (b"small", None)
    assert client.header(b"x-weir-reason") == (
        b"policy default: rule frugal (pressure 0.01 >= 0.01)"
    )


def test_a_lowered_share_refuses_with_its_name_and_leaves_the_rest_of_the_limit() -> None:
    desk = two_tiers((500, Action.REFUSE), limit_nano=2_000_000)
    refused = run(ask(desk, chat("word " * 100, max_tokens=300)))
    assert (refused.status, refused.error["code"]) == (402, "budget_exceeded")
    assert (refused.error["refuse_at"], refused.error["limit_usd"]) == (0.5, "0.002000000")
    assert refused.error["remaining_usd"] == "0.001000000"
    assert "refuses beyond 50 % of it, $0.001000000" in refused.error["message"]
    [event] = events(desk)
    assert (event.kind, event.ending) == (EventKind.REFUSAL, Ending.REFUSED)
    desk.budgets.change([replace(desk.budgets.budgets[0], at=())])
    assert run(ask(desk, chat("word " * 100, max_tokens=300))).status == 200
    assert_at_rest(desk)
