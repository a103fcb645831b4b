"""Redis forgets, is replaced, fills up or turns read-only: nothing is admitted on its word."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from budgets.ledger import Account, HoldState, LedgerError, Settlement
from budgets.port import RestoredEntry
from budgets.scopes import ScopeKind, Scopes, Unit, Window
from budgets.stores.in_redis import RedisLedger
from budgets.stores.redis_books import open_books
from budgets.stores.redis_life import LedgerLostError, LedgerUnreachableError
from tests.contracts.ledger_backends import (
    NOON_MS,
    bill,
    charge,
    event,
    held,
    reservation,
    sent,
    spent,
)
from tests.contracts.redis_server import RedisServer
from tests.faults.redis_child import ENTRIES, SPENT_NANO
from tests.faults.redis_gateways import (
    ORG,
    assert_books_add_up,
    denied,
    gateway,
    ledger_on,
    org_account,
    settled,
    works_again,
)

pytestmark = pytest.mark.redis
ROOT = Path(__file__).resolve().parents[2]
ANA = Scopes(org="o", team="t", key="k", workflow="t/w", run="")


# -- B14, B15: what was there is gone --------------------------------------------------------


def test_a_flushed_server_denies_everything_until_it_is_rebuilt(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            await spent(ledger, reservation("h1", 10), 7)
            running = await sent(ledger, reservation("h2", 10))
            server.client.flushall()
            with pytest.raises(LedgerLostError, match="weir ledger rebuild"):
                await ledger.reserve(reservation("h3", 1))
            # The answer was paid for, so its money is kept until there is a ledger again.
            assert (await ledger.settle(running, 5, event("h2"))).posted_nano == 5
            assert await ledger.rebuild([settled(1, 7)]) == 1
            await ledger.expire(0)
            assert await org_account(ledger) == Account(12, 0, 0)
            assert [row.event_id for row in ledger.outbox_after(0, 9)] == ["h2"]
        assert_books_add_up(server)

    asyncio.run(story())


def test_a_new_process_does_not_take_a_flushed_server_for_a_first_start(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            await spent(ledger, reservation("h1", 10), 7)
        server.client.flushall()
        with pytest.raises(LedgerLostError):
            async with gateway(server, tmp_path):
                pass
        with pytest.raises(LedgerLostError):
            async with gateway(server, tmp_path / "other", may_found=False):
                pass

    asyncio.run(story())


def test_a_restart_from_an_older_dump_is_noticed_by_every_gateway(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path / "a") as busy, gateway(server, tmp_path / "b") as idle:
            await spent(busy, reservation("h1", 10), 7)
            open_in_dump = await sent(busy, reservation("h2", 10))
            server.client.save()
            await busy.settle(open_in_dump, 9, event("h2"))
            await spent(busy, reservation("h3", 10), 8)
            server.kill()
            server.start()
            for ledger in (busy, idle):
                with pytest.raises(LedgerLostError, match="restarted or replaced"):
                    for _ in range(2):  # the first may still talk to the dead server
                        await _lost_or_gone(ledger)
            known = [settled(1, 7), settled(2, 9), settled(3, 8)]
            assert await idle.rebuild(known) == 2
            for ledger in (busy, idle):
                assert await org_account(ledger) == Account(24, 0, 0)
            again = await busy.settle(open_in_dump, 9, event("h2"))
            assert (again.posted_nano, again.repeated) == (9, True)
        assert_books_add_up(server)

    asyncio.run(story())


async def _lost_or_gone(ledger: RedisLedger) -> None:
    try:
        await ledger.reserve(reservation("never", 1))
    except LedgerLostError:
        raise
    except LedgerUnreachableError:
        return


def test_four_gateways_that_rebuild_at_once_post_each_entry_once(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        entries = [settled(number, number) for number in range(1_000)]
        ledgers = [
            ledger_on(server, tmp_path / f"{number}", may_found=False) for number in range(4)
        ]
        added = await asyncio.gather(*(ledger.rebuild(entries) for ledger in ledgers))
        assert sum(added) == 1_000
        for ledger in ledgers:
            await ledger.open()
            assert await org_account(ledger) == Account(sum(range(1_000)), 0, 0)
            await ledger.aclose()
        assert_books_add_up(server)

    asyncio.run(story())


TOKENS, REQUESTS = "key:k|month/tokens|0", "key:k|month/requests|0"
MIXED = ("org:o", TOKENS, REQUESTS)


def test_what_each_account_took_comes_back_after_a_loss(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            charges = [charge(name, 1_000) for name in MIXED]
            wishes = [
                replace(reservation(f"h{n}", 10, *charges, tokens=300), scopes=ANA)
                for n in range(2)
            ]
            owed = await sent(ledger, wishes[0])
            open_in_dump = await sent(ledger, wishes[1])
            server.client.save()
            server.kill()
            done = await ledger.settle(
                owed, 12, event("h0"), replace(bill(wishes[0], 12, 350), model="mini")
            )
            assert done.overrun_nano == 2
            server.start()
            known = RestoredEntry(
                Settlement("h1", HoldState.SETTLED, 7, 0),
                MIXED,
                "h1",
                event("h1").ended_ms,
                NOON_MS,
                ANA.with_model("mini"),
                bill(wishes[1], 7, 200),
            )
            assert await ledger.rebuild([known, known]) == 1
            await ledger.expire(0)
            found = await ledger.survey(MIXED)
            assert found == {
                "org:o": Account(19, 0, 2),
                TOKENS: Account(550, 0, 50),
                REQUESTS: Account(2),
            }
            again = await ledger.settle(open_in_dump, 9, event("h1"), bill(wishes[1], 9, 1))
            assert (again.posted_nano, again.repeated) == (7, True)
            with open_books(server.url, ORG) as books:
                [row] = books.spent_by_party(0, None)
                assert (row.scopes, row.amount(Unit.TOKENS)) == (ANA.with_model("mini"), 550)
        assert_books_add_up(server)

    asyncio.run(story())


def test_an_ending_of_a_ledger_that_was_flushed_brings_its_amounts_along(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            charges = [charge(name, 1_000) for name in MIXED]
            wish = replace(reservation("h1", 10, *charges, tokens=300), scopes=ANA)
            running = await sent(ledger, wish)
            freed = await sent(ledger, replace(wish, hold_id="h2"))
            server.client.flushall()
            await ledger.settle(running, 12, event("h1"), bill(wish, 12, 350))
            await ledger.release(freed, event("h2"))
            assert await ledger.rebuild([]) == 0
            await ledger.expire(0)
            found = await ledger.survey(MIXED)
            assert found == {
                "org:o": Account(12, 0, 2),
                TOKENS: Account(350, 0, 50),
                REQUESTS: Account(1),
            }
            with open_books(server.url, ORG) as books:
                rows = {row.posted_nano: row for row in books.spent_by_party(0, None)}
            assert rows[12].scopes == ANA
            assert (rows[12].amount(Unit.TOKENS), rows[12].amount(Unit.REQUESTS)) == (350, 1)
        assert_books_add_up(server)

    asyncio.run(story())


def test_four_processes_that_rebuild_and_open_a_cold_account_at_once_open_it_once(
    server: RedisServer, tmp_path: Path
) -> None:
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.faults.redis_child",
                server.url,
                str(tmp_path / f"{number}"),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    # Each says when it is ready, and all of them are let go at once.
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sum(int(added) for added, _ in told) == ENTRIES
    with open_books(server.url, ORG) as books:
        assert list(books.faults()) == []
        opened = books.accounts(ScopeKind.KEY, Window.TOTAL, [0])
    assert opened == {"k": Account(SPENT_NANO)}
    assert len(server.client.keys("*opening*")) == 1


# -- B16, B17, B18: a server that cannot or must not -----------------------------------------


def test_a_server_that_becomes_a_replica_denies_and_recovers(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            hold = await sent(ledger, reservation("h1", 10))
            server.client.execute_command("REPLICAOF", "127.0.0.1", "1")
            await denied(lambda: ledger.reserve(reservation("h2", 1)))
            await denied(lambda: ledger.reserve(reservation("h3", 1)), "cannot be written to")
            assert (await ledger.settle(hold, 7, event("h1"))).posted_nano == 7
            server.client.execute_command("REPLICAOF", "NO", "ONE")
            await works_again(ledger, "after")
            await ledger.expire(0)
            assert await org_account(ledger) == Account(7, 0, 0)
        assert_books_add_up(server)

    asyncio.run(story())


def test_a_full_server_denies_and_what_was_spent_is_posted_once_there_is_memory(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            hold = await sent(ledger, reservation("h1", 10))
            server.client.config_set("maxmemory", "1mb")
            await denied(lambda: ledger.reserve(reservation("h2", 1)), "used memory")
            assert (await ledger.settle(hold, 7, event("h1"))).posted_nano == 7
            assert await org_account(ledger) == Account(0, 10, 0)
            server.client.config_set("maxmemory", "0")
            await works_again(ledger, "after")
            await ledger.expire(0)
            assert await org_account(ledger) == Account(7, 0, 0)
        assert_books_add_up(server)

    asyncio.run(story())


# Every policy of Redis but the one that a ledger needs.
EVICTING = ["volatile-ttl"]
EVICTING += [
    f"{keys}-{which}" for keys in ("allkeys", "volatile") for which in ("lru", "lfu", "random")
]


@pytest.mark.parametrize("policy", EVICTING)
def test_a_server_that_may_evict_accounts_is_refused_with_the_setting_to_change(
    server: RedisServer, tmp_path: Path, policy: str
) -> None:
    async def story() -> None:
        server.client.config_set("maxmemory-policy", policy)
        with pytest.raises(LedgerError, match=f"{policy}.*set maxmemory-policy noeviction"):
            async with gateway(server, tmp_path):
                pass
        server.client.config_set("maxmemory-policy", "noeviction")
        async with gateway(server, tmp_path) as ledger:
            await works_again(ledger, "h1")

    asyncio.run(story())


def test_scripts_that_were_flushed_are_loaded_again_and_nothing_is_counted_twice(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            for number in range(20):
                server.client.script_flush()
                moves = [spent(ledger, reservation(f"{number}-{n}", 2), 1) for n in range(10)]
                await asyncio.gather(*moves)
            assert await org_account(ledger) == Account(200, 0, 0)
            assert len(ledger.outbox_after(0, 1_000)) == 200
        assert_books_add_up(server)

    asyncio.run(story())


def test_a_server_that_is_busy_with_a_script_denies_in_time(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            server.client.config_set("busy-reply-threshold", "50")
            endless = server.client.connection_pool.make_connection()
            endless.send_command("EVAL", "while true do end", "0")
            with pytest.raises(ResponseError, match=r"BUSY|busy"):
                while server.client.ping():
                    pass
            await denied(lambda: ledger.reserve(reservation("h1", 1)), "BUSY")
            server.client.execute_command("SCRIPT", "KILL")
            endless.disconnect()
            await works_again(ledger, "after")

    asyncio.run(story())


# -- B11: clocks -----------------------------------------------------------------------------


def test_leases_and_windows_are_counted_by_the_clock_of_redis(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(server, tmp_path) as ledger:
            seconds, micros = server.client.time()
            server_ms = seconds * 1000 + micros // 1000
            assert abs(ledger.now_ms() - server_ms) < 1_000
            two_days_ms = 172_800_000
            for skew_ms in (-two_days_ms, two_days_ms):
                skewed_ms = server_ms + skew_ms
                asked = reservation(f"h{skew_ms}", 1, now_ms=skewed_ms, lease_ms=60_000)
                hold = await held(ledger, asked)
                assert abs(hold.admitted_ms - server_ms) < 5_000
                assert hold.lease_until_ms == hold.admitted_ms + 60_000
                assert await ledger.expire(skewed_ms) == []
            assert abs(ledger.now_ms() - server_ms) < 5_000
            short = await sent(ledger, reservation("short", 5, lease_ms=0))
            [ended] = await ledger.expire(0)
            assert (ended.hold_id, ended.posted_nano) == (short.hold_id, 5)

    asyncio.run(story())
