"""Where each budget stands now: limit, spent and held, one row for each scope it applies to."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from budgets.ledger import Account
from budgets.rolling import RollingWindow
from budgets.scopes import (
    FULL_PERMILLE,
    AnyWindow,
    Budget,
    ScopeKind,
    Unit,
    window_span,
    window_starts,
)

Accounts = Callable[[ScopeKind, AnyWindow, Collection[int], Unit], Mapping[str, Account]]


def budget_rows(budgets: Iterable[Budget], accounts: Accounts, now_s: int) -> list[dict[str, Any]]:
    """Rows in the order of the configuration; a `*` budget has a row for each scope that spent.

    A scope with a budget of its own is left out of the `*` budget of the same window and unit.
    """
    known = list(budgets)
    own = {(*_counted(budget), budget.scope_id) for budget in known}
    rows = []
    for budget in known:
        starts = window_starts(budget.window, budget.timezone, now_s)
        found = accounts(budget.kind, budget.window, starts, budget.unit)
        if budget.scope_id != "*":
            found = {budget.scope_id: found.get(budget.scope_id, Account())}
        for scope_id, account in found.items():
            if budget.scope_id == "*" and (*_counted(budget), scope_id) in own:
                continue
            rows.append(_row(budget, scope_id, account, _end_s(budget, now_s)))
    return rows


def _counted(budget: Budget) -> tuple[ScopeKind, AnyWindow, Unit]:
    """What a budget counts, whoever it is for."""
    return budget.kind, budget.window, budget.unit


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
        "timezone": budget.timezone,
        "limit_nano": budget.limit_nano,
        "posted_nano": account.posted_nano,
        "held_nano": account.held_nano,
        "overrun_nano": account.overrun_nano,
        "resets_at_s": end_s,
        "refuse_nano": budget.refuse_nano,
        "at": [
            {"share": entry.permille / FULL_PERMILLE, "action": entry.action.value}
            for entry in budget.at
        ],
    }
