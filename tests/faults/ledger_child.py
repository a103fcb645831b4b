"""A gateway's worth of requests on a ledger file, until somebody kills it.

    python -m tests.faults.ledger_child FILE ROUND SEED

Says on stdout, one line each and only after the ledger has promised it: `sent HOLD`,
`settled HOLD COST_NANO`, `released HOLD`.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

import uvloop

from budgets.ledger import Refusal
from budgets.stores.in_sqlite import SqliteLedger
from tests.contracts.ledger_backends import charge, event, reservation, shaper

REQUESTS_AT_ONCE = 16


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


async def request(ledger: SqliteLedger, hold_id: str, dice: random.Random) -> None:
    amount = dice.randrange(1, 1_000)
    accounts = [charge("org:o"), charge(f"team:{dice.randrange(3)}", 10**12)]
    accounts.append(charge(f"key:{dice.randrange(20)}", 10**12))
    hold = await ledger.reserve(reservation(hold_id, amount, *accounts))
    if isinstance(hold, Refusal) or dice.random() < 0.05:
        await asyncio.sleep(0)
        return
    hold = await ledger.dispatch(hold, hold_id.encode())
    say(f"sent {hold_id}")
    for _ in range(dice.randrange(4)):
        await asyncio.sleep(0)
    if dice.random() < 0.1:
        await ledger.release(hold, event(hold_id))
        say(f"released {hold_id}")
        return
    settlement = await ledger.settle(hold, dice.randrange(1_100), event(hold_id))
    say(f"settled {hold_id} {settlement.posted_nano}")


async def serve(path: Path, round_name: str, seed: int) -> None:
    ledger = SqliteLedger(path, shaper())

    async def worker(number: int) -> None:
        dice = random.Random(seed * 1_000 + number)
        for count in range(1_000_000):
            await request(ledger, f"{round_name}-{number}-{count}", dice)

    await asyncio.gather(*map(worker, range(REQUESTS_AT_ONCE)))


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
