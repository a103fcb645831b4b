"""Runs that were opened with budgets of their own, and what their requests are charged to. Pure.

A run may open further ones. What those spend counts for it as well, so its limits are never
exceeded, whatever it hands out; each of them may be given as much as the run above may spend.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from budgets.budget_book import charge_for
from budgets.scopes import Budget, Charge, ScopeKind, Unit, Window, account_id
from budgets.value import value

MAX_DEPTH = 8
"""So many runs may stand in one another, the outermost counted."""


@value
class RunTerms:
    """A run's id inside its team, and its limits in nano-USD, tokens and requests (None: none).

    `landing_permille` thousandths of each limit are kept for its landing.
    """

    run_id: str
    limit_nano: int | None = None
    limit_tokens: int | None = None
    limit_requests: int | None = None
    landing_permille: int = 0

    def limits(self) -> Mapping[Unit, int | None]:
        """Every limit by what it counts."""
        return {
            Unit.USD: self.limit_nano,
            Unit.TOKENS: self.limit_tokens,
            Unit.REQUESTS: self.limit_requests,
        }


def run_account(team: str, run_id: str, unit: Unit) -> str:
    """The account of everything that a run spends of a unit."""
    return account_id(ScopeKind.RUN, f"{team}/{run_id}", Window.TOTAL, 0, unit)


@lru_cache(maxsize=4_096)
def run_charges(team: str, chain: tuple[RunTerms, ...]) -> tuple[Charge, ...]:
    """What a request of the first run is charged to: its accounts, and those of the runs above it.

    Each run has an account of every unit, so that it can be told what it has spent.
    """
    return tuple(
        [
            _charge(f"{team}/{terms.run_id}", unit, limit, terms.landing_permille)
            for terms in chain
            for unit, limit in terms.limits().items()
        ]
    )


def _charge(scope_id: str, unit: Unit, limit: int | None, landing_permille: int) -> Charge:
    if limit is not None:
        budget = Budget(
            ScopeKind.RUN,
            scope_id,
            Window.TOTAL,
            limit,
            unit=unit,
            landing_permille=landing_permille,
        )
        return charge_for(budget, scope_id, 0)
    account = account_id(ScopeKind.RUN, scope_id, Window.TOTAL, 0, unit)
    return Charge(account, f"{ScopeKind.RUN}:{scope_id}", Window.TOTAL, None, None, unit=unit)


def beyond(terms: RunTerms, above: Sequence[RunTerms]) -> tuple[Unit, int] | None:
    """The unit of which a run would get more than the runs above it may spend, and that limit."""
    for unit, limit in terms.limits().items():
        bounds = [bound for one in above if (bound := one.limits()[unit]) is not None]
        if limit is not None and bounds and limit > min(bounds):
            return unit, min(bounds)
    return None
