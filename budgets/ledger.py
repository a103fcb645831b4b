"""The ledger's rules, without a store: what a hold may become, and what each move does to money.

A hold is money set aside for one request. It is created HELD, becomes DISPATCHED just before the
first byte goes to the provider, and ends exactly once:

    HELD        --dispatch-->  DISPATCHED
    HELD        --release--->  RELEASED         nothing was asked of the provider
    HELD        --expire---->  EXPIRED_FREED    its process died before asking
    DISPATCHED  --settle---->  SETTLED          posted at its true cost
    DISPATCHED  --release--->  RELEASED         the provider refused; nothing was billed
    DISPATCHED  --expire---->  EXPIRED_CHARGED  posted at the ceiling, marked assumed

Money only moves forward: an ended hold is never reopened. The truth that arrives after an expiry is
posted as a correcting entry of its own. A settlement is never refused, even above the hold: the
money is already spent, so the excess is posted and counted as overrun.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import reduce

from budgets.money import MAX_LIMIT_NANO
from budgets.scopes import AnyWindow, Charge, Scopes
from budgets.value import value


class HoldState(StrEnum):
    HELD = "held"
    DISPATCHED = "dispatched"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED_FREED = "expired_freed"
    EXPIRED_CHARGED = "expired_charged"


class Move(StrEnum):
    DISPATCH = "dispatch"
    SETTLE = "settle"
    RELEASE = "release"
    EXPIRE = "expire"


TRANSITIONS: Mapping[tuple[HoldState, Move], HoldState] = {
    (HoldState.HELD, Move.DISPATCH): HoldState.DISPATCHED,
    (HoldState.HELD, Move.RELEASE): HoldState.RELEASED,
    (HoldState.HELD, Move.EXPIRE): HoldState.EXPIRED_FREED,
    (HoldState.DISPATCHED, Move.SETTLE): HoldState.SETTLED,
    (HoldState.DISPATCHED, Move.RELEASE): HoldState.RELEASED,
    (HoldState.DISPATCHED, Move.EXPIRE): HoldState.EXPIRED_CHARGED,
}
OPEN_STATES = frozenset({HoldState.HELD, HoldState.DISPATCHED})
MAX_TOTAL_NANO = (1 << 63) - 1


class LedgerError(RuntimeError):
    """A move the life of a hold does not have, such as settling what was never dispatched."""


@value
class Account:
    """Posted spend, money held by open requests, and spend beyond what was held; nano-USD."""

    posted_nano: int = 0
    held_nano: int = 0
    overrun_nano: int = 0

    @property
    def committed_nano(self) -> int:
        return self.posted_nano + self.held_nano


NOTHING = Account()


def joined(one: Account, other: Account) -> Account:
    """What two accounts hold together."""
    return Account(
        one.posted_nano + other.posted_nano,
        one.held_nano + other.held_nano,
        one.overrun_nano + other.overrun_nano,
    )


@value
class Reservation:
    """A wish to set money aside: under one id, on every account of the request or on none.

    `scopes` are kept with what becomes of it, so that a budget set later can count it; a run of
    this one request has an empty name.
    """

    hold_id: str
    amount_nano: int
    charges: tuple[Charge, ...]
    now_ms: int
    lease_ms: int
    scopes: Scopes | None = None


@value
class Hold:
    """Money set aside on each of `accounts` until the hold ends or its lease runs out."""

    hold_id: str
    state: HoldState
    amount_nano: int
    accounts: tuple[str, ...]
    admitted_ms: int
    lease_until_ms: int
    scopes: Scopes | None = None


@value
class Refusal:
    """Why nothing was set aside: the account that cannot bear it, and what it has left.

    `resets_at_s` is when it bears the request again if nothing is spent meanwhile; None for never.

    `only_held` is true where the limit would bear the request if the requests in flight cost
    nothing: the headroom is held, not spent, and may come back.
    """

    scope: str
    window: AnyWindow
    limit_nano: int
    spent_nano: int
    held_nano: int
    needed_nano: int
    resets_at_s: int | None

    @property
    def only_held(self) -> bool:
        return self.spent_nano + self.needed_nano <= self.limit_nano


@value
class Closing:
    """What ending a hold does to each of its accounts."""

    state: HoldState
    posted_nano: int
    held_nano: int
    overrun_nano: int


@value
class Settlement:
    """How a hold ended. `repeated` is true where it had ended before and nothing changed."""

    hold_id: str
    state: HoldState
    posted_nano: int
    overrun_nano: int
    repeated: bool = False
    correction: bool = False


def surveyed(charges: Sequence[Charge]) -> list[str]:
    """The accounts to look up before a request can be admitted."""
    names = [charge.account for charge in charges if not charge.lone]
    for charge in charges:
        if charge.counted and not charge.lone:
            names += charge.counted
    return names


def counted(accounts: Mapping[str, Account], charge: Charge) -> Account:
    """What counts against the limit of a charge; a missing account has nothing in it."""
    if not charge.counted:
        return accounts.get(charge.account, NOTHING)
    return reduce(joined, [accounts[name] for name in charge.counted if name in accounts], NOTHING)


def admit(accounts: Mapping[str, Account], reservation: Reservation) -> Refusal | None:
    """None where every account keeps `posted + held + amount <= limit`, else the first that fails.

    A missing account is one that nothing was charged to yet.
    """
    for charge in reservation.charges:
        if charge.limit_nano is None:
            continue
        account = counted(accounts, charge)
        if account.committed_nano + reservation.amount_nano > charge.limit_nano:
            return Refusal(
                scope=charge.scope,
                window=charge.window,
                limit_nano=charge.limit_nano,
                spent_nano=account.posted_nano,
                held_nano=account.held_nano,
                needed_nano=reservation.amount_nano,
                resets_at_s=_bears_again_s(accounts, charge, reservation.amount_nano),
            )
    return None


def _bears_again_s(accounts: Mapping[str, Account], charge: Charge, amount_nano: int) -> int | None:
    """When a full window has let go of enough; a calendar window lets go of all at once."""
    if charge.limit_nano is None or charge.resets_at_s is None or not charge.counted:
        return charge.resets_at_s
    missing_nano = counted(accounts, charge).committed_nano + amount_nano - charge.limit_nano
    for step, name in enumerate(charge.counted):
        missing_nano -= accounts.get(name, NOTHING).committed_nano
        if missing_nano <= 0:
            return charge.resets_at_s + step * charge.step_s
    return None


def headroom_nano(accounts: Mapping[str, Account], charges: Sequence[Charge]) -> int | None:
    """What the tightest account of the request has left (never below 0); None without a limit."""
    left = [
        charge.limit_nano - counted(accounts, charge).committed_nano
        for charge in charges
        if charge.limit_nano is not None
    ]
    return max(0, min(left)) if left else None


def open_hold(reservation: Reservation) -> Hold:
    """The hold an admitted reservation becomes; raise LedgerError for one that makes no sense."""
    _countable("hold", reservation.amount_nano)
    accounts = tuple([charge.account for charge in reservation.charges if not charge.lone])
    if len(set(accounts)) < len(accounts):
        raise LedgerError(f"hold {reservation.hold_id} names an account twice: {accounts}")
    return Hold(
        hold_id=reservation.hold_id,
        state=HoldState.HELD,
        amount_nano=reservation.amount_nano,
        accounts=accounts,
        admitted_ms=reservation.now_ms,
        lease_until_ms=reservation.now_ms + reservation.lease_ms,
        scopes=reservation.scopes,
    )


def repeated_hold(first: Hold, reservation: Reservation) -> Hold:
    """The first hold of an id that is asked for again; raise LedgerError for other terms."""
    again = open_hold(reservation)
    if (again.amount_nano, again.accounts) != (first.amount_nano, first.accounts):
        raise LedgerError(f"hold {first.hold_id} is set aside with another amount or accounts")
    return first


def dispatched(hold: Hold) -> Hold:
    """The hold once the provider is asked; raise LedgerError unless it was HELD."""
    return Hold(
        hold.hold_id,
        _next_state(hold, Move.DISPATCH),
        hold.amount_nano,
        hold.accounts,
        hold.admitted_ms,
        hold.lease_until_ms,
        hold.scopes,
    )


def close(hold: Hold, move: Move, cost_nano: int = 0) -> Closing:
    """End an open hold by settle (at `cost_nano`), release or expire.

    Raise LedgerError for a move the hold's state does not have or a cost that is no amount.
    """
    _countable("cost", cost_nano)
    state = _next_state(hold, move)
    if state is HoldState.SETTLED:
        posted = cost_nano
    elif state is HoldState.EXPIRED_CHARGED:
        posted = hold.amount_nano
    else:
        posted = 0
    overrun = max(0, posted - hold.amount_nano)
    return Closing(state, posted, -hold.amount_nano, overrun)


def correct(first: Settlement, cost_nano: int) -> Settlement:
    """What the late truth adds to (or takes from) a hold that expired.

    Whatever exceeds what the expiry posted was held by nobody, so it is overrun.
    """
    _countable("cost", cost_nano)
    if first.state not in (HoldState.EXPIRED_CHARGED, HoldState.EXPIRED_FREED):
        raise LedgerError(f"a hold that is {first.state} takes no correction")
    delta_nano = cost_nano - first.posted_nano
    return Settlement(first.hold_id, first.state, delta_nano, max(0, delta_nano), correction=True)


def apply(account: Account, closing: Closing) -> Account:
    """The account after a closing; raise LedgerError where it would fall below zero."""
    posted = account.posted_nano + closing.posted_nano
    held = account.held_nano + closing.held_nano
    overrun = account.overrun_nano + closing.overrun_nano
    if posted < 0 or held < 0 or overrun < 0:
        raise LedgerError(f"{account} cannot take {closing}")
    if posted + held > MAX_TOTAL_NANO or overrun > MAX_TOTAL_NANO:
        raise LedgerError(f"{account} cannot take {closing}: the sum leaves the 64-bit integers")
    return Account(posted, held, overrun)


def _countable(what: str, amount_nano: int) -> None:
    if not 0 <= amount_nano <= MAX_LIMIT_NANO:
        raise LedgerError(f"a {what} of {amount_nano} nano-USD is outside 0 to {MAX_LIMIT_NANO}")


def _next_state(hold: Hold, move: Move) -> HoldState:
    state = TRANSITIONS.get((hold.state, move))
    if state is None:
        raise LedgerError(f"a hold that is {hold.state} cannot {move}")
    return state
