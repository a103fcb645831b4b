"""Money that is only held (gateway.waiting, gateway.refusing): wait in turn, then pay or 402."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from budgets.budget_book import BudgetBook
from budgets.ledger import Hold, LedgerError, Refusal, Reservation
from budgets.money import format_usd
from budgets.scopes import Budget, ScopeKind, Window
from budgets.stores.in_memory import InMemoryLedger
from gateway.desk import Desk
from gateway.input_size import exact_size
from gateway.lifecycle import Lifecycle
from gateway.waiting import Line
from telemetry.event import Ending, EventKind, TelemetryEvent
from tests.unit.gateway.desks import (
    INPUT_NANO,
    OUTPUT_NANO,
    SHAPER,
    Client,
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
from tests.unit.gateway.dialects.requests_made import CHAT

TOKENS, SLOW_MS, LONG_S = 50, 60, 9.0
DAY_MS = 86_400_000


def ceiling_nano() -> int:
    """What a request may cost at most: every byte of its text a token, and the answer."""
    size = exact_size(CHAT.input_parts(CHAT.read(chat(max_tokens=TOKENS))))
    return size.bound_tokens(0) * INPUT_NANO + TOKENS * OUTPUT_NANO


def tight_desk(bears: float = 1.0, line: Line | None = None, **script: Any) -> Desk:
    """A desk whose keys bear so many requests in flight, with a provider that takes its time."""
    limit_usd = format_usd(int(bears * ceiling_nano()))
    return make_desk(
        {"main": scripted(**{"say": "one two", "first_delay_ms": SLOW_MS, **script})},
        budgets={ScopeKind.KEY: limit_usd},
        line=line or Line(100, LONG_S),
    )


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


class Crowd:
    """Clients of one gateway, each in a task of its own, in the order of their names."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.lifecycle = Lifecycle(desk)
        self.answered: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, name: str, **fields: Any) -> Client:
        """One request: it holds money, stands in line, or is answered when this returns."""
        await start_providers(self.desk)
        client = Client(chat(**{"max_tokens": TOKENS, **fields}))
        held, waiting = await self.held_nano(), self.desk.line.waiting
        self.tasks.append(asyncio.create_task(self._carry(client, name)))
        while not client.ended and self.desk.line.waiting == waiting:
            if await self.held_nano() != held:
                break
            await asyncio.sleep(0.0005)
        return client

    async def _carry(self, client: Client, name: str) -> None:
        await carry(self.lifecycle, client)
        self.answered.append(name)

    async def held_nano(self) -> int:
        accounts = await self.desk.ledger.survey(["key:key1|total|0"])
        return sum(found.held_nano for found in accounts.values())

    async def end(self) -> None:
        await asyncio.gather(*self.tasks)


def event_of(desk: Desk, client: Client) -> TelemetryEvent:
    name = (client.header(b"x-weir-request-id") or b"").decode()
    [found] = [event for event in events(desk) if event.request_id == name]
    return found


# -- served -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_waits_for_money_that_is_held_and_is_served_when_it_is_back(stream: bool) -> None:
    desk = tight_desk(1.9, Line(100, LONG_S, look_s=3_600))

    async def story() -> tuple[Client, Client]:
        crowd = Crowd(desk)
        first = await crowd.start("first", stream=stream)
        second = await crowd.start("second", stream=stream)
        assert desk.line.waiting == 1
        await crowd.end()
        assert (crowd.answered, desk.line.waiting) == (["first", "second"], 0)
        return first, second

    first, second = run(story())
    assert (first.status, second.status) == (200, 200)
    assert event_of(desk, first).waited_ms == 0
    waited = event_of(desk, second)
    assert SLOW_MS / 2 < waited.waited_ms < waited.first_byte_ms <= waited.total_ms
    assert 0 < waited.gateway_ms < waited.total_ms - waited.waited_ms
    assert_at_rest(desk)


def test_those_who_wait_are_served_in_the_order_they_came() -> None:
    desk = tight_desk(1.9, first_delay_ms=10)

    async def story() -> list[str]:
        crowd = Crowd(desk)
        for name in "abcdefgh":
            await crowd.start(name)
        await crowd.end()
        return crowd.answered

    assert run(story()) == list("abcdefgh")
    assert_at_rest(desk)


def test_a_small_request_does_not_overtake_one_that_waits_for_more() -> None:
    desk = tight_desk(1.9)

    async def story() -> None:
        crowd = Crowd(desk)
        for name, tokens in (("first", TOKENS), ("large", TOKENS), ("small", 1)):
            await crowd.start(name, max_tokens=tokens)
        assert desk.line.waiting == 2, "the small one would fit, and yet stands behind"
        await crowd.end()
        assert crowd.answered[0] == "first"

    run(story())
    assert_at_rest(desk)


def test_an_answer_without_a_limit_is_not_cut_short_by_what_others_hold() -> None:
    desk = tight_desk(2.5)

    async def story() -> Client:
        crowd = Crowd(desk)
        for name in ("first", "second"):
            await crowd.start(name)
        unbounded = await crowd.start("unbounded", max_tokens=None)
        await crowd.end()
        return unbounded

    unbounded = run(story())
    assert unbounded.status == 200
    event = event_of(desk, unbounded)
    assert event.waited_ms > 0
    left_nano = int(2.5 * ceiling_nano()) - posted_nano(desk) + event.cost_nano
    assert left_nano - OUTPUT_NANO < event.reserved_nano <= left_nano
    assert_at_rest(desk)


def test_a_window_that_begins_while_one_waits_is_the_one_that_pays() -> None:
    desk = tight_desk(line=Line(10, LONG_S, look_s=0.01), first_delay_ms=500)
    now_ms = [20_000 * DAY_MS - 50]
    daily = Budget(ScopeKind.KEY, "*", Window.DAY, int(1.5 * ceiling_nano()))
    desk = replace(desk, budgets=BudgetBook([daily]), now_ms=lambda: now_ms[0])

    async def story() -> tuple[Client, Client]:
        crowd = Crowd(desk)
        first = Client(chat(max_tokens=TOKENS))
        await start_providers(desk)
        crowd.tasks.append(asyncio.create_task(carry(crowd.lifecycle, first)))
        second = await crowd.start("second")
        assert (desk.line.waiting, first.ended) == (1, False)
        now_ms[0] += 100
        await until(lambda: desk.line.waiting == 0)
        assert not first.ended
        await crowd.end()
        return first, second

    first, second = run(story())
    for client, day in ((first, 19_999), (second, 20_000)):
        event, account = event_of(desk, client), f"key:key1|day|{day * DAY_MS // 1000}"
        found = run(desk.ledger.survey([account]))[account]
        assert (event.admitted_ms // DAY_MS, found.posted_nano) == (day, event.cost_nano)
    assert_at_rest(desk)


# -- not served -------------------------------------------------------------------------------


def test_money_that_stays_held_is_a_429_that_sdks_try_again() -> None:
    desk = tight_desk(line=Line(10, 0.03), first_delay_ms=500)

    async def story() -> Client:
        crowd = Crowd(desk)
        await crowd.start("first")
        second = await crowd.start("second")
        await until(lambda: second.ended)
        await crowd.end()
        return second

    client = run(story())
    assert (client.status, client.error["code"]) == (429, "budget_busy")
    assert client.error["type"] == "rate_limit_error"
    assert (client.header(b"x-should-retry"), client.header(b"retry-after")) == (b"true", b"1")
    event = event_of(desk, client)
    assert (event.kind, event.ending, event.status) == (EventKind.REFUSAL, Ending.REFUSED, 429)
    assert 20 < event.waited_ms <= event.total_ms
    assert_at_rest(desk)


@pytest.mark.parametrize(("line", "retry_after"), [(Line(10, 0), b"1"), (Line(0, 1.5), b"2")])
def test_where_nobody_may_wait_the_429_comes_at_once(line: Line, retry_after: bytes) -> None:
    desk = tight_desk(line=line)

    async def story() -> Client:
        crowd = Crowd(desk)
        await crowd.start("first")
        second = await crowd.start("second")
        await crowd.end()
        assert crowd.answered == ["second", "first"]
        return second

    client = run(story())
    assert (client.status, client.header(b"retry-after")) == (429, retry_after)
    assert event_of(desk, client).waited_ms == 0
    assert_at_rest(desk)


def test_a_full_line_turns_away_at_once_and_keeps_the_order() -> None:
    desk = tight_desk(1.9, line=Line(1, LONG_S))

    async def story() -> tuple[Client, Client]:
        crowd = Crowd(desk)
        await crowd.start("first")
        waits = await crowd.start("waits")
        turned_away = await crowd.start("turned away", max_tokens=1)
        await crowd.end()
        assert crowd.answered[0] == "turned away"
        return waits, turned_away

    waits, turned_away = run(story())
    assert (waits.status, turned_away.status) == (200, 429)
    assert turned_away.header(b"retry-after") == b"9"
    assert turned_away.error["scope"] == "key:key1"
    assert "others wait for it" in turned_away.error["message"]
    assert_at_rest(desk)


def test_spent_money_is_a_402_at_once_whoever_waits() -> None:
    desk = tight_desk(1.5)

    async def story() -> Client:
        crowd = Crowd(desk)
        await crowd.start("first")
        await crowd.start("waits")
        client = await crowd.start("too large", max_tokens=3 * TOKENS)
        assert client.ended
        assert desk.line.waiting == 1
        await crowd.end()
        return client

    client = run(story())
    assert (client.status, client.error["code"]) == (402, "budget_exceeded")
    assert client.header(b"x-should-retry") == b"false"
    assert_at_rest(desk)


def test_when_the_money_is_spent_everybody_in_line_is_told() -> None:
    desk = tight_desk(1.2, say="word " * TOKENS)

    async def story() -> list[Client]:
        crowd = Crowd(desk)
        clients = [await crowd.start(name) for name in "abcdefgh"]
        await crowd.end()
        return clients

    statuses = [client.status for client in run(story())]
    assert statuses == [200] + [402] * 7
    assert_at_rest(desk)


# -- gone -------------------------------------------------------------------------------------


def test_a_client_that_goes_while_it_waits_leaves_nothing_behind() -> None:
    desk = tight_desk()

    async def story() -> Client:
        crowd = Crowd(desk)
        first = await crowd.start("first")
        client = await crowd.start("goes")
        client.gone.set()
        await until(lambda: crowd.answered == ["goes"])
        assert (desk.line.waiting, first.ended) == (0, False)
        await crowd.end()
        return client

    assert run(story()).sent == []
    gone, paid = sorted(events(desk), key=lambda event: event.cost_nano)
    assert (gone.kind, gone.ending, gone.status) == (EventKind.REFUSAL, Ending.CLIENT_GONE, 0)
    assert (gone.cost_nano, gone.reserved_nano) == (0, 0)
    assert gone.waited_ms > 0
    assert posted_nano(desk) == paid.cost_nano
    assert_at_rest(desk)


class SlowLedger(InMemoryLedger):
    """A ledger whose answer to the next reservations is on its way until `gate` is set."""

    def __init__(self) -> None:
        super().__init__(SHAPER)
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0
        self.fails = False

    async def reserve(self, reservation: Reservation) -> Hold | Refusal:
        self.asked += 1
        found = await super().reserve(reservation)
        await self.gate.wait()
        if self.fails:
            raise LedgerError("no answer")
        return found


def test_a_client_that_goes_in_the_moment_it_is_served_costs_nothing() -> None:
    ledger = SlowLedger()
    desk = replace(tight_desk(), ledger=ledger)

    async def story() -> Client:
        crowd = Crowd(desk)
        first = await crowd.start("first")
        client = await crowd.start("goes")
        ledger.gate.clear()
        await until(lambda: first.ended and ledger.asked == 3)
        client.gone.set()
        await asyncio.sleep(0)
        ledger.gate.set()
        await crowd.end()
        return client

    assert run(story()).sent == []
    assert [event.ending for event in events(desk)] == [Ending.COMPLETED, Ending.CLIENT_GONE]
    assert posted_nano(desk) == events(desk)[0].cost_nano
    assert_at_rest(desk)


def test_a_ledger_that_fails_while_one_waits_is_a_503_and_the_place_is_free() -> None:
    ledger = SlowLedger()
    desk = replace(tight_desk(line=Line(10, 0.05)), ledger=ledger)

    async def story() -> Client:
        crowd = Crowd(desk)
        await crowd.start("first")
        client = await crowd.start("waits")
        ledger.fails = True
        await until(lambda: client.ended)
        await crowd.end()
        return client

    assert run(story()).error["code"] == "ledger_unavailable"
    assert desk.line.waiting == 0


@pytest.mark.parametrize("closed", [False, True], ids=["cancelled", "closing"])
def test_a_gateway_that_ends_lets_nobody_wait(closed: bool) -> None:
    desk = tight_desk(first_delay_ms=500)

    async def story() -> Client:
        crowd = Crowd(desk)
        await crowd.start("first")
        client = await crowd.start("waits")
        if closed:
            desk.line.close()
        else:
            crowd.tasks[1].cancel()
        await asyncio.wait([crowd.tasks[1]], timeout=0.3)
        assert (crowd.tasks[1].done(), desk.line.waiting) == (True, 0)
        await crowd.tasks[0]
        return client

    client = run(story())
    assert (client.sent == []) != closed
    assert not closed or (client.status, client.error["code"]) == (429, "budget_busy")
    assert_at_rest(desk)
