"""Measure what the ledger costs a request: reserve, dispatch and settle, with their commits.

    python bench/ledger.py [--requests 6400] [--rounds 3] [--rolling | --units]
                           [--redis redis://localhost:6379/0]

The SQLite ledger, or with `--redis` the one in that server, under an organisation of its own.

Every request has three accounts and an event of 1,500 bytes, about the size of a real one.
"Processor time" is that of the event loop's thread; "longest wait" is the longest a whole request
took. Prints one line for each number of requests at once, the median round.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from budgets.budget_book import BudgetBook
from budgets.ledger import Bill, Hold, Reservation, postings
from budgets.port import EventShaper, LedgerStore, OutboxEvent
from budgets.rolling import RollingWindow
from budgets.scopes import Budget, Charge, ScopeKind, Scopes, Unit, Window
from budgets.stores.in_redis import RedisLedger
from budgets.stores.in_sqlite import SqliteLedger

AT_ONCE = (1, 16, 64)
PAYLOAD = b"x" * 1_500
LIMIT_NANO = 10**15
SCOPES = [
    Scopes(org="o", team=f"{key % 5}", key=f"{key}", workflow=f"{key % 5}/w", run="")
    for key in range(50)
]


@dataclass(frozen=True, slots=True)
class Round:
    """One round: microseconds of processor time and of wall time for each request."""

    loop_us: float
    wall_us: float
    longest_ms: float


def charges(key: int, kind: str) -> tuple[Charge, ...]:
    """The organisation's total, one of five teams and one of fifty keys.

    With `rolling` the key has a budget of 24 hours beside that of its month; with `units` it has
    one in tokens and one in requests.
    """
    monthly = (
        Charge("org:o|total|0", "org:o", Window.TOTAL, None, None),
        Charge(f"team:{key % 5}|month|0", f"team:{key % 5}", Window.MONTH, LIMIT_NANO, None),
        Charge(f"key:{key}|month|0", f"key:{key}", Window.MONTH, LIMIT_NANO, None),
    )
    budgets = {
        "rolling": [Budget(ScopeKind.KEY, "*", RollingWindow(86_400), LIMIT_NANO)],
        "units": [
            Budget(ScopeKind.KEY, "*", Window.MONTH, LIMIT_NANO, unit=unit)
            for unit in (Unit.TOKENS, Unit.REQUESTS)
        ],
    }
    scopes = Scopes(org="o", team="t", key=str(key), workflow="t/w", run="t/r")
    return monthly + BudgetBook(budgets.get(kind, [])).charges(scopes, int(time.time()))[1:]


async def request(ledger: LedgerStore, number: int, charged: tuple[Charge, ...]) -> float:
    """One whole request; how many seconds it took."""
    started_s = time.perf_counter()
    hold_id = f"{time.time_ns():016x}{number:08x}"
    wish = Reservation(hold_id, 1_000_000, charged, 1, 60_000, SCOPES[number % 50], 2_000)
    hold = await ledger.reserve(wish)
    if not isinstance(hold, Hold):
        raise SystemExit(f"refused: {hold}")
    hold = await ledger.dispatch(hold, PAYLOAD)
    await asyncio.sleep(0)  # a request waits for its provider, and the others have their turn
    bill = Bill(1_500, "", postings(charged, 700_000, 1_500))
    await ledger.settle(hold, 700_000, OutboxEvent(hold_id, PAYLOAD, 1), bill)
    return time.perf_counter() - started_s


async def one_round(ledger: LedgerStore, at_once: int, requests: int, kind: str) -> Round:
    charged = [charges(key, kind) for key in range(50)]

    async def worker(number: int) -> float:
        count = requests // at_once
        return max([await request(ledger, number, charged[i % 50]) for i in range(count)])

    wall_s, loop_s = time.perf_counter(), time.thread_time()
    longest_s = max(await asyncio.gather(*map(worker, range(at_once))))
    wall_s, loop_s = time.perf_counter() - wall_s, time.thread_time() - loop_s
    rows = ledger.outbox_after(0, 10 * requests)
    await ledger.trim_outbox(rows[-1].seq)
    return Round(loop_s / requests * 1e6, wall_s / requests * 1e6, longest_s * 1e3)


async def measure(requests: int, rounds: int, redis_url: str | None, kind: str) -> None:
    shaper = EventShaper(
        assumed=lambda draft, _, now_ms: OutboxEvent("assumed", draft, now_ms),
        correction=lambda event, _: event,
    )
    with tempfile.TemporaryDirectory() as directory:
        ledger: LedgerStore
        if redis_url is None:
            ledger = SqliteLedger(Path(directory) / "ledger.sqlite3", shaper)
        else:
            org = f"bench-{time.time_ns()}"
            ledger = shared = RedisLedger(
                redis_url, org, shaper, Path(directory), timeout_ms=5_000, may_found=True
            )
            await shared.open()
        print("at once | processor time µs | wall time µs | longest wait ms")
        for at_once in AT_ONCE:
            done = [await one_round(ledger, at_once, requests, kind) for _ in range(rounds)]
            loop_us = statistics.median(one.loop_us for one in done)
            wall_us = statistics.median(one.wall_us for one in done)
            longest_ms = statistics.median(one.longest_ms for one in done)
            print(f"{at_once:7} | {loop_us:17.1f} | {wall_us:12.1f} | {longest_ms:15.1f}")
        ledger.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the ledger.")
    parser.add_argument("--requests", type=int, default=6_400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--redis", metavar="URL")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--rolling", action="store_true", help="add a rolling budget of 24 hours")
    kind.add_argument("--units", action="store_true", help="add budgets in tokens and in requests")
    given = parser.parse_args()
    added = "rolling" if given.rolling else "units" if given.units else ""
    uvloop.run(measure(given.requests, given.rounds, given.redis, added))
