"""Attempts as they are made: each written down, each billed once, none that is not allowed."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from budgets.scopes import ScopeKind
from gateway.attempts import ERROR_BODY_S
from gateway.desk import Desk
from gateway.health_board import HealthBoard
from gateway.lifecycle import Lifecycle
from gateway.providers.port import Provider, UpstreamCall, UpstreamReply
from gateway.providers.script import Script
from gateway.providers.scripted import ScriptedProvider
from routing.catalog import Balance, Catalog, ModelCard, Tier
from routing.health import DEFAULT_LIMITS, BreakerState
from routing.policies import Policy
from telemetry.event import Ending
from tests.unit.gateway.desks import (
    INPUT_NANO,
    LIMITS,
    OUTPUT_NANO,
    Client,
    ask,
    assert_at_rest,
    carry,
    chat,
    events,
    make_desk,
    posted_nano,
    run,
    scripted,
    start_providers,
)

BUDGET = {ScopeKind.KEY: "1"}
PATIENT = replace(LIMITS, retry_wait_ms=1_000)
Make = Callable[[str], Provider]


class InTurn:
    """A provider that answers each call from the next script, the last one for ever."""

    ready = True

    def __init__(self, name: str, *scripts: Script) -> None:
        self.name = name
        self._left = [ScriptedProvider(name, script) for script in scripts]
        self.calls = 0

    async def start(self) -> None:
        for one in self._left:
            await one.start()

    async def stop(self) -> None:
        """Nothing to stop."""

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        self.calls += 1
        return await (self._left.pop(0) if len(self._left) > 1 else self._left[0]).open(call)


class Resting(HealthBoard):
    """Every breaker opened since the decision."""

    def usable(self, place: ModelCard, after_ms: int = 0) -> bool:
        return False


def in_turn(*scripts: dict[str, Any]) -> Make:
    return lambda name: InTurn(name, *[Script(**script) for script in scripts])


def deployed(desk: Desk, balance: Balance = Balance.ORDERED) -> Desk:
    """The same providers, as deployments of one model."""
    first = desk.catalog.models["model-one"]
    card = replace(first, balance=balance)
    places = [replace(card, provider=name, upstream_model=f"up-{name}") for name in desk.providers]
    card = replace(card, deployments=tuple(places))
    return replace(desk, catalog=Catalog([card], [Tier("small", 1, ("model-one",))]))


def tried(desk: Desk) -> list[tuple[str, int, str]]:
    """Provider, status and fault of each attempt of the one request there was."""
    [event] = events(desk)
    rows = orjson.loads(event.attempts_json)
    assert [row["attempt"] for row in rows] == list(range(1, len(rows) + 1))
    assert not rows or len(rows) == event.attempts
    return [(row["provider"], row["status"], row["fault"]) for row in rows]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("first", [{"refuse": True}, {"status": 503}, {"status": 429}])
def test_the_only_model_is_asked_again_after_a_pause(
    first: dict[str, object], stream: bool
) -> None:
    desk = make_desk({"one": in_turn(first, {"say": "hello"})}, budgets=BUDGET, limits=PATIENT)
    client = run(ask(desk, chat(stream=stream, max_tokens=10)))
    assert client.status == 200
    assert b"hello" in client.text
    [event] = events(desk)
    assert event.attempts == 2
    assert event.cost_nano == INPUT_NANO + OUTPUT_NANO == posted_nano(desk)
    assert [provider for provider, _, _ in tried(desk)] == ["one", "one"]
    assert orjson.loads(event.attempts_json)[1]["waited_ms"] >= 50
    assert_at_rest(desk)


def test_a_first_attempt_that_is_answered_leaves_nothing_to_write_down() -> None:
    desk = make_desk({"one": scripted(say="hello")}, limits=PATIENT)
    run(ask(desk, chat()))
    [event] = events(desk)
    assert (event.attempts, event.attempts_json) == (1, "[]")


def test_another_deployment_of_the_model_answers_at_once() -> None:
    makers = {"one": scripted(status=500), "two": scripted(say="hello")}
    desk = deployed(make_desk(makers, budgets=BUDGET, limits=PATIENT))
    client = run(ask(desk, chat(model="model-one", max_tokens=10)))
    assert (client.status, client.header(b"x-weir-model")) == (200, b"model-one")
    assert tried(desk) == [("one", 500, ""), ("two", 200, "")]
    [event] = events(desk)
    assert (event.model, event.provider, event.upstream_model) == ("model-one", "two", "up-two")
    assert desk.tally.retries == {("two", "next", "5xx"): 1}
    assert_at_rest(desk)


def test_deployments_are_asked_by_weight() -> None:
    makers = {"one": scripted(say="hello"), "two": scripted(say="hello")}
    desk = deployed(make_desk(makers), Balance.WEIGHTED)

    async def ask_often() -> None:
        await start_providers(desk)
        lifecycle = Lifecycle(desk)
        for _ in range(6):
            await carry(lifecycle, Client(chat()))

    run(ask_often())
    assert sorted(event.provider for event in events(desk)) == ["one"] * 3 + ["two"] * 3


def test_a_short_wish_is_waited_for_and_a_long_one_is_passed_on() -> None:
    busy = {"status": 429, "retry_after": 1}
    patient = replace(LIMITS, retry_wait_ms=1_500)
    desk = make_desk({"one": in_turn(busy, {"say": "hello"})}, limits=patient)
    assert run(ask(desk, chat())).status == 200
    [event] = events(desk)
    assert 1_000 <= orjson.loads(event.attempts_json)[1]["waited_ms"] <= 1_100

    desk = make_desk({"one": in_turn({"status": 429, "retry_after": 9}, {})}, limits=PATIENT)
    client = run(ask(desk, chat()))
    assert (client.status, client.header(b"retry-after")) == (429, b"9")
    assert client.error["message"] == "scripted status 429"
    [event] = events(desk)
    assert (event.attempts, event.error_code) == (1, "upstream_429")


def test_when_every_attempt_fails_the_last_answer_is_passed_on() -> None:
    makers = {"one": in_turn({"status": 500}, {"status": 502}, {"status": 503})}
    desk = make_desk(makers, limits=PATIENT, budgets=BUDGET)
    client = run(ask(desk, chat()))
    assert (client.status, client.error["message"]) == (503, "scripted status 503")
    assert [status for _, status, _ in tried(desk)] == [500, 502, 503]
    assert posted_nano(desk) == 0
    assert_at_rest(desk)


def test_an_answer_that_was_set_aside_is_passed_on_where_the_pause_changed_nothing() -> None:
    desk = make_desk({"one": scripted(status=500)}, limits=PATIENT)
    card = desk.catalog.models["model-one"]

    async def work() -> Client:
        await start_providers(desk)
        client = Client(chat())
        task = asyncio.ensure_future(carry(Lifecycle(desk), client))
        provider = desk.providers["one"]
        assert isinstance(provider, ScriptedProvider)
        while not desk.health.breaker(card).failures:
            await asyncio.sleep(0)
        for _ in range(
            DEFAULT_LIMITS.failures_at_once
        ):  # others find out meanwhile that it is down
            desk.health.failed(card, "connect")
        await task
        return client

    client = run(work())
    assert (client.status, client.error["message"]) == (500, "scripted status 500")
    [event] = events(desk)
    assert event.attempts == 1


def test_after_an_attempt_that_may_be_billed_nothing_is_sent() -> None:
    makers = {"one": scripted(say="x", first_delay_ms=5_000), "two": scripted(say="hello")}
    desk = deployed(make_desk(makers, budgets=BUDGET, limits=PATIENT))
    client = run(ask(desk, chat(max_tokens=10)))
    assert (client.status, client.error["code"]) == (504, "upstream_timeout")
    assert tried(desk) == [("one", 0, "first_byte_timeout")]
    [event] = events(desk)
    assert event.reserved_nano >= event.cost_nano == posted_nano(desk) > 0
    assert_at_rest(desk)


def test_a_client_that_goes_during_a_pause_pays_nothing() -> None:
    busy = {"status": 429, "retry_after": 5}
    patient = replace(LIMITS, retry_wait_ms=10_000)
    desk = make_desk({"one": in_turn(busy, {"say": "hello"})}, budgets=BUDGET, limits=patient)
    card = desk.catalog.models["model-one"]

    async def work() -> None:
        await start_providers(desk)
        client = Client(chat())
        task = asyncio.ensure_future(carry(Lifecycle(desk), client))
        while desk.health.breaker(card).state is BreakerState.CLOSED:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        client.gone.set()
        await task

    run(work())
    [event] = events(desk)
    assert (event.ending, event.cost_nano, event.attempts) == (Ending.CLIENT_GONE, 0, 1)
    assert posted_nano(desk) == 0
    assert_at_rest(desk)


def test_a_client_that_goes_while_it_probes_lets_the_next_one_probe() -> None:
    slow = scripted(say="hello", first_delay_ms=60_000)
    desk = make_desk({"one": slow}, limits=PATIENT)
    card = desk.catalog.models["model-one"]
    for _ in range(DEFAULT_LIMITS.failures_at_once):
        desk.health.failed(card, "connect")
    desk.health._health = desk.health.health.with_breaker(
        "one/model-one/up-one", replace(desk.health.breaker(card), until_ms=0)
    )

    async def work() -> None:
        await start_providers(desk)
        client = Client(chat(stream=True))
        task = asyncio.ensure_future(carry(Lifecycle(desk), client))
        while desk.health.usable(card):
            await asyncio.sleep(0)
        assert desk.health.breaker(card).state is BreakerState.HALF_OPEN
        client.gone.set()
        await task

    run(work())
    assert desk.health.usable(card)


def test_the_last_resort_answers_when_nobody_else_does() -> None:
    down = {name: scripted(status=500) for name in ("one", "two", "three")}
    desk = make_desk({**down, "local": scripted(say="here")}, budgets=BUDGET)
    cards = desk.catalog.models
    tier = Tier("small", 1, tuple(name for name in cards if name != "model-local"))
    policy = Policy("default", "small", last_resort="model-local")
    desk = replace(
        desk, catalog=Catalog(cards.values(), [tier]), policies={"default": policy}, tier_of={}
    )
    client = run(ask(desk, chat(max_tokens=10)))
    assert (client.status, client.header(b"x-weir-model")) == (200, b"model-local")
    assert [provider for provider, _, _ in tried(desk)] == ["one", "two", "local"]
    assert_at_rest(desk)


def test_no_attempt_begins_after_its_time() -> None:
    late = replace(PATIENT, retry_within_s=0.0)
    desk = make_desk({"one": scripted(refuse=True), "two": scripted(say="x")}, limits=late)
    assert run(ask(desk, chat())).status == 502
    assert len(tried(desk)) == 1


def test_an_error_whose_body_does_not_come_is_not_waited_for_long() -> None:
    slow = {"status": 500, "delay_ms": 60_000}
    desk = make_desk({"one": in_turn(slow, {"say": "hello"})}, limits=PATIENT)
    client = run(ask(desk, chat()))
    assert client.status == 200
    [event] = events(desk)
    assert event.total_ms < 1_000 * (ERROR_BODY_S + 1)


def test_where_everything_rests_by_the_time_nothing_is_sent() -> None:
    desk = replace(make_desk({"one": scripted(say="hello")}, budgets=BUDGET), health=Resting())
    client = run(ask(desk, chat()))
    assert (client.status, client.error["code"]) == (503, "provider_down")
    [event] = events(desk)
    assert (event.attempts, event.cost_nano) == (0, 0)
    assert_at_rest(desk)
