"""Endings that nobody can be told: what is promised is owed, and what is wrong is neither."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio.connection import AbstractConnection

from budgets.ledger import Bill, Hold, HoldState, LedgerError, Settlement
from budgets.scopes import Scopes
from budgets.stores.redis_allowance import Allowance
from budgets.stores.redis_endings import Endings
from budgets.stores.redis_journal import EndingJournal, Pending
from budgets.stores.redis_lane import Lane
from budgets.stores.redis_life import LedgerUnreachableError
from budgets.stores.redis_scripts import Keys
from tests.contracts.ledger_backends import event, shaper

ANA = Scopes("o", "t", "k", "t/w", "")
HOLD = Hold("h1", HoldState.DISPATCHED, 10, ("org:o", "key:k|day/tokens|0"), 5, 65, ANA, (10, 300))
BILL = Bill(250, "mini", (12, 250))


async def no_greeting(_: AbstractConnection) -> bytes:
    raise AssertionError("nobody is there to be greeted")


def play(directory: Path, story: Callable[[Endings], Awaitable[None]]) -> list[Pending]:
    """Tell a story to a gateway whose Redis is nowhere; what it owes in the end."""
    journal = EndingJournal(directory)

    async def told() -> None:
        lane = Lane("unix:///nowhere", Keys.of("o"), 0.25, no_greeting)
        await story(Endings(lane, journal, shaper(), Allowance(journal, shaper())))
        await lane.aclose()

    asyncio.run(told())
    return list(journal.take())


def test_an_ending_is_promised_and_owed_with_all_that_was_said_of_it(tmp_path: Path) -> None:
    async def story(endings: Endings) -> None:
        done = await endings.settle(HOLD, 12, event("e1"), BILL)
        assert done == Settlement("h1", HoldState.SETTLED, 12, 2)
        released = await endings.release(HOLD, None)
        assert released == Settlement("h1", HoldState.RELEASED, 0, 0)
        with pytest.raises(LedgerUnreachableError):
            await endings.replay()

    owed = [Pending(HOLD, 12, event("e1"), "", BILL), Pending(HOLD, None, None, "")]
    assert play(tmp_path, story) == owed


@pytest.mark.parametrize("wrong", [Bill(), Bill(posted=(12,)), Bill(posted=(12, -1))])
def test_a_bill_that_does_not_fit_is_not_even_owed(tmp_path: Path, wrong: Bill) -> None:
    async def story(endings: Endings) -> None:
        with pytest.raises(LedgerError, match=r"what each account takes|outside 0 to"):
            await endings.settle(HOLD, 12, event("e1"), wrong)

    assert play(tmp_path, story) == []


def test_what_cannot_be_given_back_or_expired_now_is_an_error(tmp_path: Path) -> None:
    async def story(endings: Endings) -> None:
        for move in (endings.give_back("h1"), endings.expire(b"")):
            with pytest.raises(LedgerUnreachableError):
                await move

    assert play(tmp_path, story) == []
