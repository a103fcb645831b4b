"""Two gateways on one Redis: what one gateway may rely on, several may rely on together."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from budgets.ledger import Account, Hold, HoldState, LedgerError
from budgets.stores.in_redis import RedisLedger
from budgets.stores.redis_books import open_books, read_accounts
from budgets.stores.redis_scripts import Keys
from tests.contracts.ledger_backends import (
    LEASE_MS,
    NOON_MS,
    charge,
    event,
    held,
    reservation,
    sent,
    shaper,
)
from tests.contracts.redis_server import shared_server

pytestmark = pytest.mark.redis

Story = Callable[[RedisLedger, RedisLedger], Awaitable[None]]


@asynccontextmanager
async def two_gateways(org: str, directory: Path) -> AsyncIterator[list[RedisLedger]]:
    ledgers = [
        RedisLedger(
            shared_server().url,
            org,
            shaper(),
            directory / name,
            timeout_ms=20_000,
            may_found=True,
            server_time=False,
        )
        for name in ("first", "second")
    ]
    try:
        for ledger in ledgers:
            await ledger.open()
        yield ledgers
    finally:
        for ledger in ledgers:
            await ledger.aclose()


def play(directory: Path, story: Story) -> None:
    """Tell a story to two gateways on a fresh ledger, which must add up in the end."""
    org = uuid.uuid4().hex

    async def told() -> None:
        async with two_gateways(org, directory) as (first, second):
            await story(first, second)

    try:
        asyncio.run(told())
        with open_books(shared_server().url, org) as books:
            assert list(books.faults()) == []
    finally:
        shared_server().client.delete(*Keys.of(org).all())


@pytest.mark.parametrize("fitting", [1, 37])
def test_of_two_hundred_at_once_on_two_gateways_exactly_those_that_fit_are_admitted(
    tmp_path: Path, fitting: int
) -> None:
    async def story(*ledgers: RedisLedger) -> None:
        for repeat in range(20):
            limited = charge(f"run:{repeat}", 10 * fitting + 9)
            asked = [
                ledgers[n % 2].reserve(reservation(f"{repeat}-{n}", 10, charge("org:o"), limited))
                for n in range(200)
            ]
            answers = await asyncio.gather(*asked)
            assert sum(isinstance(answer, Hold) for answer in answers) == fitting
            assert (await ledgers[0].survey([limited.account]))[limited.account] == Account(
                0, 10 * fitting, 0
            )

    play(tmp_path, story)


def test_a_hold_that_both_gateways_settle_is_settled_once(tmp_path: Path) -> None:
    async def story(first: RedisLedger, second: RedisLedger) -> None:
        for number in range(50):
            hold = await sent(first, reservation(f"h{number}", 70))
            endings = await asyncio.gather(
                first.settle(hold, 40, event(f"h{number}-first")),
                second.settle(hold, 41, event(f"h{number}-second")),
            )
            assert sorted(ending.repeated for ending in endings) == [False, True]
            assert len({ending.posted_nano for ending in endings}) == 1
        assert len(first.outbox_after(0, 100)) == 50

    play(tmp_path, story)


def test_two_sweeps_at_once_end_every_lease_once(tmp_path: Path) -> None:
    async def story(first: RedisLedger, second: RedisLedger) -> None:
        for number in range(150):
            await held(first, reservation(f"held-{number}", 1))
            await sent(second, reservation(f"sent-{number}", 2))
        sweeps = await asyncio.gather(
            first.expire(NOON_MS + LEASE_MS), second.expire(NOON_MS + LEASE_MS)
        )
        ended = [settlement.hold_id for sweep in sweeps for settlement in sweep]
        assert len(ended) == len(set(ended)) == 300
        states = [settlement.state for sweep in sweeps for settlement in sweep]
        assert states.count(HoldState.EXPIRED_CHARGED) == 150
        assert (await second.survey(["org:o"]))["org:o"] == Account(300, 0, 0)

    play(tmp_path, story)


def test_the_first_gateway_collects_and_the_next_one_joins(tmp_path: Path) -> None:
    async def story(first: RedisLedger, second: RedisLedger) -> None:
        assert (first.collects, second.collects) == (True, False)
        hold = await held(first, reservation("h1", 70))
        away = await second.dispatch(hold, b"h1")
        with pytest.raises(LedgerError, match="not there to dispatch"):
            await first.dispatch(hold, b"h1")
        assert (await first.settle(away, 7, event("h1"))).posted_nano == 7
        org = first._keys.meta.decode().removeprefix("{weir:").removesuffix("}:meta")
        accounts = read_accounts(shared_server().url, org, 5.0)
        assert accounts == {"org:o": Account(7, 0, 0)}

    play(tmp_path, story)
