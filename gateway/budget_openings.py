"""Counts what was spent before a budget was there: once for each new budget, off the request path.

The ledger notes which budgets miss nothing. A budget that is not among them is opened with what its
window's entries say it missed; the note follows last, so a crash in between only means doing it
again, which changes nothing.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

from budgets.openings import bucket_s, counting_names, first_counted_s, not_counting, openings
from budgets.port import SeedingBooks, SeedingLedger
from budgets.scopes import Budget

OpenBooks = Callable[[], AbstractContextManager[SeedingBooks]]


async def catch_up(
    ledger: SeedingLedger, open_books: OpenBooks, budgets: Iterable[Budget], now_ms: int
) -> int:
    """Open the accounts of budgets that may have missed something; how many accounts had.

    No hold may be open that was reserved without these budgets: what it costs would be missed.
    """
    budgets = list(budgets)
    opened = await open_accounts(ledger, open_books, budgets, now_ms)
    await ledger.note_counting(list(counting_names(budgets)))
    return opened


async def open_accounts(
    ledger: SeedingLedger, open_books: OpenBooks, budgets: Iterable[Budget], now_ms: int
) -> int:
    """`catch_up` while holds are open: what they will cost is still missed, so nothing is noted."""
    opened = 0
    for budget in not_counting(budgets, await ledger.counting()):
        missed, as_of = await asyncio.to_thread(_missed, open_books, budget, now_ms // 1_000)
        await ledger.carry_over(missed, now_ms, as_of)
        opened += len(missed)
    return opened


def _missed(open_books: OpenBooks, budget: Budget, now_s: int) -> tuple[Mapping[str, int], str]:
    """What the budget's accounts missed, and as of when."""
    with open_books() as books:
        since_ms = first_counted_s(budget, now_s) * 1_000
        spent = books.spent_by_party(since_ms, bucket_s(budget))
        return openings(budget, spent, now_s), books.as_of
