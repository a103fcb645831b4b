"""The ledger's rules, without a store: what a hold may become, and what each move does to money.

A hold is money set aside for one request. It is created HELD, becomes DISPATCHED just before the
first byte goes to the provider, and ends exactly once:

    HELD        --extend--->   HELD             more of it, where every account bears more
    HELD        --dispatch-->  DISPATCHED
    HELD        --release--->  RELEASED         nothing was asked of the provider
    HELD        --expire---->  EXPIRED_FREED    its process died before asking
    DISPATCHED  --extend--->   DISPATCHED       a stream runs on
    DISPATCHED  --settle---->  SETTLED          posted at its true cost
    DISPATCHED  --release--->  RELEASED         the provider refused; nothing was billed
    DISPATCHED  --expire---->  EXPIRED_CHARGED  posted at the ceiling, marked assumed

Money only moves forward: an ended hold is never reopened. The truth that arrives after an expiry is
posted as a correcting entry of its own. A settlement is never refused, even above the hold: the
money is already spent, so the excess is posted and counted as overrun.

An account counts whole things: nano-USD, tokens or requests. What a request sets aside on each is
the amount of its money unless the account counts something else, or its charge names an amount of
its own (`Hold.amounts`).
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

from budgets.money import MAX_LIMIT_NANO
from budgets.scopes import AnyWindow, Charge, Scopes, Unit
from budgets.value import value


class HoldState(StrEnum):
    HELD = "held"
    DISPATCHED = "dispatched"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED_FREED = "expired_freed"
    EXPIRED_CHARGED = "expired_charged"


class Move(StrEnum):
    EXTEND = "extend"
    DISPATCH = "dispatch"
    SETTLE = "settle"
    RELEASE = "release"
    EXPIRE = "expire"


TRANSITIONS: Mapping[tuple[HoldState, Move], HoldState] = {
    (HoldState.HELD, Move.EXTEND): HoldState.HELD,
    (HoldState.HELD, Move.DISPATCH): HoldState.DISPATCHED,
    (HoldState.HELD, Move.RELEASE): HoldState.RELEASED,
    (HoldState.HELD, Move.EXPIRE): HoldState.EXPIRED_FREED,
    (HoldState.DISPATCHED, Move.EXTEND): HoldState.DISPATCHED,
    (HoldState.DISPATCHED, Move.SETTLE): HoldState.SETTLED,
    (HoldState.DISPATCHED, Move.RELEASE): HoldState.RELEASED,
    (HoldState.DISPATCHED, Move.EXPIRE): HoldState.EXPIRED_CHARGED,
}
OPEN_STATES = frozenset({HoldState.HELD, HoldState.DISPATCHED})
MAX_TOTAL_NANO = (1 << 63) - 1


class LedgerError(RuntimeError):
    """A move the life of a hold does not have, such as settling what was never dispatched."""


class BudgetsChangedError(LedgerError):
    """Other budgets are in force than a reservation was made from; nothing was set aside."""


@value
class Account:
    """Posted spend, what open requests hold, and spend beyond what was held.

    In nano-USD, or in the unit of an account that counts something else.
    """

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

    `tokens` is what it takes of accounts that count tokens. `scopes` are kept with what becomes of
    it, so that a budget set later can count it; a run of this one request has an empty name.
    `budgets` is the version of the budgets that the charges are from: a ledger that is shared makes
    no hold under others than those in force (None: it does not ask).
    """

    hold_id: str
    amount_nano: int
    charges: tuple[Charge, ...]
    now_ms: int
    lease_ms: int
    scopes: Scopes | None = None
    tokens: int = 0
    budgets: str | None = None


@value
class Hold:
    """Money set aside on each of `accounts` until the hold ends or its lease runs out.

    `amounts` is what is set aside on each where that is not `amount_nano` on all.
    """

    hold_id: str
    state: HoldState
    amount_nano: int
    accounts: tuple[str, ...]
    admitted_ms: int
    lease_until_ms: int
    scopes: Scopes | None = None
    amounts: tuple[int, ...] = ()

    def on_each(self) -> Sequence[int]:
        """What is set aside on each account."""
        return self.amounts or (self.amount_nano,) * len(self.accounts)


@value
class Bill:
    """What a settlement says beside its cost: tokens and model for the entry.

    `posted` is what each account of the hold takes where that is not the cost on all.
    """

    tokens: int = 0
    model: str = ""
    posted: tuple[int, ...] = ()


PLAIN = Bill()


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
    account: str = ""
    unit: Unit = Unit.USD

    @property
    def only_held(self) -> bool:
        return self.spent_nano + self.needed_nano <= self.limit_nano


@value
class Closing:
    """What a move does to each account of a hold.

    `each` says posted, held and overrun account by account where they are not the same on all.
    """

    state: HoldState
    posted_nano: int
    held_nano: int
    overrun_nano: int
    each: tuple[tuple[int, int, int], ...] = ()


@value
class Settlement:
    """How a hold ended. `repeated` is true where it had ended before and nothing changed."""

    hold_id: str
    state: HoldState
    posted_nano: int
    overrun_nano: int
    repeated: bool = False
    correction: bool = False


def amount_of(reservation: Reservation, charge: Charge) -> int:
    """What a reservation sets aside on one account, in that account's unit."""
    if charge.amount is not None:
        return charge.amount
    unit = charge.unit
    if unit is Unit.USD:
        return reservation.amount_nano
    if unit is Unit.TOKENS:
        return reservation.tokens
    return 1 if unit is Unit.REQUESTS else 0


def open_hold(reservation: Reservation) -> Hold:
    """The hold an admitted reservation becomes; raise LedgerError for one that makes no sense."""
    _countable("a hold of nano-USD", reservation.amount_nano)
    _countable("a hold of tokens", reservation.tokens)
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
        amounts=_amounts(reservation),
    )


def _all_money(charges: Sequence[Charge]) -> bool:
    """Whether every account that keeps what is charged to it takes the request's money."""
    for charge in charges:  # half the time of all(), for every request
        if (charge.unit is not Unit.USD or charge.amount is not None) and not charge.lone:
            return False
    return True


def _amounts(reservation: Reservation) -> tuple[int, ...]:
    """What is set aside on each account; empty where it is the same money on all."""
    if _all_money(reservation.charges):
        return ()
    kept = [charge for charge in reservation.charges if not charge.lone]
    return tuple([amount_of(reservation, charge) for charge in kept])


def repeated_hold(first: Hold, reservation: Reservation) -> Hold:
    """The first hold of an id that is asked for again; raise LedgerError for other terms."""
    again = open_hold(reservation)
    terms = (again.amount_nano, again.accounts, again.amounts)
    if terms != (first.amount_nano, first.accounts, first.amounts):
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
        hold.amounts,
    )


def extended(hold: Hold, reservation: Reservation) -> Hold:
    """The hold with what the reservation asks for; raise LedgerError for less, or other accounts.

    The amounts are totals, so asking twice for the same changes nothing.
    """
    asked = open_hold(reservation)
    larger = Hold(
        hold.hold_id,
        _next_state(hold, Move.EXTEND),
        asked.amount_nano,
        hold.accounts,
        hold.admitted_ms,
        hold.lease_until_ms,
        hold.scopes,
        asked.amounts,
    )
    pairs = zip(hold.on_each(), larger.on_each(), strict=True)
    if asked.accounts != hold.accounts or any(less > more for less, more in pairs):
        raise LedgerError(f"hold {hold.hold_id} is extended to less, or on other accounts")
    return larger


def close(hold: Hold, move: Move, cost_nano: int = 0, posted: Sequence[int] = ()) -> Closing:
    """End an open hold by settle (at `cost_nano`), release or expire.

    `posted` is what each account takes of a settlement, where that is not the cost on all. Raise
    LedgerError for a move the hold's state does not have or a cost that is no amount.
    """
    _countable("a cost in nano-USD", cost_nano)
    state = _next_state(hold, move)
    if state is HoldState.SETTLED:
        paid = cost_nano
    elif state is HoldState.EXPIRED_CHARGED:
        paid, posted = hold.amount_nano, hold.amounts
    else:
        paid, posted = 0, ()
    overrun = max(0, paid - hold.amount_nano)
    if not posted and not hold.amounts:
        return Closing(state, paid, -hold.amount_nano, overrun)
    takes = posted if state is HoldState.SETTLED or posted else (0,) * len(hold.accounts)
    if len(takes) != len(hold.accounts):
        raise LedgerError(f"hold {hold.hold_id} is settled without saying what each account takes")
    for amount in takes:
        _countable("what an account takes", amount)
    each = tuple(
        [
            (take, -held, max(0, take - held))
            for take, held in zip(takes, hold.on_each(), strict=True)
        ]
    )
    return Closing(state, paid, -hold.amount_nano, overrun, each)


def correct(first: Settlement, cost_nano: int) -> Settlement:
    """What the late truth adds to (or takes from) a hold that expired.

    Whatever exceeds what the expiry posted was held by nobody, so it is overrun.
    """
    _countable("a cost in nano-USD", cost_nano)
    if first.state not in (HoldState.EXPIRED_CHARGED, HoldState.EXPIRED_FREED):
        raise LedgerError(f"a hold that is {first.state} takes no correction")
    delta_nano = cost_nano - first.posted_nano
    return Settlement(first.hold_id, first.state, delta_nano, max(0, delta_nano), correction=True)


def correction_of(
    first: Settlement, first_posted: Sequence[int], correction: Settlement, posted: Sequence[int]
) -> Closing:
    """What a correction does to each account: the truth less what the expiry posted there.

    Both sequences are empty where every account took the same.
    """
    delta, overrun = correction.posted_nano, correction.overrun_nano
    if not first_posted and not posted:
        return Closing(first.state, delta, 0, overrun)
    count = len(first_posted or posted)
    before = first_posted or (first.posted_nano,) * count
    after = posted or (first.posted_nano + delta,) * count
    if len(before) != len(after):
        raise LedgerError(f"hold {first.hold_id} is corrected on other accounts")
    each = tuple(
        [(new - old, 0, max(0, new - old)) for old, new in zip(before, after, strict=True)]
    )
    return Closing(first.state, delta, 0, overrun, each)


def apply(account: Account, posted_nano: int, held_nano: int, overrun_nano: int) -> Account:
    """The account after a move; raise LedgerError where it would fall below zero."""
    posted = account.posted_nano + posted_nano
    held = account.held_nano + held_nano
    overrun = account.overrun_nano + overrun_nano
    change = (posted_nano, held_nano, overrun_nano)
    if posted < 0 or held < 0 or overrun < 0:
        raise LedgerError(f"{account} cannot take {change}")
    if posted + held > MAX_TOTAL_NANO or overrun > MAX_TOTAL_NANO:
        raise LedgerError(f"{account} cannot take {change}: the sum leaves the 64-bit integers")
    return Account(posted, held, overrun)


def postings(
    charges: Sequence[Charge], cost_nano: int, tokens: int, spared: Collection[str] = ()
) -> tuple[int, ...]:
    """What each account takes of one request that was answered; empty where it is the cost on all.

    Accounts in `spared` take nothing: those of models that were kept ready and not asked.
    """
    if not spared and _all_money(charges):
        return ()
    kept = [charge for charge in charges if not charge.lone]
    by_unit = {Unit.USD: cost_nano, Unit.TOKENS: tokens, Unit.REQUESTS: 1, Unit.GATE: 0}
    return tuple([0 if charge.account in spared else by_unit[charge.unit] for charge in kept])


def _countable(what: str, amount: int) -> None:
    if not 0 <= amount <= MAX_LIMIT_NANO:
        raise LedgerError(f"{what} is {amount}, which is outside 0 to {MAX_LIMIT_NANO}")


def _next_state(hold: Hold, move: Move) -> HoldState:
    state = TRANSITIONS.get((hold.state, move))
    if state is None:
        raise LedgerError(f"a hold that is {hold.state} cannot {move}")
    return state
