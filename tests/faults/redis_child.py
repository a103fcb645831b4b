"""One of several gateways on a cold ledger in Redis: each rebuilds it and opens a new budget.

    python -m tests.faults.redis_child URL DIRECTORY

Says `ready`, waits for a line, and says how many entries it put back and how many accounts it
opened.
"""

import asyncio
import sys
from functools import partial
from pathlib import Path

import uvloop

from budgets.ledger import HoldState, LedgerError, Settlement
from budgets.port import RestoredEntry
from budgets.scopes import Budget, ScopeKind, Scopes, Window
from budgets.stores.redis_spending import open_spending
from gateway.budget_openings import catch_up
from tests.contracts.ledger_backends import NOON_MS
from tests.faults.redis_gateways import ORG, ledger_on_url

ENTRIES = 1_000
SPENT_NANO = sum(range(ENTRIES))
ANA = Scopes(org="o", team="t", key="k", workflow="t/w", run="")
BUDGET = Budget(ScopeKind.KEY, "*", Window.TOTAL, 10**9)


def entry(number: int) -> RestoredEntry:
    settlement = Settlement(f"h{number}", HoldState.SETTLED, number, 0)
    return RestoredEntry(settlement, ("org:o|total|0",), f"h{number}", NOON_MS, NOON_MS, ANA)


async def main(url: str, directory: Path) -> None:
    ledger = ledger_on_url(url, directory, may_found=False, timeout_ms=20_000)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    added = await ledger.rebuild([entry(number) for number in range(ENTRIES)])
    while True:
        # Whoever rebuilds last begins another life, and what was derived in this one is no more.
        try:
            await ledger.open()
            opened = await catch_up(ledger, partial(open_spending, url, ORG), [BUDGET], NOON_MS)
            break
        except LedgerError as error:
            assert "earlier life" in str(error), error
    print(added, opened, flush=True)
    await ledger.aclose()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Path(sys.argv[2])))
