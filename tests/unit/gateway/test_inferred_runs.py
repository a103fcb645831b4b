"""Runs that nobody names, through the whole lifecycle: what is recorded, and what budgets do."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from budgets.scopes import Budget, ScopeKind, Unit, Window
from gateway.desk import Desk
from gateway.run_inference import RunInference
from tests.unit.gateway.desks import Client, ask, assert_at_rest, events, make_desk, run, scripted

USER = {"role": "user", "content": "Find my parcel."}
ROUTES = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


def desk_with(*book: Budget, infers: bool = True) -> Desk:
    desk = make_desk({"one": scripted()}, book=book)
    return replace(desk, inference=RunInference(1_000, 600) if infers else None)


def body_of(route: str, steps: int) -> bytes:
    """What an agent sends after so many steps, in the shape of a route."""
    said: list[dict[str, Any]] = [USER]
    for step in range(steps):
        said += [
            {"role": "assistant", "content": f"Looking in place {step}."},
            {"role": "user", "content": f"Not there ({step})."},
        ]
    field = "input" if route == "/v1/responses" else "messages"
    limit = "max_output_tokens" if route == "/v1/responses" else "max_tokens"
    return orjson.dumps({"model": "auto", field: said, limit: 5})


def step(desk: Desk, steps: int, *headers: tuple[bytes, bytes], route: str = ROUTES[0]) -> Client:
    return run(ask(desk, body_of(route, steps), *headers, route=route))


@pytest.mark.parametrize("route", ROUTES)
def test_the_steps_of_an_agent_are_one_run_in_every_dialect(route: str) -> None:
    desk = desk_with()
    for steps in range(4):
        assert step(desk, steps, route=route).status == 200
    told = [(event.run_id, event.run_source) for event in events(desk)]
    first = told[0][0]
    assert told == [(first, "request"), *[(first, "inferred")] * 3]
    claims = [orjson.loads(event.attribution_json) for event in events(desk)]
    assert claims[0] == {}
    assert claims[1] == {"run": {"source": "inferred", "strength": "inferred"}}


def test_a_budget_on_runs_stops_an_agent_that_names_none_and_nobody_else() -> None:
    limit = Budget(ScopeKind.RUN, "*", Window.TOTAL, 3, unit=Unit.REQUESTS)
    desk = desk_with(limit)
    answers = [step(desk, steps).status for steps in range(6)]
    assert answers == [200, 200, 200, 200, 402, 402]
    assert step(desk, 0).status == 200
    batch = [run(ask(desk, body_of(ROUTES[0], 0))).status for _ in range(10)]
    assert set(batch) == {200}
    assert_at_rest(desk)


def test_without_inference_each_request_is_a_run_of_its_own() -> None:
    desk = desk_with(infers=False)
    for steps in range(3):
        step(desk, steps)
    assert len({event.run_id for event in events(desk)}) == 3


def test_a_session_that_is_named_wins_over_the_conversation() -> None:
    desk = desk_with()
    step(desk, 0)
    step(desk, 1, (b"x-claude-code-session-id", b"0123456789"))
    event = events(desk)[-1]
    assert (event.run_id, event.run_source) == ("0123456789", "x-claude-code-session-id")


def test_a_response_goes_on_with_the_run_of_the_one_before() -> None:
    desk = desk_with()
    first = orjson.loads(step(desk, 0, route=ROUTES[2]).text)
    fields = {"model": "auto", "input": "And now?", "max_output_tokens": 5}
    body = orjson.dumps({**fields, "previous_response_id": first["id"]})
    assert run(ask(desk, body, route=ROUTES[2])).status == 200
    before, after = events(desk)
    assert (after.run_id, after.run_source) == (before.run_id, "previous_response_id")
