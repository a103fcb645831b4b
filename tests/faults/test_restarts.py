"""A gateway that is stopped or killed and started again, while two hundred callers go on asking."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from budgets.stores import redis_books, sqlite_books
from tests.contracts.redis_server import own_server
from tests.faults.mixed_load import MixedLoad, config, make_keys
from tests.faults.three_books import Books, compare
from tests.journeys.gateway_process import IN_REDIS, GatewayProcess, assert_clean, gateway, wait_for
from tests.journeys.upstream import Upstream, upstream

# So many restarts of each store, half of them gentle.
ROUNDS = int(os.environ.get("WEIR_RESTART_ROUNDS", "4"))
CALLERS = 200
ANSWERS_A_LIFE = 200
# No stream may run into its time limit, however busy the machine: it would cost what was sent.
LEASE_S, SWEEP_S = 20, 5
SHORT_LEASE = f"request_timeout_s = {LEASE_S - 1}\nlease_s = {LEASE_S}"


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a gateway keeps its ledger, and when the holds of a dead one have ended."""

    books: Books
    server: str = ""
    more: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    at_rest_s: float = 0.0


@contextmanager
def in_sqlite(folder: Path) -> Iterator[Kept]:
    """The dead one's leases end at the next start, as nobody else can hold anything there."""
    yield Kept(sqlite_books.open_books(folder / "data/ledger.sqlite3"))


@contextmanager
def in_redis(_: Path) -> Iterator[Kept]:
    with own_server() as server:
        books = redis_books.open_books(server.url, "default")
        env = {"WEIR_REDIS_URL": server.url}
        yield Kept(books, SHORT_LEASE, IN_REDIS, env, LEASE_S + 2 * SWEEP_S)


def restart(weir: GatewayProcess, up: Upstream, *, gently: bool) -> None:
    """End it while callers wait for it, and start it on the same address."""
    port = int(weir.base_url.rpartition(":")[2])
    if gently:
        assert weir.stop() == 0
    else:
        weir.kill()
    wait_for(lambda: up.answering == 0, "nobody is left to answer")
    weir.start(port)


def nothing_held(weir: GatewayProcess) -> bool:
    return all(row["held_nano"] == 0 for row in weir.admin("budgets")["budgets"])


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize(
    "kept_in",
    [
        pytest.param(in_sqlite, id="SQLite"),
        pytest.param(in_redis, id="Redis", marks=pytest.mark.redis),
    ],
)
@pytest.mark.parametrize("gently", [True, False], ids=["SIGTERM", "SIGKILL"])
def test_restarts_under_two_hundred_callers_leave_all_books_in_agreement(
    tmp_path: Path, gently: bool, kept_in: Callable[[Path], AbstractContextManager[Kept]]
) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    dice = Random(seed)
    with (
        kept_in(tmp_path) as kept,
        upstream() as up,
        gateway(tmp_path, config(up, kept.server, kept.more), kept.environment) as weir,
    ):
        with MixedLoad(weir, up, make_keys(weir), CALLERS, seed) as load:
            for _ in range(ROUNDS // 2):
                enough = load.answered + dice.randrange(ANSWERS_A_LIFE)
                wait_for(lambda n=enough: load.answered > n, "answers", within_s=60)
                restart(weir, up, gently=gently)
            wait_for(lambda: load.answered > enough, "answers after the last start", within_s=60)
        wait_for(lambda: nothing_held(weir), "the leases of the dead end", 1 + kept.at_rest_s)
        assert_clean(weir)
        for row in weir.admin("budgets")["budgets"]:
            assert (row["held_nano"], row["overrun_nano"]) == (0, 0), row
            assert row["posted_nano"] <= row["limit_nano"], row
        wait_for(lambda: up.answering == 0, "the upstream is at rest")
        assert weir.stop() == 0
        found = compare(load.calls, up.bill, weir.events(), kept.books)
    print(ROUNDS // 2, found)
    assert found.acknowledged > ROUNDS and found.waited > 0
    # Who is asked to go finishes what it has begun, so that nothing is left to be assumed.
    assert (found.assumed == 0) == gently
