"""What the SQLite ledger promised outlives the process that promised it."""

import asyncio
import os
import random
import selectors
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from budgets.ledger import HoldState
from budgets.stores.in_sqlite import SqliteLedger
from budgets.stores.sqlite_books import open_books
from tests.contracts.ledger_backends import NOON_MS, shaper

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 20
STARTED_WITHIN_S = 30


@dataclass(slots=True)
class Promises:
    """What the child said before it died."""

    sent: set[str] = field(default_factory=set)
    settled: dict[str, int] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)

    def hear(self, text: str) -> None:
        for line in text.splitlines():
            match line.split():
                case ["sent", hold_id]:
                    self.sent.add(hold_id)
                case ["settled", hold_id, cost]:
                    assert hold_id not in self.settled
                    self.settled[hold_id] = int(cost)
                case ["released", hold_id]:
                    self.released.add(hold_id)


def rows_of(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def run_and_kill(path: Path, round_name: str, dice: random.Random) -> Promises:
    """Let a child work for a random moment after its first promise, then kill it."""
    seed = dice.randrange(1_000_000)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.ledger_child", str(path), round_name, str(seed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    heard = b""
    kill_at_s: float | None = None
    give_up_s = time.monotonic() + STARTED_WITHIN_S
    with selectors.DefaultSelector() as selector, child.stdout as stdout:
        selector.register(stdout, selectors.EVENT_READ)
        while kill_at_s is None or time.monotonic() < kill_at_s:
            assert time.monotonic() < give_up_s, f"nothing was promised: {child.poll()}"
            wait_s = 1.0 if kill_at_s is None else max(0.0, kill_at_s - time.monotonic())
            if selector.select(wait_s):
                heard += os.read(stdout.fileno(), 1 << 20)
                if kill_at_s is None:
                    kill_at_s = time.monotonic() + dice.uniform(0, 0.25)
        child.send_signal(signal.SIGKILL)
        while chunk := os.read(stdout.fileno(), 1 << 20):
            heard += chunk
    assert child.wait() == -signal.SIGKILL
    promises = Promises()
    promises.hear(heard.rpartition(b"\n")[0].decode())
    return promises


def assert_promises_are_kept(path: Path, promises: Promises) -> None:
    with open_books(path) as books:
        assert list(books.faults()) == []
        events = [row.event_id for row in books.outbox()]
    assert len(events) == len(set(events))
    entries = {
        hold_id: (state, posted)
        for hold_id, state, posted in rows_of(path, "SELECT hold_id, state, posted_nano FROM entry")
    }
    sent = {row[0] for row in rows_of(path, "SELECT hold_id FROM hold WHERE state = 'dispatched'")}
    event_count = rows_of(path, "SELECT count(event_id) FROM entry")[0][0]
    for hold_id, cost in promises.settled.items():
        assert entries.get(hold_id) == (HoldState.SETTLED, cost), hold_id
    for hold_id in promises.released:
        assert entries.get(hold_id) == (HoldState.RELEASED, 0), hold_id
    assert promises.settled.keys() | promises.released <= set(events)
    assert promises.sent <= sent | entries.keys()
    assert len(events) == event_count


async def take_over(path: Path) -> None:
    """What the next process does with the holds of a dead one."""
    ledger = SqliteLedger(path, shaper())
    try:
        holds = rows_of(path, "SELECT hold_id, state, amount_nano FROM hold")
        left = {hold_id: (state, amount) for hold_id, state, amount in holds}
        await ledger.abandon_leases()
        ended = await ledger.expire(NOON_MS)
        assert {settlement.hold_id for settlement in ended} == left.keys()
        for settlement in ended:
            state, ceiling = left[settlement.hold_id]
            charged = state == "dispatched"
            assert (settlement.state is HoldState.EXPIRED_CHARGED) == charged
            assert settlement.posted_nano == (ceiling if charged else 0)
    finally:
        ledger.close()


def posted_and_held(path: Path) -> tuple[int, int, int]:
    return (
        rows_of(path, "SELECT posted_nano FROM account WHERE account = 'org:o'")[0][0],
        rows_of(path, "SELECT sum(held_nano) FROM account")[0][0],
        rows_of(path, "SELECT sum(posted_nano) FROM entry")[0][0],
    )


@pytest.mark.slow
def test_no_promise_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    dice = random.Random(seed)
    path = tmp_path / "ledger.sqlite3"
    all_promises = Promises()
    for number in range(ROUNDS):
        promises = run_and_kill(path, f"r{number}", dice)
        all_promises.sent |= promises.sent
        all_promises.settled |= promises.settled
        all_promises.released |= promises.released
        assert_promises_are_kept(path, all_promises)
        asyncio.run(take_over(path))
        assert_promises_are_kept(path, all_promises)
        posted, held, entries = posted_and_held(path)
        assert (posted, held) == (entries, 0)
    print(f"{len(all_promises.settled)} settlements kept in {ROUNDS} kills")
    assert len(all_promises.settled) > ROUNDS
