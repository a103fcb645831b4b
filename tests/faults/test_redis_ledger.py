"""Redis is away, slow or mute: denied in time, and what was spent is paid once it is back."""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from budgets.ledger import Account, Hold, HoldState, LedgerError, Refusal
from budgets.stores.in_redis import RedisLedger
from budgets.stores.redis_life import LedgerUnreachableError
from budgets.stores.redis_scripts import Keys
from tests.contracts.ledger_backends import (
    bill,
    charge,
    event,
    held,
    reservation,
    sent,
    shaper,
    spent,
)
from tests.contracts.redis_server import RedisServer
from tests.faults.redis_gateways import (
    DENIED_WITHIN_S,
    ORG,
    TIMEOUT_MS,
    assert_books_add_up,
    denied,
    gateway,
    org_account,
    works_again,
)

pytestmark = pytest.mark.redis


# -- B12: away, paused, blackholed -----------------------------------------------------------


def test_a_server_that_is_gone_denies_in_time_and_the_ledger_finds_the_next_one(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            await spent(ledger, reservation("h1", 10), 7)
            server.kill()
            for number in range(5):
                await denied(lambda n=number: ledger.reserve(reservation(f"d{n}", 1)))
            await denied(lambda: ledger.survey(["org:o"]))
            await denied(lambda: ledger.record(event("refused")))
            server.start()
            await denied(lambda: ledger.reserve(reservation("empty", 1)), "no ledger any more")

    asyncio.run(story())


def test_a_paused_server_denies_in_time_and_works_again_by_itself(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            await spent(ledger, reservation("h1", 10), 7)
            server.client.execute_command("CLIENT", "PAUSE", "1500", "ALL")
            started_s = time.monotonic()
            asked = [ledger.reserve(reservation(f"d{n}", 1)) for n in range(200)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert time.monotonic() - started_s < DENIED_WITHIN_S
            assert all(isinstance(answer, LedgerUnreachableError) for answer in answers)
            await denied(lambda: ledger.reserve(reservation("d-last", 1)))
            await works_again(ledger, "after")
            assert (await org_account(ledger)).posted_nano == 7
        assert_books_add_up(server)

    asyncio.run(story())


def test_an_address_that_swallows_everything_denies_in_time(tmp_path: Path) -> None:
    async def story() -> None:
        async def swallow(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            while await reader.read(65_536):
                pass

        hole = await asyncio.start_server(swallow, "127.0.0.1", 0)
        port = hole.sockets[0].getsockname()[1]
        ledger = RedisLedger(
            f"redis://127.0.0.1:{port}", ORG, shaper(), tmp_path, timeout_ms=TIMEOUT_MS
        )
        await denied(ledger.open, "did not answer in time")
        for number in range(3):
            await denied(lambda n=number: ledger.reserve(reservation(f"d{n}", 1)))
        await ledger.aclose()
        hole.close()

    asyncio.run(story())


# -- B10: the answer is lost -----------------------------------------------------------------


def test_a_reservation_whose_answer_was_lost_is_one_hold_when_it_is_asked_again(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            asked = reservation("h1", 60, charge("org:o", 100))
            # The server gets the request, but answers only once nobody waits any more.
            server.freeze()
            await denied(lambda: ledger.reserve(asked))
            server.thaw()
            assert await org_account(ledger) == Account(0, 60, 0)
            hold = await held(ledger, asked)
            assert await org_account(ledger) == Account(0, 60, 0)
            await ledger.settle(await ledger.dispatch(hold, b"h1"), 60, event("h1"))
            assert await org_account(ledger) == Account(60, 0, 0)

    asyncio.run(story())


def test_money_that_was_held_without_anybody_knowing_goes_back(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            alive = await sent(ledger, reservation("alive", 5))
            server.freeze()
            asked = [ledger.reserve(reservation(f"d{n}", 10)) for n in range(20)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(answer, LedgerUnreachableError) for answer in answers)
            server.thaw()
            assert await org_account(ledger) == Account(0, 205, 0)
            assert await ledger.expire(0) == []
            assert await org_account(ledger) == Account(0, 5, 0)
            await ledger.settle(alive, 4, event("alive"))
        assert_books_add_up(server)

    asyncio.run(story())


def test_an_extension_whose_answer_was_lost_is_given_back_with_its_hold(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            asked = reservation("h1", 60, charge("org:o", 100))
            away = await sent(ledger, asked)
            more = replace(asked, amount_nano=90)
            server.freeze()
            await denied(lambda: ledger.extend(away, more))
            server.thaw()
            # It was made, nobody knows it, and what the caller knows still ends the hold.
            assert await org_account(ledger) == Account(0, 90, 0)
            assert await ledger.extend(away, more) == replace(away, amount_nano=90)
            refusal = await ledger.extend(away, replace(asked, amount_nano=101))
            assert isinstance(refusal, Refusal)
            assert (refusal.held_nano, refusal.needed_nano) == (0, 101)
            done = await ledger.settle(away, 75, event("h1"))
            assert (done.posted_nano, done.overrun_nano) == (75, 0)
            assert await org_account(ledger) == Account(75, 0, 0)
        assert_books_add_up(server)

    asyncio.run(story())


def test_a_paused_server_denies_an_extension_in_time(server: RedisServer, tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            asked = reservation("h1", 60, charge("org:o", 100))
            away = await sent(ledger, asked)
            server.client.execute_command("CLIENT", "PAUSE", "700", "ALL")
            with pytest.raises(LedgerUnreachableError):
                await ledger.extend(away, replace(asked, amount_nano=90))
            await works_again(ledger, "after")
            await ledger.settle(away, 60, event("h1"))
            assert await org_account(ledger) == Account(60, 0, 0)
        assert_books_add_up(server)

    asyncio.run(story())


def test_a_gateway_that_stood_still_does_not_blame_redis_for_it(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            asked = asyncio.ensure_future(ledger.reserve(reservation("h1", 10)))
            await asyncio.sleep(0)
            time.sleep(1.5 * TIMEOUT_MS / 1000)  # nothing runs, as while a library is loaded
            assert isinstance(await asked, Hold)
            server.client.execute_command("CLIENT", "PAUSE", "1500", "ALL")
            asked = asyncio.ensure_future(ledger.reserve(reservation("h2", 10)))
            await asyncio.sleep(0)
            time.sleep(1.5 * TIMEOUT_MS / 1000)
            started_s = time.monotonic()
            with pytest.raises(LedgerUnreachableError):
                await asked
            assert time.monotonic() - started_s < DENIED_WITHIN_S

    asyncio.run(story())


# -- B13: the settlement cannot be told ------------------------------------------------------


def test_what_was_spent_while_redis_was_paused_is_posted_once_when_it_is_back(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            holds = [await sent(ledger, reservation(f"h{n}", 10)) for n in range(4)]
            server.client.execute_command("CLIENT", "PAUSE", "700", "ALL")
            one = await ledger.settle(holds[0], 7, event("h0"))
            assert (one.state, one.posted_nano, one.overrun_nano) == (HoldState.SETTLED, 7, 0)
            two = await ledger.settle(holds[1], 12, event("h1"))
            assert (two.posted_nano, two.overrun_nano) == (12, 2)
            assert (await ledger.release(holds[2], event("h2"))).state is HoldState.RELEASED
            await works_again(ledger, "after")
            assert await ledger.expire(0) == []
            assert await org_account(ledger) == Account(19, 10, 2)
            assert await ledger.replay() == 0
            assert (await ledger.settle(holds[0], 9, event("again"))).repeated
            await ledger.settle(holds[3], 1, event("h3"))
            ids = [row.event_id for row in ledger.outbox_after(0, 100)]
            assert sorted(ids) == ["h0", "h1", "h2", "h3"]
        assert_books_add_up(server)

    asyncio.run(story())


TOKENS = "key:k|month/tokens|0"


def test_what_each_account_took_is_kept_with_what_is_owed(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            asked = reservation("h1", 10, charge("org:o"), charge(TOKENS, 500), tokens=300)
            away = await sent(ledger, asked)
            server.client.execute_command("CLIENT", "PAUSE", "700", "ALL")
            done = await ledger.settle(away, 12, event("h1"), bill(asked, 12, 250))
            assert (done.posted_nano, done.overrun_nano) == (12, 2)
            with pytest.raises(LedgerError, match="what each account takes"):
                await ledger.settle(away, 12, event("h1"))
            await works_again(ledger, "after")
            await ledger.expire(0)
            found = await ledger.survey(["org:o", TOKENS])
            assert found == {"org:o": Account(12, 0, 2), TOKENS: Account(250)}
        assert_books_add_up(server)

    asyncio.run(story())


def test_a_gateway_that_died_with_debts_pays_them_at_its_next_start(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            hold = await sent(ledger, reservation("h1", 10))
            server.client.execute_command("CLIENT", "PAUSE", "600", "ALL")
            await ledger.settle(hold, 7, event("h1"))
        # Its last line was being written when it died.
        with (tmp_path / "pending.jsonl").open("ab") as file:
            file.write(b'{"hold":["h2"')
        server.client.ping()
        for _ in range(2):
            async with gateway(server, tmp_path) as ledger:
                assert await org_account(ledger) == Account(7, 0, 0)
        assert_books_add_up(server)

    asyncio.run(story())


def test_an_ending_that_the_ledger_contradicts_is_kept_for_a_person_and_holds_nobody_up(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            strange, plain = [await sent(ledger, reservation(name, 10)) for name in ("h1", "h2")]
            # Somebody else's hands were in the ledger: it is the same one, and knows no such hold.
            server.client.hdel(Keys.of(ORG).hold, "h1")
            server.freeze()
            assert (await ledger.settle(strange, 7, event("h1"))).posted_nano == 7
            assert (await ledger.settle(plain, 5, event("h2"))).posted_nano == 5
            server.thaw()
            await works_again(ledger, "after")
            await ledger.expire(0)
            assert (await org_account(ledger)).posted_nano == 5
            assert [row.event_id for row in ledger.outbox_after(0, 9)] == ["h2"]
            [line] = (tmp_path / "rejected.jsonl").read_text().splitlines()
            assert json.loads(line)["hold"][0] == "h1"
            assert await ledger.replay() == 0

    asyncio.run(story())
