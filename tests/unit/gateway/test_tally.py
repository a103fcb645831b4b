"""The counters: each request once, money as the ledger posted it, labels that are bounded."""

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st

from budgets.ledger import HoldState, LedgerError, Settlement
from budgets.stores.in_memory import InMemoryLedger
from gateway.lifecycle import Lifecycle
from gateway.tally import ADDED_MS, Histogram, LedgerOutcome, Tally
from telemetry.event import Ending
from tests.unit.gateway.desks import (
    SHAPER,
    Client,
    ask,
    carry,
    chat,
    events,
    make_desk,
    posted_nano,
    run,
    scripted,
    start_providers,
)
from tests.unit.telemetry.events import make_event

PAID = Settlement("h", HoldState.SETTLED, 700, 0)


def test_a_settled_request_is_counted_with_its_tokens_and_its_cost() -> None:
    tally = Tally()
    event = make_event(1, fresh_tokens=3, cached_tokens=5, output_tokens=7, reasoning_tokens=11)
    tally.settled(event, PAID)
    tally.settled(event, Settlement("h2", HoldState.SETTLED, 900, 40))
    [(model, count)] = tally.by_model.items()
    assert model == (event.model, event.tier)
    assert count.endings == {("completed", 2): 2}
    assert count.tokens == [6, 10, 0, 0, 14, 22, 0]
    assert (count.cost_nano, tally.overruns, tally.overrun_nano) == (1_600, 1, 40)
    assert (tally.settlements, sum(tally.added.counts), sum(tally.first_byte.counts)) == (2, 2, 2)


def test_a_request_without_an_answer_has_no_first_byte_and_no_cost() -> None:
    tally = Tally()
    event = make_event(1, first_byte_ms=0.0, ending=Ending.UPSTREAM_FAILED, status=502)
    tally.settled(event, Settlement("h", HoldState.RELEASED, 0, 0))
    tally.turned_away(make_event(2, model="", tier="", ending=Ending.REFUSED, status=402))
    assert tally.by_model["smollm2", "small"].endings == {("upstream_failed", 5): 1}
    assert tally.by_model["", ""].endings == {("refused", 4): 1}
    assert sum(tally.first_byte.counts) == 0
    assert sum(count.cost_nano for count in tally.by_model.values()) == 0


def test_an_expired_hold_and_its_truth_are_counted_apart() -> None:
    """A counter never falls, so what a correction takes back has one of its own."""
    tally = Tally()
    charged = Settlement("a", HoldState.EXPIRED_CHARGED, 1_000, 0)
    tally.ended_leases([charged, Settlement("b", HoldState.EXPIRED_FREED, 0, 0)])
    for delta in (-300, 50):
        late = Settlement("a", HoldState.EXPIRED_CHARGED, delta, max(0, delta), correction=True)
        tally.settled(make_event(1), late)
    # Released after its lease had ended: the expiry is what was posted, and was counted.
    tally.settled(make_event(1), Settlement("a", HoldState.EXPIRED_CHARGED, 1_000, 0, True))
    assert tally.expired == {HoldState.EXPIRED_CHARGED: 1, HoldState.EXPIRED_FREED: 1}
    assert (tally.expired_nano, tally.corrected_up_nano, tally.corrected_down_nano) == (
        1000,
        50,
        300,
    )
    assert all(count.cost_nano == 0 for count in tally.by_model.values())


@given(st.lists(st.floats(0, 5_000)))
def test_a_histogram_counts_every_value_under_its_bound(values: list[float]) -> None:
    histogram = Histogram(ADDED_MS)
    for value in values:
        histogram.add(value)
    for place, bound in enumerate(ADDED_MS):
        assert sum(histogram.counts[: place + 1]) == len([v for v in values if v <= bound])
    assert sum(histogram.counts) == len(values)


def test_counting_costs_a_request_little() -> None:
    """Less than two microseconds; the best of several rounds, because the machine is shared."""
    tally, event = Tally(), make_event(1)

    def round_us() -> float:
        started_s = time.perf_counter()
        for _ in range(2_000):
            tally.settled(event, PAID)
        return (time.perf_counter() - started_s) / 2_000 * 1e6

    assert min(round_us() for _ in range(20)) < 2


def test_every_request_of_a_gateway_is_counted_once_with_what_the_ledger_posted() -> None:
    desk = make_desk({"main": scripted(say="hello there")})
    assert run(ask(desk, chat())).status == 200
    assert run(ask(desk, chat(model="nothing"))).status == 404
    assert run(ask(desk, b"{")).status == 400
    tally = desk.tally
    assert tally.refusals == {"model_not_found": 1, "invalid_json": 1}
    assert sum(sum(count.endings.values()) for count in tally.by_model.values()) == len(
        events(desk)
    )
    assert sum(count.cost_nano for count in tally.by_model.values()) == posted_nano(desk) > 0


class FailingLedger(InMemoryLedger):
    """A ledger that a provider is asked behind, and that then fails so many times."""

    def __init__(self, reserve: int = 0, dispatch: int = 0, settle: int = 0) -> None:
        super().__init__(SHAPER)
        self._left = {"reserve": reserve, "dispatch": dispatch, "settle": settle}

    def _maybe_fail(self, move: str) -> None:
        self._left[move] -= 1
        if self._left[move] >= 0:
            raise LedgerError(f"no {move} now")

    async def reserve(self, *terms):  # type: ignore[no-untyped-def]
        self._maybe_fail("reserve")
        return await super().reserve(*terms)

    async def dispatch(self, *terms):  # type: ignore[no-untyped-def]
        self._maybe_fail("dispatch")
        return await super().dispatch(*terms)

    async def settle(self, *terms):  # type: ignore[no-untyped-def]
        self._maybe_fail("settle")
        return await super().settle(*terms)


def test_every_error_of_the_ledger_has_one_outcome_and_is_counted() -> None:
    for fails, outcome, settled in (
        ({"reserve": 1}, LedgerOutcome.DENIED, 0),
        ({"dispatch": 1}, LedgerOutcome.DENIED, 1),
        ({"settle": 1}, LedgerOutcome.ASSUMED, 1),
        ({"settle": 9}, LedgerOutcome.LEFT_TO_LEASE, 0),
    ):
        desk = make_desk({"main": scripted(say="hello")}, ledger=FailingLedger(**fails))
        client = run(ask(desk, chat()))
        assert (client.status, client.error["code"]) == (503, "ledger_unavailable")
        assert desk.tally.ledger_errors == {(outcome, "failed"): 1}
        assert desk.tally.refusals == {"ledger_unavailable": 1}
        assert desk.tally.settlements == settled


def test_a_settlement_that_is_cancelled_halfway_is_counted_once() -> None:
    class Slow(InMemoryLedger):
        posted = asyncio.Event()

        async def settle(self, *terms):  # type: ignore[no-untyped-def]
            settlement = await super().settle(*terms)
            if not settlement.repeated:
                self.posted.set()
                await asyncio.sleep(60)
            return settlement

    async def story() -> None:
        ledger = Slow(SHAPER)
        desk = make_desk({"main": scripted(say="hello")}, ledger=ledger)
        await start_providers(desk)
        task = asyncio.create_task(carry(Lifecycle(desk), Client(chat())))
        await ledger.posted.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        [count] = desk.tally.by_model.values()
        assert (desk.tally.settlements, count.cost_nano) == (1, posted_nano(desk))

    run(story())
