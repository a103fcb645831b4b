"""A replica that lags takes over from its dead primary: what it missed is noticed and put back."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from budgets.ledger import Account
from budgets.stores.in_redis import RedisLedger
from budgets.stores.redis_life import LedgerLostError, LedgerUnreachableError
from tests.contracts.ledger_backends import event, reservation, sent, spent
from tests.contracts.redis_server import RedisServer, own_server
from tests.faults.redis_gateways import (
    assert_books_add_up,
    gateway,
    ledger_on_url,
    org_account,
    settled,
    works_again,
)
from tests.journeys.gateway_process import wait_for

pytestmark = pytest.mark.redis

COPIED, MISSED = 20, 15
EACH_NANO = 7


@pytest.fixture
def primary() -> Iterator[RedisServer]:
    with own_server("--repl-diskless-sync-delay", "0") as server:
        yield server


@pytest.fixture
def replica(primary: RedisServer) -> Iterator[RedisServer]:
    """Another server that has everything the primary has."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    primary.client.config_set("port", port)
    with own_server() as server:
        server.client.execute_command("REPLICAOF", "127.0.0.1", str(port))
        wait_for(lambda: linked(server), "the replica has a copy")
        yield server


def linked(replica: RedisServer) -> bool:
    return bool(replica.client.info("replication")["master_link_status"] == "up")


def heard(replica: RedisServer) -> int:
    return int(replica.client.info("replication")["slave_repl_offset"])


def cut(primary: RedisServer, replica: RedisServer) -> None:
    """Let the replica hear nothing more, having heard everything so far."""
    written = primary.client.info("replication")["master_repl_offset"]
    wait_for(lambda: heard(replica) >= written, "the replica has everything")
    primary.client.config_set("port", 0)
    primary.client.execute_command("CLIENT", "KILL", "TYPE", "replica")
    wait_for(lambda: not linked(replica), "the link is cut")


def lead_to(address: Path, server: RedisServer) -> None:
    """Have the address that gateways know lead to this server."""
    address.unlink(missing_ok=True)
    address.symlink_to(server.directory / "redis.sock")


async def told_of_a_loss(ledger: RedisLedger) -> str:
    """Ask until it says what is wrong, for it may talk to the dead server first; admitted never."""
    give_up_s = time.monotonic() + 10
    while True:
        assert time.monotonic() < give_up_s
        try:
            await ledger.reserve(reservation("never", 1))
        except LedgerLostError as lost:
            return str(lost)
        except LedgerUnreachableError:
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("admitted on the word of a server that missed something")


def test_a_replica_that_missed_writes_admits_nobody_until_they_are_put_back(
    primary: RedisServer, replica: RedisServer, tmp_path: Path
) -> None:
    address = primary.directory / "current.sock"
    lead_to(address, primary)

    async def story() -> None:
        ledgers = [ledger_on_url(f"unix://{address}", tmp_path / name) for name in ("a", "b")]
        for ledger in ledgers:
            await ledger.open()
        first, second = ledgers
        for number in range(COPIED + MISSED):
            if number == COPIED:
                cut(primary, replica)
            await spent(first, reservation(f"h{number}", 10), EACH_NANO)
        running = await sent(second, reservation("running", 10))
        primary.kill()
        replica.client.execute_command("REPLICAOF", "NO", "ONE")
        lead_to(address, replica)
        for ledger in ledgers:
            assert "restarted or replaced" in await told_of_a_loss(ledger)
        # The answer that was under way is paid for, though the new server never heard of it.
        assert (await second.settle(running, 9, event("running"))).posted_nano == 9
        known = [settled(number, EACH_NANO) for number in range(COPIED + MISSED)]
        assert await first.rebuild(known) == MISSED
        await works_again(first, "after")
        await second.expire(0)
        for ledger in ledgers:
            assert await org_account(ledger) == Account((COPIED + MISSED) * EACH_NANO + 9)
            await ledger.aclose()

    asyncio.run(story())
    assert_books_add_up(replica)


def test_a_replica_that_takes_over_is_not_believed_until_it_is_rebuilt(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        with own_server() as first, own_server() as second:
            async with gateway(first, tmp_path) as ledger:
                await spent(ledger, reservation("h1", 10), 7)
            first.client.save()
            second.kill()
            (second.directory / "dump.rdb").write_bytes((first.directory / "dump.rdb").read_bytes())
            second.start()
            with pytest.raises(LedgerLostError, match="replaced"):
                async with gateway(second, tmp_path):
                    pass

    asyncio.run(story())
