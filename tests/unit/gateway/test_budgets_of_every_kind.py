"""Each kind of budget in each unit: what fits is admitted, and not a request more."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from budgets.ledger import HoldState
from budgets.money import nano_from_usd
from budgets.prices import PriceCard, make_price
from budgets.scopes import Budget, ScopeKind, Unit, Window
from gateway.desk import Desk
from telemetry.event import EventKind
from tests.unit.gateway.desks import (
    INPUT_NANO,
    INPUT_PICO,
    OUTPUT_NANO,
    OUTPUT_PICO,
    ask,
    assert_at_rest,
    chat,
    crowd,
    events,
    faulty,
    make_desk,
    run,
    scripted,
)

UNITS = (Unit.USD, Unit.TOKENS, Unit.REQUESTS)
HEADERS = (
    (b"x-weir-run", b"r1"),
    (b"x-weir-user", b"ana"),
    (b"x-weir-tags", b"feature=search"),
)
OWN: Mapping[ScopeKind, str] = {
    ScopeKind.ORG: "acme",
    ScopeKind.TEAM: "lab",
    ScopeKind.KEY: "key1",
    ScopeKind.WORKFLOW: "lab/notes",
    ScopeKind.RUN: "lab/r1",
    ScopeKind.USER: "lab/ana",
    ScopeKind.MODEL: "model-main",
    ScopeKind.TAG: "lab/feature=search",
}
WIDE: Mapping[ScopeKind, str] = {
    **dict.fromkeys(ScopeKind, "lab/*"),
    ScopeKind.ORG: "*",
    ScopeKind.TEAM: "l*",
    ScopeKind.KEY: "*",
    ScopeKind.MODEL: "model-*",
    ScopeKind.TAG: "lab/feature=*",
}
BODY = chat("a b", max_tokens=10)


def desk_with(*budgets: Budget, **script: Any) -> Desk:
    return make_desk({"main": scripted(say="one two three", **script)}, book=budgets)


def amount(error: Mapping[str, Any], name: str, unit: Unit) -> int:
    """An amount of a refusal, in whole units."""
    value = error[f"{name}_{unit.value}"]
    return nano_from_usd(value) if unit is Unit.USD else int(value)


def needed(kind: ScopeKind, scope_id: str, unit: Unit) -> int:
    """What one request may take, as a refusal tells it."""
    desk = desk_with(Budget(kind, scope_id, Window.DAY, 0, unit=unit))
    client = run(ask(desk, BODY, *HEADERS))
    assert client.status == 402, client.text
    assert (client.error["scope"], client.error["unit"]) == (f"{kind}:{OWN[kind]}", unit.value)
    assert client.header(b"x-weir-budget-unit") == unit.value.encode()
    return amount(client.error, "needed", unit)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", list(ScopeKind))
def test_of_twenty_at_once_exactly_those_that_fit_are_admitted(kind: ScopeKind, unit: Unit) -> None:
    one = needed(kind, WIDE[kind], unit)
    limit = 7 * one + (one - 1)
    budget = Budget(kind, WIDE[kind], Window.DAY, limit, unit=unit)
    desk = desk_with(budget, first_delay_ms=300)

    statuses = [client.status for client in run(crowd(desk, 20, BODY, *HEADERS))]
    # All others find the rest held, and nobody waits here.
    assert (statuses.count(200), statuses.count(429)) == (7, 13)
    assert_at_rest(desk)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", list(ScopeKind))
def test_a_budget_spent_in_a_row_ends_where_the_next_request_does_not_fit(
    kind: ScopeKind, unit: Unit
) -> None:
    one = needed(kind, OWN[kind], unit)
    limit = 3 * one
    desk = desk_with(Budget(kind, OWN[kind], Window.DAY, limit, unit=unit))
    answered = 0
    while (client := run(ask(desk, BODY, *HEADERS))).status == 200:
        answered += 1
        assert answered < 1_000
    spent = amount(client.error, "spent", unit)
    assert limit - one < spent <= limit
    told = [event for event in events(desk) if event.kind is EventKind.REQUEST]
    taken = {
        Unit.USD: sum(event.cost_nano for event in told),
        Unit.TOKENS: sum(event.fresh_tokens + event.output_tokens for event in told),
        Unit.REQUESTS: len(told),
    }
    assert spent == taken[unit]
    assert_at_rest(desk)


def test_another_user_tag_or_run_has_a_budget_of_its_own_and_nobody_has_none() -> None:
    limits = [
        Budget(kind, WIDE[kind], Window.DAY, 1, unit=Unit.REQUESTS)
        for kind in (ScopeKind.USER, ScopeKind.TAG)
    ]
    desk = desk_with(*limits)

    def status(*headers: tuple[bytes, bytes]) -> int:
        return run(ask(desk, BODY, *headers)).status

    ana, bo = (b"x-weir-user", b"ana"), (b"x-weir-user", b"bo")
    assert [status(ana), status(ana)] == [200, 402]
    # The tag that nobody sets has been used up by Ana's request.
    assert status(bo) == 402
    tagged = (b"x-weir-tags", b"feature=search")
    assert [status(bo, tagged), status(bo, tagged)] == [200, 402]
    nobody = run(ask(desk, BODY, (b"x-weir-tags", b"feature=x")))
    again = run(ask(desk, BODY, (b"x-weir-tags", b"feature=y")))
    assert (nobody.status, again.error["scope"]) == (200, "user:lab/unnamed")


def test_without_a_limit_the_answer_is_bounded_to_what_the_tokens_afford() -> None:
    limit = needed(ScopeKind.USER, WIDE[ScopeKind.USER], Unit.TOKENS)
    budget = Budget(ScopeKind.USER, "lab/*", Window.DAY, 2 * limit, unit=Unit.TOKENS)
    desk = desk_with(budget, chunks=500)
    client = run(ask(desk, chat("a b"), *HEADERS))
    assert client.status == 200
    [event] = events(desk)
    # The hold filled the budget; what was used is less, for a byte is less than a token.
    assert 16 <= event.output_tokens <= 2 * limit
    assert event.fresh_tokens + event.output_tokens <= 2 * limit
    assert_at_rest(desk)


def test_a_request_that_nothing_was_billed_for_is_given_back_in_every_unit() -> None:
    budgets = [Budget(ScopeKind.KEY, "*", Window.DAY, 10**9, unit=unit) for unit in UNITS]
    desk = make_desk({"main": scripted(status=500)}, book=budgets)
    assert run(ask(desk, BODY)).status == 500
    accounts = run(desk.ledger.survey([f"key:key1|day/{unit}|{day_of(desk)}" for unit in UNITS]))
    assert all(account.committed_nano == 0 for account in accounts.values())
    assert_at_rest(desk)


def day_of(desk: Desk) -> int:
    now_s = desk.now_ms() // 1_000
    return now_s - now_s % 86_400


def test_what_nobody_knows_takes_everything_that_was_held_in_every_unit() -> None:
    budgets = [Budget(ScopeKind.KEY, "*", Window.DAY, 10**9, unit=unit) for unit in UNITS]
    desk = make_desk({"main": faulty(RuntimeError("a bug"))}, book=budgets)
    assert run(ask(desk, BODY)).status == 500
    day = day_of(desk)
    names = [f"key:key1|{name}|{day}" for name in ("day", "day/tokens", "day/requests")]
    posted = [account.posted_nano for account in run(desk.ledger.survey(names)).values()]
    [event] = events(desk)
    tokens = (event.reserved_nano - 10 * OUTPUT_NANO) // INPUT_NANO + 10
    assert posted == [event.reserved_nano, tokens, 1]
    [entry] = desk.ledger._shelf.entries.values()  # type: ignore[attr-defined]
    assert (entry.settlement.state, entry.tokens) == (HoldState.SETTLED, tokens)
    assert entry.scopes.model == "model-main"
    assert_at_rest(desk)


# -- models -----------------------------------------------------------------------------------


def two_models(*budgets: Budget, **script: Any) -> Desk:
    first = scripted(say="one", **script)
    return make_desk({"main": first, "spare": scripted(say="two")}, book=budgets)


def test_a_model_whose_own_budget_is_used_up_gives_way_to_another() -> None:
    budget = Budget(ScopeKind.MODEL, "model-main", Window.DAY, 2, unit=Unit.REQUESTS)
    desk = two_models(budget)
    models = [run(ask(desk, BODY)).header(b"x-weir-model") for _ in range(4)]
    assert models == [b"model-main"] * 2 + [b"model-spare"] * 2
    assert "model_budget" in events(desk)[-1].decision_json
    named = run(ask(desk, chat("a b", model="model-main")))
    assert (named.status, named.error["scope"]) == (402, "model:model-main")
    assert_at_rest(desk)


def test_of_twenty_at_once_a_models_budget_is_filled_and_the_others_go_elsewhere() -> None:
    budget = Budget(ScopeKind.MODEL, "model-main", Window.DAY, 5, unit=Unit.REQUESTS)
    desk = two_models(budget, first_delay_ms=200)

    clients = run(crowd(desk, 20, BODY))
    assert {client.status for client in clients} == {200}
    models = [client.header(b"x-weir-model") for client in clients]
    assert (models.count(b"model-main"), models.count(b"model-spare")) == (5, 15)
    assert_at_rest(desk)


def test_only_the_model_that_answered_takes_something() -> None:
    both = [Budget(ScopeKind.MODEL, "*", Window.DAY, 10**9, unit=unit) for unit in UNITS]
    desk = two_models(*both, status=500)
    client = run(ask(desk, BODY))
    assert (client.status, client.header(b"x-weir-model")) == (200, b"model-spare")
    day = day_of(desk)
    names = [
        f"model:{model}|{window}|{day}"
        for model in ("model-main", "model-spare")
        for window in ("day", "day/tokens", "day/requests")
    ]
    accounts = run(desk.ledger.survey(names))
    [event] = events(desk)
    tokens = event.fresh_tokens + event.output_tokens
    assert [accounts[name].posted_nano for name in names] == [0, 0, 0, event.cost_nano, tokens, 1]
    assert_at_rest(desk)


def test_a_dear_fallback_does_not_keep_a_cheap_model_from_its_own_budget() -> None:
    """Each model's budget holds what that model can cost, not what the dearest candidate can."""
    one = needed(ScopeKind.MODEL, "model-main", Unit.USD)
    budget = Budget(ScopeKind.MODEL, "model-main", Window.DAY, one)
    desk = two_models(budget)
    rates = {"model-main": 1, "model-spare": 50}
    pico = {"fresh": INPUT_PICO, "output": OUTPUT_PICO}
    prices = [
        make_price(name, {side: rate * times for side, rate in pico.items()}, version="v1")
        for name, times in rates.items()
    ]
    desk = replace(desk, prices=PriceCard(prices))
    client = run(ask(desk, BODY))
    assert (client.status, client.header(b"x-weir-model")) == (200, b"model-main")
    assert events(desk)[0].reserved_nano > 10 * one
    assert_at_rest(desk)
