"""Where each budget stands now: limit, spent and held, one row for each scope it applies to."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from budgets.ledger import Account
from budgets.rolling import RollingWindow
from budgets.scopes import (
    FULL_PERMILLE,
    AnyWindow,
    Budget,
    ScopeKind,
    Unit,
    decided_by,
    stand_ins,
    window_span,
    window_starts,
)

Accounts = Callable[[ScopeKind, AnyWindow, Collection[int], Unit], Mapping[str, Account]]


def budget_rows(budgets: Iterable[Budget], accounts: Accounts, now_s: int) -> list[dict[str, Any]]:
    """Rows in the order of the configuration; a wide budget has a row for each scope that spent.

    A scope that a more specific budget of the same window and unit stands in for is left out.
    Amounts (`*_nano`) are in the row's `unit`: nano-USD, tokens or requests.
    """
    known = list(budgets)
    rows = []
    for budget in known:
        starts = window_starts(budget.window, budget.timezone, now_s)
        found = accounts(budget.kind, budget.window, starts, budget.unit)
        end_s = _end_s(budget, now_s)
        for scope_id, account in _of_budget(budget, known, found):
            rows.append(_row(budget, scope_id, account, end_s))
    return rows


def _of_budget(
    budget: Budget, budgets: Iterable[Budget], found: Mapping[str, Account]
) -> Iterator[tuple[str, Account]]:
    """The scopes that a budget decides for, with what is in their accounts."""
    if not budget.is_wide:
        yield budget.scope_id, found.get(budget.scope_id, Account())
        return
    decides = decided_by(budget, stand_ins(budget, budgets))
    for scope_id, account in found.items():
        if decides(scope_id):
            yield scope_id, account


def _end_s(budget: Budget, now_s: int) -> int | None:
    """When the window starts again; a rolling one never does."""
    if isinstance(budget.window, RollingWindow):
        return None
    return window_span(budget.window, budget.timezone, now_s).end_s


def _row(budget: Budget, scope_id: str, account: Account, end_s: int | None) -> dict[str, Any]:
    return {
        "name": budget.name,
        "scope": f"{budget.kind.value}:{scope_id}",
        "window": budget.window.value,
        "unit": budget.unit.value,
        "timezone": budget.timezone,
        "limit_nano": budget.limit_nano,
        "posted_nano": account.posted_nano,
        "held_nano": account.held_nano,
        "overrun_nano": account.overrun_nano,
        "resets_at_s": end_s,
        "refuse_nano": budget.refuse_nano,
        "landing": budget.landing_permille / FULL_PERMILLE,
        "at": [
            {"share": entry.permille / FULL_PERMILLE, "action": entry.action.value}
            for entry in budget.at
        ],
    }
