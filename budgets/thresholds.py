"""When a budget has reached a share of its limit, and what follows from it. Pure.

A threshold is crossed once in a calendar window, however spending moves on. A rolling window has no
end, so its threshold can be crossed again after the sum has been below it.

Alerts and kills go by what was spent. Pressure goes by what is spent or held, because a request
that is under way has a claim on the money too.
"""

from collections.abc import Collection, Mapping, Sequence

from budgets.actions import Action
from budgets.admission import counted
from budgets.ledger import Account
from budgets.scopes import FULL_PERMILLE, Charge, Unit
from budgets.value import value


@value
class News:
    """Thresholds (thousandths of the limit) that were just crossed, and those to watch anew."""

    crossed: tuple[int, ...]
    rearmed: tuple[int, ...]


def reached(spent_nano: int, limit_nano: int, permille: Sequence[int]) -> tuple[int, ...]:
    """The thresholds that spending has reached, the lowest first; nothing spent reaches none."""
    return tuple(
        share
        for share in sorted(set(permille))
        if spent_nano > 0 and spent_nano * FULL_PERMILLE >= limit_nano * share
    )


def news(now_reached: Collection[int], told: Collection[int], *, rolling: bool) -> News:
    """What is new since `told`, the thresholds already told of in this window."""
    crossed = tuple(sorted(set(now_reached) - set(told)))
    rearmed = tuple(sorted(set(told) - set(now_reached))) if rolling else ()
    return News(crossed, rearmed)


@value
class Crossed:
    """A budget that has reached one of its shares, in one of its scopes; thousandths of the limit.

    `used_permille` is how much of the limit is used, rounded down, `at_permille` the share it has
    reached.
    """

    budget: str
    scope: str
    used_permille: int
    at_permille: int


@value
class Pressure:
    """How near a request's budgets are to their limits.

    `permille` is the used share of the tightest one, in thousandths, rounded down, 1000 at most.
    `degrade` is the tightest of those that have reached their share for a cheaper tier.
    """

    permille: int
    degrade: Crossed | None = None


def pressure_on(accounts: Mapping[str, Account], charges: Sequence[Charge]) -> Pressure | None:
    """The pressure on a request that is charged so; None where nothing limits it."""
    tightest: int | None = None
    degrade: Crossed | None = None
    for charge in charges:
        budget = charge.budget
        if budget is None or charge.unit is Unit.GATE:
            continue
        used = _used_permille(counted(accounts, charge).committed_nano, budget.limit_nano)
        if tightest is None or used > tightest:
            tightest = used
        for share in budget.permille_of(Action.DEGRADE):
            if used >= share and (degrade is None or used > degrade.used_permille):
                degrade = Crossed(budget.name, charge.scope, used, share)
    return None if tightest is None else Pressure(min(tightest, FULL_PERMILLE), degrade)


def _used_permille(committed_nano: int, limit_nano: int) -> int:
    """Thousandths of a limit, rounded down; a limit of nothing is always used up."""
    return committed_nano * FULL_PERMILLE // limit_nano if limit_nano else FULL_PERMILLE
