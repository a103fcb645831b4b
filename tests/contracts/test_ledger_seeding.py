"""Two gateways that open new budgets on one Redis: everything once, and nothing forgotten."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from budgets.ledger import Account, LedgerError
from budgets.scopes import Scopes
from budgets.stores.redis_books import open_books
from budgets.stores.redis_life import LedgerUnreachableError
from budgets.stores.redis_openings import OPEN_BATCH
from budgets.stores.redis_spending import SCAN_COUNT, RedisSpending, open_spending
from budgets.stores.redis_wire import reader
from tests.contracts.ledger_backends import (
    NOON_MS,
    charge,
    event,
    held,
    reservation,
    sent,
    spent,
)
from tests.contracts.two_gateways import Pair, play

pytestmark = pytest.mark.redis
ANA = Scopes(org="o", team="t", key="k", workflow="t/w", run="")
KEY = "key:k|month|0"


def as_of(pair: Pair) -> str:
    with open_spending(pair.url, pair.org) as spending:
        return spending.as_of


def test_totals_that_were_derived_from_less_than_what_is_there_are_left_out(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        before = as_of(pair)
        await pair.first.record(event("e1"))
        after = as_of(pair)
        await pair.second.carry_over({KEY: 75}, NOON_MS, after)
        await pair.first.carry_over({KEY: 60, "key:b|month|0": 5}, NOON_MS, before)
        found = await pair.first.survey([KEY, "key:b|month|0"])
        assert found == {KEY: Account(75), "key:b|month|0": Account(5)}
        # The same total from a later moment is what an earlier one must not undo.
        await pair.first.record(event("e2"))
        await pair.first.carry_over({KEY: 75}, NOON_MS, as_of(pair))
        await pair.second.carry_over({KEY: 60}, NOON_MS, after)
        assert (await pair.first.survey([KEY]))[KEY] == Account(75)
        await pair.second.carry_over({KEY: 60}, NOON_MS, as_of(pair))
        assert (await pair.first.survey([KEY]))[KEY] == Account(60)
        names = [name.decode() for name in pair.client.hkeys(pair.keys.entry)]
        assert set(names) == {f"opening:{KEY}|1", f"opening:{KEY}|2", "opening:key:b|month|0|1"}

    play(tmp_path, story)


def test_totals_of_an_earlier_life_are_an_error_and_open_nothing(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        await spent(pair.first, reservation("h1", 10), 7)
        old = as_of(pair)
        await pair.second.rebuild([])
        with pytest.raises(LedgerError, match="an earlier life of the ledger"):
            await pair.first.carry_over({KEY: 60}, NOON_MS, old)
        assert await pair.first.survey([KEY]) == {}
        await pair.first.carry_over({KEY: 60}, NOON_MS, as_of(pair))
        assert (await pair.first.survey([KEY]))[KEY] == Account(60)

    play(tmp_path, story)


def test_many_accounts_opened_by_two_gateways_at_once_are_opened_once(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        totals = {f"key:{number}|month|0": number for number in range(2 * OPEN_BATCH + 7)}
        moment = as_of(pair)
        await asyncio.gather(
            *(
                ledger.carry_over(totals, NOON_MS, moment)
                for ledger in (pair.first, pair.second, pair.first, pair.second)
            )
        )
        found = await pair.first.survey(list(totals))
        assert found == {name: Account(total) for name, total in totals.items() if total}
        assert pair.client.hlen(pair.keys.entry) == len(totals) - 1

    play(tmp_path, story)


def test_a_gateway_notes_its_own_budgets_and_takes_back_what_it_spends_without(
    tmp_path: Path,
) -> None:
    async def story(pair: Pair) -> None:
        await pair.first.note_counting(["a", "b|c"])
        assert set(await pair.second.counting()) == set()
        await pair.second.note_counting(["b|c", "d"])
        assert set(await pair.first.counting()) == {"b|c"}
        assert set(await pair.second.counting()) == {"b|c", "d"}
        await pair.first.note_counting([])
        assert set(await pair.second.counting()) == set()

    play(tmp_path, story)


def test_the_oldest_hold_is_that_of_any_gateway(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        assert await pair.first.oldest_hold_ms() is None
        # The oldest has the longest lease, and its number the fewest digits.
        for ledger, name, now_ms in (
            (pair.first, "h1", 10_000),
            (pair.second, "h2", 9_000),
            (pair.first, "h3", 30_000),
        ):
            asked = reservation(name, 1, now_ms=now_ms, lease_ms=90_000 - 2 * now_ms)
            hold = await held(ledger, asked)
        assert await pair.first.oldest_hold_ms() == 9_000
        await pair.first.release(hold, None)
        assert await pair.second.oldest_hold_ms() == 9_000

    play(tmp_path, story)


def test_whoever_reads_who_spent_what_finds_everything_that_was_there_once(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        async def some(name: str, count: int, cost_nano: int) -> None:
            wishes = [replace(reservation(f"{name}{n}", 9), scopes=ANA) for n in range(count)]
            await asyncio.gather(*(spent(pair.first, wish, cost_nano) for wish in wishes))

        await some("before", 2 * SCAN_COUNT + 50, 7)
        late = await sent(pair.first, replace(reservation("late", 9), scopes=ANA))
        with open_spending(pair.url, pair.org) as spending:
            rows = spending._pages(pair.keys.entry)
            seen = set(next(rows))
            await some("meanwhile", 3 * SCAN_COUNT, 1)
            seen.update(*rows)
            assert {f"before{n}".encode() for n in range(2 * SCAN_COUNT + 50)} <= seen
            await pair.first.expire(NOON_MS + 10_000_000)
            await pair.first.settle(late, 4, event("late"))
            [row] = spending.spent_by_party(NOON_MS, None)
        assert row.posted_nano == 7 * (2 * SCAN_COUNT + 50) + 3 * SCAN_COUNT + 4
        assert row.requests == 5 * SCAN_COUNT + 51

    play(tmp_path, story)


class InterruptedRedis(Redis):
    """A client whose first page is read, and then something else happens."""

    def __init__(self, socket: str, happening: Callable[[], None]) -> None:
        super().__init__(unix_socket_path=socket)
        self._happening: Callable[[], None] | None = happening

    def hscan(self, *args: Any, **options: Any) -> Any:
        page = super().hscan(*args, **options)
        if self._happening is not None:
            self._happening, happening = None, self._happening
            happening()
        return page


def test_no_correction_is_read_without_what_it_corrects(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        late = await sent(pair.first, replace(reservation("late", 90), scopes=ANA))
        loop = asyncio.get_running_loop()

        async def end() -> None:
            await pair.first.expire(NOON_MS + 10_000_000)
            await pair.first.settle(late, 4, event("late"))

        def happening() -> None:
            asyncio.run_coroutine_threadsafe(end(), loop).result(20)

        client = InterruptedRedis(pair.url.removeprefix("unix://"), happening)
        spending = RedisSpending(client, pair.keys)
        [row] = await asyncio.to_thread(spending.spent_by_party, 0, None)
        assert row.posted_nano == 90
        [row] = await asyncio.to_thread(spending.spent_by_party, 0, None)
        assert row.posted_nano == 4
        client.close()

    play(tmp_path, story)


def test_what_was_derived_without_a_ledger_opens_nothing(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        with open_spending(pair.url, "nobody") as spending:
            assert list(spending.spent_by_party(0, None)) == []
            with pytest.raises(LedgerError, match="an earlier life"):
                await pair.first.carry_over({KEY: 60}, NOON_MS, spending.as_of)
        nowhere = reader("unix:///nowhere", 0.1)
        with pytest.raises(LedgerUnreachableError, match="could not be read"):
            RedisSpending(nowhere, pair.keys)

    play(tmp_path, story)


OLD_HOLDS = {"held": "held", "sent": "dispatched", "late": "dispatched", "freed": "held"}


def write_as_before(pair: Pair) -> None:
    """Holds and an entry as they were when Redis kept money alone, and their sums."""
    client, keys = pair.client, pair.keys
    for name, state in OLD_HOLDS.items():
        text = f'{state}|70|{NOON_MS}|{NOON_MS + 1}|["org:o|total|0","key:k|month|0"]'
        client.hset(keys.hold, name, text)
        client.zadd(keys.lease, {name: NOON_MS + 1})
        if state == "dispatched":
            client.hset(keys.draft, name, name)
    entry = f'["settled",30,0,{NOON_MS},"h0",["org:o|total|0","key:k|month|0"]]'
    client.hset(keys.entry, "h0", entry)
    for account in ("org:o|total|0", KEY):
        client.hset(keys.posted, account, 30)
        client.hset(keys.held, account, 280)


def test_a_ledger_of_before_goes_on_with_what_it_holds(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        write_as_before(pair)
        charges = (charge("org:o|total|0"), charge(KEY, 400))
        asked = {
            name: reservation(name, 70, *charges, now_ms=NOON_MS, lease_ms=1) for name in OLD_HOLDS
        }
        holds = {name: await held(pair.first, wish) for name, wish in asked.items()}
        assert [hold.state.value for hold in holds.values()] == list(OLD_HOLDS.values())
        larger = await pair.first.extend(holds["sent"], replace(asked["sent"], amount_nano=71))
        await pair.first.settle(larger, 60, event("sent"))
        await pair.first.release(holds["held"], None)
        ended = await pair.first.expire(NOON_MS + 1)
        assert {done.hold_id: done.posted_nano for done in ended} == {"late": 70, "freed": 0}
        await pair.first.settle(holds["late"], 50, event("late"))
        assert (await pair.first.survey([KEY]))[KEY] == Account(140)
        with open_books(pair.url, pair.org) as books:
            assert sum(total.posted_nano for total in books.totals_by_day()) == 140
            assert list(books.spent_by_party(0, None)) == []

    play(tmp_path, story)
