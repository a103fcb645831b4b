"""Asks the ledger for a request, and does without it where it cannot be asked and all budgets of
the request are soft. Hard budgets never do: their requests are denied.
"""

from collections.abc import Mapping, Sequence

from budgets.admission import all_soft
from budgets.ledger import (
    Account,
    BudgetsChangedError,
    Hold,
    LedgerError,
    Refusal,
    Reservation,
)
from budgets.scopes import Charge
from gateway.desk import Desk
from gateway.tally import LedgerOutcome


async def survey(
    desk: Desk, names: Sequence[str], charges: Sequence[Charge]
) -> Mapping[str, Account]:
    """The accounts as they stand; none where the request may do without. Raise LedgerError."""
    try:
        return await desk.ledger.survey(names)
    except LedgerError:
        if desk.allow is None or not all_soft(charges):
            raise
        return {}


async def reserve(desk: Desk, wish: Reservation) -> Hold | Refusal:
    """Set the money aside: in the ledger, or within this gateway's allowance.

    Raise LedgerError where neither can be.
    """
    try:
        return await desk.ledger.reserve(wish)
    except BudgetsChangedError:
        raise
    except LedgerError as error:
        hold = None if desk.allow is None else desk.allow(wish)
        if hold is None:
            raise
        desk.watch.failed(LedgerOutcome.ALLOWED, error)
        return hold
