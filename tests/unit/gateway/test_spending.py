"""Once money is held: who is asked, who is asked next, and what is posted for each ending."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from budgets.money import nano_from_usd
from budgets.scopes import ScopeKind
from gateway.desk import Desk
from gateway.lifecycle import Lifecycle
from gateway.providers.port import (
    Provider,
    UpstreamCall,
    UpstreamError,
    UpstreamFault,
    UpstreamReply,
)
from gateway.providers.script import Script
from gateway.providers.scripted import ScriptedProvider
from gateway.spending import PASSED_HEADERS
from routing.health import DEFAULT_LIMITS
from telemetry.event import Ending, UsageSource
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
    faulty,
    make_desk,
    posted_nano,
    run,
    scripted,
    start_providers,
)

BUDGET = {ScopeKind.KEY: "1"}


def calls_of(desk: Desk, name: str) -> int:
    provider = desk.providers[name]
    assert isinstance(provider, ScriptedProvider)
    return len(provider.bill)


# -- who is asked next ------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("first", [{"refuse": True}, {"status": 500}, {"status": 429}])
def test_the_next_model_is_asked_where_the_first_billed_nothing(
    first: dict[str, object], stream: bool
) -> None:
    desk = make_desk({"one": scripted(**first), "two": scripted(say="hello")}, budgets=BUDGET)
    client = run(ask(desk, chat(stream=stream, max_tokens=10)))
    assert client.status == 200
    assert b"hello" in client.text
    assert client.header(b"x-weir-model") == b"model-two"
    [event] = events(desk)
    assert (event.model, event.provider, event.upstream_model) == ("model-two", "two", "up-two")
    assert (event.attempts, event.ending) == (2, Ending.COMPLETED)
    assert event.cost_nano == INPUT_NANO + OUTPUT_NANO == posted_nano(desk)
    assert (calls_of(desk, "one"), calls_of(desk, "two")) == (0, 1)
    assert_at_rest(desk)


@pytest.mark.parametrize(
    ("first", "status", "code"),
    [
        ({"say": "x", "first_delay_ms": 5_000}, 504, "upstream_timeout"),
        ({"say": "x", "break_after": 0}, 502, "upstream_broken"),
    ],
)
def test_nobody_else_is_asked_where_the_first_may_have_billed(
    first: dict[str, object], status: int, code: str
) -> None:
    desk = make_desk({"one": scripted(**first), "two": scripted(say="hello")}, budgets=BUDGET)
    client = run(ask(desk, chat(max_tokens=10)))
    assert (client.status, client.error["code"]) == (status, code)
    [event] = events(desk)
    assert (event.model, event.attempts, event.error_code) == ("model-one", 1, code)
    assert (event.output_tokens, event.usage_source) == (10, UsageSource.ESTIMATED)
    assert event.cost_nano == posted_nano(desk) > 10 * OUTPUT_NANO
    assert calls_of(desk, "two") == 0
    assert_at_rest(desk)


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422])
def test_a_refusal_that_the_request_caused_is_the_answer(status: int) -> None:
    desk = make_desk({"one": scripted(status=status), "two": scripted(say="hello")})
    client = run(ask(desk, chat()))
    assert client.status == status
    assert client.error["message"] == f"scripted status {status}"
    [event] = events(desk)
    assert (event.cost_nano, event.usage_source) == (0, UsageSource.NONE)
    assert (event.ending, event.error_code) == (Ending.UPSTREAM_FAILED, f"upstream_{status}")
    assert_at_rest(desk)


def test_when_nobody_can_be_reached_the_money_comes_back() -> None:
    desk = make_desk({"one": scripted(refuse=True), "two": scripted(refuse=True)}, budgets=BUDGET)
    client = run(ask(desk, chat(max_tokens=10)))
    assert (client.status, client.error["code"]) == (502, "upstream_unreachable")
    [event] = events(desk)
    assert (event.attempts, event.cost_nano, posted_nano(desk)) == (2, 0, 0)
    assert event.reserved_nano > 0
    assert_at_rest(desk)


def test_the_last_models_own_error_is_passed_on() -> None:
    desk = make_desk({"one": scripted(refuse=True), "two": scripted(status=503, retry_after=7)})
    client = run(ask(desk, chat()))
    assert (client.status, client.header(b"retry-after")) == (503, b"7")
    assert posted_nano(desk) == 0


def test_no_more_models_are_asked_than_allowed() -> None:
    down = {name: scripted(refuse=True) for name in ("one", "two", "three")}
    desk = make_desk({**down, "four": scripted()}, limits=replace(LIMITS, attempts=2))
    assert run(ask(desk, chat())).status == 502
    [event] = events(desk)
    assert event.attempts == 2


def test_a_client_that_named_a_model_gets_no_other() -> None:
    desk = make_desk({"one": scripted(refuse=True), "two": scripted()})
    assert run(ask(desk, chat(model="model-one"))).status == 502
    assert calls_of(desk, "two") == 0


def test_a_model_that_keeps_failing_is_left_alone_until_it_had_time() -> None:
    desk = make_desk({"one": scripted(status=500)})

    async def keep_asking() -> list[Client]:
        await start_providers(desk)
        lifecycle = Lifecycle(desk)
        clients = [Client(chat()) for _ in range(DEFAULT_LIMITS.failures_at_once + 1)]
        for client in clients:
            await carry(lifecycle, client)
        return clients

    clients = run(keep_asking())
    # All asked until one failure too many, which comes sooner where they take over a second.
    few = DEFAULT_LIMITS.failures_to_open
    assert [client.status for client in clients[:few]] == [500] * few
    assert clients[-1].status == 503
    assert clients[-1].error["code"] == "provider_down"
    assert posted_nano(desk) == 0
    assert_at_rest(desk)


# -- what is posted ---------------------------------------------------------------------------


def test_an_answer_without_usage_is_estimated() -> None:
    desk = make_desk({"main": scripted(say="one two three four", usage="none")})
    for stream in (False, True):
        run(ask(desk, chat(stream=stream, max_tokens=50)))
    for event in events(desk):
        assert event.usage_source is UsageSource.ESTIMATED
        assert 4 <= event.output_tokens <= 5
        assert 0 < event.fresh_tokens < 20


@pytest.mark.parametrize("limit", [5, 50])
def test_a_runaway_stream_is_cut_and_never_costs_more_than_was_held(limit: int) -> None:
    desk = make_desk({"main": scripted(runaway=True)}, budgets=BUDGET)
    client = run(ask(desk, chat(stream=True, max_tokens=limit)))
    assert b"event: error" in client.text
    assert client.ended
    [event] = events(desk)
    assert (event.ending, event.error_code) == (Ending.KILLED, "budget_exceeded")
    assert event.output_tokens == limit
    assert event.cost_nano <= event.reserved_nano
    assert client.header(b"x-weir-reserved-usd") is not None
    assert nano_from_usd(str(client.header(b"x-weir-reserved-usd"), "ascii")) == event.reserved_nano
    assert_at_rest(desk)


def test_a_client_that_goes_midway_pays_for_what_flowed() -> None:
    desk = make_desk({"main": scripted(chunks=500, delay_ms=2)}, budgets=BUDGET)

    async def hang_up() -> Client:
        await start_providers(desk)
        client = Client(chat(stream=True, max_tokens=500))
        task = asyncio.create_task(carry(Lifecycle(desk), client))
        while len(client.sent) < 10:
            await asyncio.sleep(0.001)
        client.gone.set()
        await task
        return client

    run(hang_up())
    [event] = events(desk)
    assert event.ending is Ending.CLIENT_GONE
    assert 8 <= event.output_tokens < 500
    assert 0 < event.cost_nano < event.reserved_nano
    assert_at_rest(desk)


def test_a_client_that_goes_before_the_stream_begins_lets_the_provider_go() -> None:
    desk = make_desk({"main": scripted(say="x", first_delay_ms=900)}, budgets=BUDGET)

    async def hang_up() -> Client:
        await start_providers(desk)
        client = Client(chat(stream=True, max_tokens=10))
        task = asyncio.create_task(carry(Lifecycle(desk), client))
        await asyncio.sleep(0.02)
        client.gone.set()
        async with asyncio.timeout(0.5):
            await task
        return client

    assert run(hang_up()).sent == []
    [event] = events(desk)
    assert (event.ending, event.output_tokens) == (Ending.CLIENT_GONE, 0)
    assert event.cost_nano == event.fresh_tokens * INPUT_NANO > 0
    assert calls_of(desk, "main") == 1
    assert_at_rest(desk)


class Witness:
    """A provider that keeps what it was asked and passes it on."""

    def __init__(self, name: str) -> None:
        self.calls: list[UpstreamCall] = []
        self._inner: Provider = ScriptedProvider(name, Script(say="ok"))
        self.name = name
        self.ready = True

    async def start(self) -> None:
        await self._inner.start()

    async def stop(self) -> None:
        await self._inner.stop()

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        self.calls.append(call)
        return await self._inner.open(call)


def test_the_provider_gets_the_request_with_its_own_names_and_no_secrets() -> None:
    desk = make_desk({"main": Witness}, budgets=BUDGET)
    extra = [
        (b"cookie", b"a=b"),
        (b"x-api-key", b"sk-other"),
        (b"x-weir-workflow", b"w"),
        (b"traceparent", b"00-1-2-03"),
        (b"idempotency-key", b"i-1"),
    ]
    body = chat(stream=True, temperature=0.70, x_unknown={"z": 1, "a": 2})
    run(ask(desk, body, *extra))
    witness = desk.providers["main"]
    assert isinstance(witness, Witness)
    [call] = witness.calls
    sent = orjson.loads(call.body)
    assert (call.path, sent["model"]) == ("/chat/completions", "up-main")
    assert sent["stream_options"] == {"include_usage": True}
    assert sent["max_tokens"] == LIMITS.answer_cap_tokens
    assert b'"x_unknown":{"z":1,"a":2}' in call.body
    assert {name for name, _ in call.headers} == {b"traceparent", b"idempotency-key"}
    assert {name for name, _ in call.headers} <= PASSED_HEADERS


def test_a_reason_or_error_never_names_the_key() -> None:
    broken = UpstreamError(UpstreamFault.BROKEN, "lost")
    desk = make_desk({"main": faulty(broken)})
    client = run(ask(desk, chat()))
    assert (client.status, client.error["type"]) == (502, "upstream_error")
    assert b"sk-weir" not in client.text
    assert not any(b"sk-weir" in event.to_json() for event in events(desk))
