"""Ten stages: what each refusal costs, and that every hold ends exactly once (gateway.desk)."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from budgets.ledger import PLAIN, Bill, Hold, LedgerError, Settlement
from budgets.money import nano_from_usd
from budgets.port import OutboxEvent
from budgets.prices import PriceCard
from budgets.scopes import ScopeKind
from budgets.stores.in_memory import InMemoryLedger
from gateway.desk import Desk
from gateway.lifecycle import Lifecycle
from gateway.providers.scripted import ScriptedProvider
from telemetry.event import Ending, EventKind, UsageSource
from tests.unit.gateway.desks import (
    INPUT_NANO,
    LIMITS,
    OUTPUT_NANO,
    PRINCIPAL,
    SHAPER,
    Client,
    ask,
    assert_at_rest,
    carry,
    chat,
    events,
    faulty,
    make_desk,
    new_ledger,
    posted_nano,
    run,
    scripted,
    start_providers,
)


def bill_of(desk: Desk, name: str = "main") -> list[Any]:
    provider = desk.providers[name]
    assert isinstance(provider, ScriptedProvider)
    return list(provider.bill)


# -- the whole way ----------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_answered_settled_and_written_down(stream: bool) -> None:
    desk = make_desk({"main": scripted(say="one two three")}, budgets={ScopeKind.KEY: "1"})
    client = run(ask(desk, chat("a b", stream=stream, max_tokens=10), (b"x-weir-run", b"r1")))
    assert (client.status, client.ended) == (200, True)
    [event] = events(desk)
    assert client.header(b"x-weir-request-id") == event.request_id.encode()
    assert (event.kind, event.ending, event.status) == (EventKind.REQUEST, Ending.COMPLETED, 200)
    assert (event.team, event.key_id, event.workflow, event.run_id) == (
        "lab",
        "key1",
        "notes",
        "r1",
    )
    assert (event.tier, event.model, event.provider) == ("small", "model-main", "main")
    assert (event.usage_source, event.fresh_tokens, event.output_tokens) == (
        UsageSource.PROVIDER,
        2,
        3,
    )
    assert event.cost_nano == 2 * INPUT_NANO + 3 * OUTPUT_NANO == posted_nano(desk)
    assert event.cost_nano <= event.reserved_nano
    assert event.frontier_cost_nano == event.cost_nano
    assert 0 < event.gateway_ms <= event.first_byte_ms <= event.total_ms
    [line] = bill_of(desk)
    assert (line.prompt_tokens, line.completion_tokens) == (2, 3)
    assert_at_rest(desk)


def test_several_choices_are_reserved_together() -> None:
    desk = make_desk({"main": scripted(say="one")})
    run(ask(desk, chat(max_tokens=10)))
    run(ask(desk, chat(max_tokens=10, n=5)))
    one, five = events(desk)
    extra_input = len(chat(max_tokens=10, n=5)) - len(chat(max_tokens=10))
    assert five.reserved_nano - one.reserved_nano == (40 * OUTPUT_NANO + extra_input * INPUT_NANO)


def test_a_key_with_a_policy_of_its_own_uses_it_for_auto() -> None:
    desk = make_desk({"main": scripted()}, principal=replace(PRINCIPAL, policy="own"))
    run(ask(desk, chat()))
    run(ask(desk, chat(model="auto:default")))
    assert [event.policy for event in events(desk)] == ["own", "default"]


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "written"),
    [
        (b"{", [], 400, "invalid_json", False),
        (chat(max_tokens=0), [], 400, "invalid_value", False),
        (chat("x" * 100_001), [], 413, "request_too_large", False),
        (chat(), [(b"x-weir-run", b"/")], 400, "invalid_value", False),
        (chat(model="nobody"), [], 404, "model_not_found", True),
        (chat(model="auto:nobody"), [], 404, "policy_not_found", True),
        (chat("word " * 10_000), [], 400, "context_length_exceeded", True),
        (chat(response_format={"type": "json_schema", "json_schema": {}}), [], 400,
         "capability_missing", True),
    ],
)  # fmt: skip
def test_a_refusal_before_the_reservation_costs_nothing(
    body: bytes, headers: Any, status: int, code: str, written: bool
) -> None:
    desk = make_desk({"main": scripted()})
    client = run(ask(desk, body, *headers))
    assert (client.status, client.error["code"]) == (status, code)
    assert (posted_nano(desk), bill_of(desk)) == (0, [])
    assert [(e.kind, e.ending, e.error_code) for e in events(desk)] == (
        [(EventKind.REFUSAL, Ending.REFUSED, code)] if written else []
    )
    assert_at_rest(desk)


def test_a_wrong_key_learns_nothing_about_its_request() -> None:
    desk = make_desk({"main": scripted()})
    client = Client(b"{", headers=[(b"authorization", b"Bearer wrong")])
    run(carry(Lifecycle(desk), client))
    assert (client.status, client.error["code"]) == (401, "invalid_api_key")
    assert events(desk) == []


def test_a_client_that_goes_before_its_request_is_whole_gets_nothing() -> None:
    desk = make_desk({"main": scripted()})
    client = Client(b"", _asked=True)
    client.gone.set()
    run(carry(Lifecycle(desk), client))
    assert (client.sent, events(desk)) == ([], [])


def test_a_budget_that_cannot_bear_the_ceiling_refuses_and_says_why() -> None:
    desk = make_desk({"main": scripted()}, budgets={ScopeKind.WORKFLOW: "0.0001"})
    client = run(ask(desk, chat(max_tokens=100)))
    assert (client.status, client.error["code"]) == (402, "budget_exceeded")
    assert client.header(b"x-should-retry") == b"false"
    assert client.error["scope"] == "workflow:lab/notes"
    [event] = events(desk)
    assert (event.kind, event.status, event.reserved_nano) == (EventKind.REFUSAL, 402, 0)
    assert nano_from_usd(client.error["needed_usd"]) > nano_from_usd("0.0001")
    assert bill_of(desk) == []
    assert_at_rest(desk)


@pytest.mark.parametrize("model", ["auto", "model-main"])
def test_a_model_whose_price_is_not_known_is_refused_and_nobody_is_asked(model: str) -> None:
    desk = make_desk({"main": scripted(say="x")}, budgets={ScopeKind.KEY: "1"})
    desk = replace(desk, prices=PriceCard([]))
    client = run(ask(desk, chat(model=model)))
    assert (client.status, client.error["code"]) == (400, "price_unknown")
    [event] = events(desk)
    assert (event.kind, event.cost_nano) == (EventKind.REFUSAL, 0)
    assert bill_of(desk) == []
    assert_at_rest(desk)


def test_more_requests_at_once_than_allowed_are_turned_away_for_now() -> None:
    desk = make_desk(
        {"main": scripted(first_delay_ms=100)}, limits=replace(LIMITS, concurrent_requests=2)
    )

    async def crowd() -> list[Client]:
        await start_providers(desk)
        lifecycle = Lifecycle(desk)
        clients = [Client(chat()) for _ in range(3)]
        await asyncio.gather(*(carry(lifecycle, client) for client in clients))
        later = Client(chat())
        await carry(lifecycle, later)
        return [*clients, later]

    clients = run(crowd())
    assert [client.status for client in clients] == [200, 200, 503, 200]
    assert clients[2].error["code"] == "overloaded"
    assert clients[2].header(b"retry-after") == b"1"


# -- faults of our own ------------------------------------------------------------------------


def test_a_bug_after_the_dispatch_charges_the_ceiling_and_says_that_it_is_assumed() -> None:
    desk = make_desk({"main": faulty(RuntimeError("a bug"))}, budgets={ScopeKind.KEY: "1"})
    client = run(ask(desk, chat(max_tokens=10)))
    assert (client.status, client.error["code"]) == (500, "internal_error")
    [event] = events(desk)
    assert event.request_id in client.error["message"]
    assert (event.ending, event.usage_source) == (Ending.UNKNOWN, UsageSource.ASSUMED)
    assert event.cost_nano == event.reserved_nano == posted_nano(desk) > 0
    assert_at_rest(desk)


class Stubborn(InMemoryLedger):
    """A ledger that cannot take one of its steps, so many times."""

    def __init__(self, step: str, times: int = 1) -> None:
        super().__init__(SHAPER)
        self._step, self._times = step, times

    def _may_fail(self, step: str) -> None:
        if step == self._step and self._times > 0:
            self._times -= 1
            raise LedgerError(f"cannot {step}")

    async def dispatch(self, hold: Hold, draft: bytes) -> Hold:
        self._may_fail("dispatch")
        return await super().dispatch(hold, draft)

    async def settle(
        self, hold: Hold, cost_nano: int, event: OutboxEvent, bill: Bill = PLAIN
    ) -> Settlement:
        self._may_fail("settle")
        return await super().settle(hold, cost_nano, event, bill)


def test_a_ledger_that_cannot_dispatch_sends_nothing_and_charges_nothing() -> None:
    desk = make_desk({"main": scripted()}, ledger=Stubborn("dispatch"))
    client = run(ask(desk, chat()))
    assert (client.status, client.error["code"]) == (503, "ledger_unavailable")
    assert client.header(b"x-should-retry") == b"true"
    assert (bill_of(desk), posted_nano(desk)) == ([], 0)
    assert_at_rest(desk)


def test_a_ledger_that_fails_at_the_settlement_is_asked_again() -> None:
    desk = make_desk({"main": scripted(say="one")}, ledger=Stubborn("settle"))
    client = run(ask(desk, chat(max_tokens=10)))
    assert client.status == 503
    [event] = events(desk)
    assert event.cost_nano == posted_nano(desk) > 0
    assert_at_rest(desk)


def test_a_ledger_that_stays_broken_keeps_the_hold_for_its_lease_to_end() -> None:
    ledger = Stubborn("settle", times=2)
    desk = make_desk({"main": scripted(say="one")}, ledger=ledger)
    assert run(ask(desk, chat(max_tokens=10))).status == 503
    assert events(desk) == []
    [ended] = run(ledger.expire(1 << 50))
    [event] = events(desk)
    assert event.kind is EventKind.ASSUMED
    assert event.cost_nano == ended.posted_nano == event.reserved_nano > 0


# -- cancelled --------------------------------------------------------------------------------


async def cancelled_once(desk: Desk, client: Client, ready: Any) -> None:
    """Carry a request until `ready()` holds, then cancel its task as a shutdown does."""
    await start_providers(desk)
    task = asyncio.create_task(carry(Lifecycle(desk), client))
    while not ready():
        assert not task.done()
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_cancelled_before_its_answer_is_settled_once(stream: bool) -> None:
    ledger = new_ledger()
    desk = make_desk(
        {"main": scripted(first_delay_ms=900)}, budgets={ScopeKind.KEY: "1"}, ledger=ledger
    )
    client = Client(chat(stream=stream, max_tokens=10))
    moves: list[str] = []
    dispatch = ledger.dispatch

    async def watched(hold: Hold, draft: bytes) -> Hold:
        moves.append("dispatched")
        return await dispatch(hold, draft)

    ledger.dispatch = watched  # type: ignore[method-assign]
    run(cancelled_once(desk, client, lambda: moves))
    [event] = events(desk)
    assert event.usage_source is UsageSource.ASSUMED
    assert event.cost_nano == event.reserved_nano == posted_nano(desk)
    assert_at_rest(desk)


def test_a_stream_cancelled_midway_is_settled_once_for_what_flowed() -> None:
    desk = make_desk({"main": scripted(chunks=100, delay_ms=5)}, budgets={ScopeKind.KEY: "1"})
    client = Client(chat(stream=True, max_tokens=100))
    run(cancelled_once(desk, client, lambda: len(client.sent) > 10))
    [event] = events(desk)
    assert event.ending is Ending.DEADLINE_HIT
    assert 0 < event.output_tokens < 100
    assert event.cost_nano == posted_nano(desk) < event.reserved_nano
    [line] = bill_of(desk)
    assert line.completion_tokens <= event.output_tokens + 1
    assert_at_rest(desk)


@pytest.mark.parametrize("turns", range(0, 60, 4))
def test_cancelled_at_any_turn_of_the_loop_a_hold_ends_exactly_once(turns: int) -> None:
    desk = make_desk({"main": scripted(chunks=10)}, budgets={ScopeKind.KEY: "1"})

    async def cancel_after() -> None:
        await start_providers(desk)
        client = Client(chat(stream=turns % 8 == 0, max_tokens=20))
        task = asyncio.create_task(carry(Lifecycle(desk), client))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        for _ in range(10):
            await asyncio.sleep(0)

    run(cancel_after())
    settled = [event for event in events(desk) if event.kind is EventKind.REQUEST]
    assert len(settled) <= 1
    assert posted_nano(desk) == sum(event.cost_nano for event in settled)
    if bill_of(desk):
        assert len(settled) == 1
        assert posted_nano(desk) > 0
    assert_at_rest(desk)


def test_a_stream_whose_money_cannot_be_settled_ends_with_an_error_and_one_head() -> None:
    ledger = Stubborn("settle", times=2)
    desk = make_desk({"main": scripted(say="one two three")}, ledger=ledger)
    client = run(ask(desk, chat(max_tokens=10, stream=True)))
    assert client.status == 200
    assert client.ended
    assert b'"code":"ledger_unavailable"' in client.text.rpartition(b"event: error\n")[2]
    assert b"[DONE]" not in client.text
