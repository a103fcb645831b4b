"""Redis is away and a budget is soft: so much is admitted and no more, and all of it is posted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from budgets.ledger import Account, Hold, HoldState, Reservation
from budgets.scopes import Budget, Charge, ScopeKind, Window
from budgets.stores.in_redis import RedisLedger
from budgets.stores.redis_life import LedgerUnreachableError
from tests.contracts.ledger_backends import charge, event, reservation, shaper
from tests.contracts.redis_server import RedisServer
from tests.faults.redis_gateways import ORG, TIMEOUT_MS, assert_books_add_up, ledger_on, works_again

pytestmark = pytest.mark.redis


@asynccontextmanager
async def gateway(server: RedisServer, directory: Path) -> AsyncIterator[RedisLedger]:
    ledger = ledger_on(server, directory)
    ledger.set_allowance(100)
    try:
        await ledger.open()
        yield ledger
    finally:
        await ledger.aclose()


def soft_key() -> Charge:
    soft = Budget(ScopeKind.KEY, "k", Window.TOTAL, 1_000, soft=True)
    return replace(charge("key:k|total|0", 1_000), budget=soft)


def wish(name: str, amount_nano: int = 40) -> Reservation:
    return reservation(name, amount_nano, charge("org:o"), soft_key())


async def sent_without(ledger: RedisLedger, asked: Reservation) -> Hold:
    """The dispatched hold of a request that Redis could not be asked for."""
    with pytest.raises(LedgerUnreachableError):
        await ledger.reserve(asked)
    hold = ledger.allow(asked)
    assert hold is not None
    return await ledger.dispatch(hold, hold.hold_id.encode())


async def posted(ledger: RedisLedger) -> Account:
    return (await ledger.survey(["key:k|total|0"]))["key:k|total|0"]


def outbox(ledger: RedisLedger) -> list[str]:
    return sorted(row.event_id for row in ledger.outbox_after(0, 100))


def test_no_more_is_admitted_than_the_allowance_and_it_is_posted_when_redis_is_back(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            server.freeze()
            holds = [await sent_without(ledger, wish(f"h{number}")) for number in range(2)]
            with pytest.raises(LedgerUnreachableError):
                await ledger.reserve(wish("h2"))
            assert ledger.allow(wish("h2")) is None
            done = await ledger.settle(holds[0], 35, event("h0"))
            assert (done.state, done.posted_nano) == (HoldState.SETTLED, 35)
            assert (await ledger.release(holds[1], event("h1"))).state is HoldState.RELEASED
            assert ledger.allowance_left_nano() == 100 - 35
            server.thaw()
            await works_again(ledger, "after")
            # Redis carried out the reservations that nobody waited for: they do not hold for ever.
            await ledger.expire(0)
            assert await posted(ledger) == Account(35, 0, 0)
            assert ledger.allowance_left_nano() == 100
            assert outbox(ledger) == ["h0", "h1"]
            again = await ledger.settle(holds[0], 35, event("h0"))
            assert again.repeated
            assert await posted(ledger) == Account(35, 0, 0)
        assert_books_add_up(server)

    asyncio.run(story())


def test_a_request_that_ends_when_redis_is_back_is_posted_at_once(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            server.freeze()
            hold = await sent_without(ledger, wish("h1"))
            server.thaw()
            await works_again(ledger, "after")
            assert (await ledger.settle(hold, 55, event("h1"))).overrun_nano == 15
            assert await posted(ledger) == Account(55, 0, 15)
            assert ledger.allowance_left_nano() == 100
        assert_books_add_up(server)

    asyncio.run(story())


def test_the_truth_of_a_request_whose_doubtful_hold_expired_meanwhile_is_posted(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path / "a") as ledger:
            server.freeze()
            asked = replace(wish("h1"), lease_ms=50)
            hold = await sent_without(ledger, asked)
            server.thaw()
            async with gateway(server, tmp_path / "b") as other:
                give_up_s = asyncio.get_running_loop().time() + 10
                while not await other.expire(0):
                    assert asyncio.get_running_loop().time() < give_up_s
                    await asyncio.sleep(0.02)
            assert (await posted(ledger)).held_nano == 0
            await ledger.settle(hold, 30, event("h1"))
            assert (await posted(ledger)).posted_nano == 30
        assert_books_add_up(server)

    asyncio.run(story())


def test_a_gateway_killed_meanwhile_leaves_its_spend_to_the_next_and_no_new_allowance(
    server: RedisServer, tmp_path: Path
) -> None:
    async def first() -> None:
        async with gateway(server, tmp_path) as ledger:
            server.freeze()
            await sent_without(ledger, wish("h0"))
            hold = await sent_without(ledger, wish("h1"))
            await ledger.settle(hold, 20, event("h1"))

    async def second() -> None:
        ledger = RedisLedger(server.url, ORG, shaper(), tmp_path, timeout_ms=TIMEOUT_MS)
        ledger.set_allowance(100)
        assert ledger.allowance_left_nano() == 100 - 40 - 20
        server.thaw()
        await ledger.open()
        assert (await posted(ledger)).posted_nano == 60
        assert outbox(ledger) == ["h0-assumed", "h1"]
        assert ledger.allowance_left_nano() == 100
        await ledger.settle_debts()
        await ledger.aclose()

    asyncio.run(first())
    asyncio.run(second())
    assert_books_add_up(server)
