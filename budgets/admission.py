"""Whether the accounts of a request bear it: read before money is set aside, and as it is. Pure."""

from collections.abc import Mapping, Sequence
from functools import reduce

from budgets.ledger import NOTHING, Account, Hold, Refusal, Reservation, amount_of, joined
from budgets.scopes import Charge, Unit


def surveyed(charges: Sequence[Charge]) -> list[str]:
    """The accounts to look up before a request can be admitted."""
    names = [charge.account for charge in charges if not charge.lone]
    for charge in charges:
        if charge.counted:
            names += charge.counted
    return names


def counted(accounts: Mapping[str, Account], charge: Charge) -> Account:
    """What counts against the limit of a charge; a missing account has nothing in it."""
    if not charge.counted:
        return NOTHING if charge.lone else accounts.get(charge.account, NOTHING)
    return reduce(joined, [accounts[name] for name in charge.counted if name in accounts], NOTHING)


def admit(
    accounts: Mapping[str, Account], reservation: Reservation, held: Hold | None = None
) -> Refusal | None:
    """None where every account keeps `posted + held + amount <= limit`, else why not.

    A missing account is one that nothing was charged to yet. Of several that cannot bear it, one
    whose limit is spent is named before one whose limit is only held. `held` is what the request
    holds already, where it asks for more.
    """
    own = {} if held is None else dict(zip(held.accounts, held.on_each(), strict=True))
    waiting = None
    for charge in reservation.charges:
        if charge.limit_nano is None:
            continue
        account = counted(accounts, charge)
        amount, has = amount_of(reservation, charge), own.get(charge.account, 0)
        others = account.held_nano - has
        if account.posted_nano + others + amount > charge.limit_nano:
            refusal = Refusal(
                scope=charge.scope,
                window=charge.window,
                limit_nano=charge.limit_nano,
                spent_nano=account.posted_nano,
                held_nano=others,
                needed_nano=amount,
                resets_at_s=_bears_again_s(accounts, charge, amount - has),
                account=charge.account,
                unit=charge.unit,
            )
            if not refusal.only_held:
                return refusal
            waiting = waiting or refusal
    return waiting


def _bears_again_s(accounts: Mapping[str, Account], charge: Charge, more: int) -> int | None:
    """When a full window has let go of enough; a calendar window lets go of all at once."""
    if charge.limit_nano is None or charge.resets_at_s is None or not charge.counted:
        return charge.resets_at_s
    missing_nano = counted(accounts, charge).committed_nano + more - charge.limit_nano
    for step, name in enumerate(charge.counted):
        missing_nano -= accounts.get(name, NOTHING).committed_nano
        if missing_nano <= 0:
            return charge.resets_at_s + step * charge.step_s
    return None


def headroom_nano(accounts: Mapping[str, Account], charges: Sequence[Charge]) -> int | None:
    """What money the tightest account has left (never below 0); None where none has a limit."""
    left = [
        charge.limit_nano - counted(accounts, charge).committed_nano
        for charge in charges
        if charge.limit_nano is not None and charge.unit is Unit.USD
    ]
    return max(0, min(left)) if left else None
