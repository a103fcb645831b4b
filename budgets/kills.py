"""Runs that a budget ends for good, and the marker by which every gateway knows them. Pure.

A run is killed by a budget once what was spent of it has reached the budget's share for that. The
run then has something in its marker account for that budget. Each request of the run carries a
charge that this shuts (a gate), so the ledger itself refuses it, on every gateway and for good.
"""

from collections.abc import Iterable, Mapping, Sequence

from budgets.actions import Action
from budgets.admission import counted
from budgets.ledger import Account
from budgets.scopes import Budget, Charge, ScopeKind, Scopes, Unit, Window
from budgets.thresholds import reached
from budgets.value import value


@value
class Kill:
    """A run that a budget ends, or has ended: `TEAM/NAME`, the budget's name and its share.

    `account` is the marker. It is to be written where `due`; it is empty for a run that was one
    request, because nothing can follow.
    """

    run: str
    budget: str
    permille: int
    account: str
    due: bool


def killed_account(run: str, budget: str) -> str:
    """The account that holds something once a budget has killed a run."""
    return f"{ScopeKind.RUN.value}:{run}|killed/{budget}|0"


def gates(charges: Iterable[Charge], scopes: Scopes, *, lone_run: bool) -> tuple[Charge, ...]:
    """The charges that a kill shuts: one for each budget that kills and each run of the request."""
    runs = scopes.parents if lone_run else scopes.ids_of(ScopeKind.RUN)
    budgets = {
        charge.budget.name: charge.budget
        for charge in charges
        if charge.budget is not None and charge.budget.permille_of(Action.KILL_RUN)
    }
    return tuple([_gate(run, budget) for budget in budgets.values() for run in runs])


def _gate(run: str, budget: Budget) -> Charge:
    account = killed_account(run, budget.name)
    return Charge(
        account,
        _scope(run),
        Window.TOTAL,
        0,
        None,
        lone=True,
        counted=(account,),
        unit=Unit.GATE,
        budget=budget,
    )


def marker(kill: Kill) -> Charge:
    """The charge that marks a killed run: one request, and there is room for one."""
    return Charge(kill.account, _scope(kill.run), Window.TOTAL, 1, None, unit=Unit.REQUESTS)


def _scope(run: str) -> str:
    return f"{ScopeKind.RUN.value}:{run}"


def shut(gate: Charge) -> Kill:
    """What a gate that refuses tells: which budget killed the run."""
    budget = gate.budget
    if budget is None:
        raise ValueError(f"{gate.account} is the gate of no budget")
    share = min(budget.permille_of(Action.KILL_RUN), default=0)
    return Kill(gate.scope.partition(":")[2], budget.name, share, gate.account, due=False)


def killed_by(
    accounts: Mapping[str, Account], charges: Sequence[Charge], scopes: Scopes, *, lone_run: bool
) -> Kill | None:
    """The kill that ends a request charged so: one that was, or one that is due; None for none.

    A budget of a run kills that run, any other budget the request's own run.
    """
    due: Kill | None = None
    for charge in charges:
        budget = charge.budget
        if budget is None:
            continue
        account = counted(accounts, charge)
        if charge.unit is Unit.GATE:
            if account.committed_nano:
                return shut(charge)
        elif due is None:
            shares = reached(
                account.posted_nano, budget.limit_nano, budget.permille_of(Action.KILL_RUN)
            )
            if shares:
                run = scopes.run
                if budget.kind is ScopeKind.RUN:
                    run = charge.scope.partition(":")[2]
                lone = lone_run and run == scopes.run
                marked = "" if lone else killed_account(run, budget.name)
                due = Kill(run, budget.name, shares[0], marked, due=True)
    return due
