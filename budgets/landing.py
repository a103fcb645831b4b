"""The strip that a run keeps for its end: the last part of its limit, for one request. Pure.

Ordinary requests are bounded by the limit less the strip. One request of the run may use the whole
limit, so that an agent whose budget is spent can still hand over what it has. That it was used is
an account of its own, which has room for one request.
"""

from collections.abc import Sequence
from dataclasses import replace

from budgets.scopes import Charge, ScopeKind, Unit, Window


def landing_account(run: str) -> str:
    """The account that has room for the one landing of a run (`TEAM/NAME`)."""
    return f"{ScopeKind.RUN.value}:{run}|{Window.TOTAL.value}/landing|0"


def strips(charges: Sequence[Charge], run: str) -> tuple[Charge, ...]:
    """Those of a request's charges of which its own run keeps a strip."""
    scope = f"{ScopeKind.RUN.value}:{run}"
    return tuple(
        [
            charge
            for charge in charges
            if charge.scope == scope and charge.budget is not None and charge.budget.strip_nano
        ]
    )


def landing_charge(run: str) -> Charge:
    """What the one landing of a run is charged to."""
    scope = f"{ScopeKind.RUN.value}:{run}"
    return Charge(landing_account(run), scope, Window.TOTAL, 1, None, unit=Unit.REQUESTS)


def landing(charges: Sequence[Charge], run: str) -> tuple[Charge, ...]:
    """The charges of the request that uses the strip; as they were where its run keeps none."""
    kept = {charge.account for charge in strips(charges, run)}
    if not kept:
        return tuple(charges)
    whole = [_whole(charge) if charge.account in kept else charge for charge in charges]
    return (*whole, landing_charge(run))


def _whole(charge: Charge) -> Charge:
    if charge.budget is None or charge.limit_nano is None:
        return charge
    return replace(charge, limit_nano=charge.limit_nano + charge.budget.strip_nano)
