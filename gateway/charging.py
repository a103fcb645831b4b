"""What a request is charged to, and the error where one of those budgets refuses. Pure."""

from collections.abc import Iterable

from budgets.budget_book import BudgetBook, tightest
from budgets.kills import gates, shut
from budgets.landing import landing
from budgets.ledger import Refusal
from budgets.scopes import Charge, Unit
from gateway.errors import ApiError, budget_exceeded, run_killed
from gateway.identity import OWN_RUN, Identity


def charges_of(book: BudgetBook, identity: Identity, now_ms: int) -> tuple[Charge, ...]:
    """Every account of a request but those of models, with the gates of runs that were killed."""
    lone_run = identity.run_source == OWN_RUN
    charges = book.charges(identity.scopes, now_ms // 1000, lone_run=lone_run)
    if identity.granted:
        charges = tightest((*charges, *identity.granted))
    if identity.lands and not lone_run:
        charges = landing(charges, identity.scopes.run)
    if book.kills:
        charges += gates(charges, identity.scopes, lone_run=lone_run)
    return charges


def refused(refusal: Refusal, charges: Iterable[Charge]) -> ApiError:
    """The error for a refusal: a budget without room, or the gate of a run killed just now."""
    for charge in charges:
        if charge.account == refusal.account:
            if charge.unit is Unit.GATE:
                return run_killed(shut(charge))
            return budget_exceeded(refusal, charge.budget)
    return budget_exceeded(refusal)
