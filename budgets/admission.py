"""Whether the accounts of a request bear it: read before money is set aside, and as it is. Pure."""

from collections.abc import Mapping, Sequence
from functools import reduce

from budgets.ledger import NOTHING, Account, Hold, Refusal, Reservation, amount_of, joined
from budgets.scopes import Charge, Unit
from budgets.value import value


def surveyed(charges: Sequence[Charge]) -> list[str]:
    """The accounts to look up before a request can be admitted."""
    names = [charge.account for charge in charges if not charge.lone]
    for charge in charges:
        if charge.counted:
            names += charge.counted
    return names


def all_soft(charges: Sequence[Charge]) -> bool:
    """Whether every budget among the charges gives way while the ledger cannot be asked."""
    return all(charge.budget is None or charge.budget.soft for charge in charges)


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


@value
class Headroom:
    """What the tightest accounts have left of each unit (never below 0); None without a limit."""

    nano: int | None = None
    tokens: int | None = None
    requests: int | None = None

    def bears(self, nano: int, tokens: int) -> bool:
        """Whether a request that may take so much fits."""
        if (self.nano is not None and nano > self.nano) or self.requests == 0:
            return False
        return self.tokens is None or tokens <= self.tokens

    def within(self, other: "Headroom") -> "Headroom":
        """What is left where both must bear it."""
        return Headroom(
            _smaller(self.nano, other.nano),
            _smaller(self.tokens, other.tokens),
            _smaller(self.requests, other.requests),
        )


def headroom(accounts: Mapping[str, Account], charges: Sequence[Charge]) -> Headroom:
    """What the tightest of the charged accounts have left, unit by unit."""
    nano: int | None = None
    tokens: int | None = None
    requests: int | None = None
    for charge in charges:
        if charge.limit_nano is None:
            continue
        left = max(0, charge.limit_nano - counted(accounts, charge).committed_nano)
        if charge.unit is Unit.USD:
            nano = left if nano is None or left < nano else nano
        elif charge.unit is Unit.TOKENS:
            tokens = _smaller(tokens, left)
        elif charge.unit is Unit.REQUESTS:
            requests = _smaller(requests, left)
    return Headroom(nano, tokens, requests)


def _smaller(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
