"""Two gateways on one Redis: what one gateway may rely on, several may rely on together."""

import asyncio
from pathlib import Path

import pytest

from budgets.ledger import Account, Hold, HoldState, LedgerError
from budgets.stores.redis_books import read_accounts
from tests.contracts.ledger_backends import (
    LEASE_MS,
    NOON_MS,
    charge,
    event,
    held,
    reservation,
    sent,
)
from tests.contracts.two_gateways import Pair, play

pytestmark = pytest.mark.redis


@pytest.mark.parametrize("fitting", [1, 37])
def test_of_two_hundred_at_once_on_two_gateways_exactly_those_that_fit_are_admitted(
    tmp_path: Path, fitting: int
) -> None:
    async def story(pair: Pair) -> None:
        ledgers = (pair.first, pair.second)
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
    async def story(pair: Pair) -> None:
        first, second = pair.first, pair.second
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
    async def story(pair: Pair) -> None:
        first, second = pair.first, pair.second
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
    async def story(pair: Pair) -> None:
        first, second = pair.first, pair.second
        assert (first.collects, second.collects) == (True, False)
        hold = await held(first, reservation("h1", 70))
        away = await second.dispatch(hold, b"h1")
        with pytest.raises(LedgerError, match="not there to dispatch"):
            await first.dispatch(hold, b"h1")
        assert (await first.settle(away, 7, event("h1"))).posted_nano == 7
        accounts = read_accounts(pair.url, pair.org, 5.0)
        assert accounts == {"org:o": Account(7, 0, 0)}

    play(tmp_path, story)


def test_only_the_gateway_that_collects_now_forgets_events(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        first, second = pair.first, pair.second
        await first.record(event("e1"))
        [row] = first.outbox_after(0, 10)
        await second.rebuild([])  # which makes it the one that collects
        await first.trim_outbox(row.seq)
        assert first.collects is False
        assert [found.event_id for found in second.outbox_after(0, 10)] == ["e1"]
        await second.trim_outbox(row.seq)
        assert list(second.outbox_after(0, 10)) == []

    play(tmp_path, story)
