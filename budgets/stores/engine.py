"""The ledger's moves, decided once for every store that runs in one process.

The rules are those of `budgets/ledger.py`. What a store adds is a `Shelf`: where accounts, holds,
entries and events are kept. No move gives way in between, and each raises LedgerError before it
changes anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from budgets.admission import admit, surveyed
from budgets.ledger import (
    NOTHING,
    PLAIN,
    Account,
    Bill,
    Closing,
    Hold,
    HoldState,
    LedgerError,
    Move,
    Refusal,
    Reservation,
    Settlement,
    apply,
    close,
    correct,
    correction_of,
    dispatched,
    extended,
    open_hold,
    repeated_hold,
)
from budgets.port import EventShaper, OutboxEvent
from budgets.scopes import Scopes
from budgets.value import value


@value
class Entry:
    """The ending of a hold, or the correction of one, with the accounts it was posted to.

    `each` says posted and overrun of each account where they are not the same on all; `tokens` is
    what the request used, as far as it is known.
    """

    settlement: Settlement
    accounts: tuple[str, ...]
    event_id: str | None
    ended_ms: int
    admitted_ms: int
    scopes: Scopes | None
    each: tuple[tuple[int, int], ...] = ()
    tokens: int = 0

    def amounts(self) -> list[tuple[str, int, int]]:
        """Account, posted and overrun, for every account."""
        paid = (self.settlement.posted_nano, self.settlement.overrun_nano)
        each = self.each or (paid,) * len(self.accounts)
        return [(name, *took) for name, took in zip(self.accounts, each, strict=True)]

    @property
    def requests(self) -> int:
        """How many answered requests it stands for."""
        answered = self.settlement.state in (HoldState.SETTLED, HoldState.EXPIRED_CHARGED)
        return int(answered and not self.settlement.correction and self.scopes is not None)


def opening_prefix(account: str) -> str:
    """How the ids of an account's openings begin; they sort before those of requests."""
    return f"opening:{account}|"


class Shelf(Protocol):
    """Where a store keeps things. What is not there is None."""

    def account(self, name: str) -> Account | None: ...

    def put_account(self, name: str, account: Account) -> None: ...

    def hold(self, hold_id: str) -> Hold | None: ...

    def put_hold(self, hold: Hold, draft: bytes | None) -> None: ...

    def drop_hold(self, hold_id: str) -> None: ...

    def draft(self, hold_id: str) -> bytes:
        """The draft of an open hold that was dispatched."""

    def due(self, now_ms: int, limit: int) -> Sequence[Hold]:
        """Open holds whose lease ran out by `now_ms`, the oldest lease first."""

    def entry(self, hold_id: str, *, correction: bool) -> Entry | None: ...

    def add_entry(self, entry: Entry) -> None: ...

    def opened(self, account: str) -> tuple[int, int]:
        """How many openings an account has had, and their sum in its unit."""

    def add_event(self, event: OutboxEvent) -> None: ...


def _each(closing: Closing) -> tuple[tuple[int, int], ...]:
    return tuple([(posted, overrun) for posted, _, overrun in closing.each])


class LedgerEngine:
    """Every move of `LedgerStore` but for its waiting."""

    __slots__ = ("_shaper", "_shelf")

    def __init__(self, shelf: Shelf, shaper: EventShaper) -> None:
        self._shelf = shelf
        self._shaper = shaper

    def survey(self, names: Sequence[str]) -> Mapping[str, Account]:
        """The accounts as they stand; those nothing was charged to are left out."""
        found = {}
        for name in names:
            account = self._shelf.account(name)
            if account is not None:
                found[name] = account
        return found

    def reserve(self, reservation: Reservation) -> Hold | Refusal:
        """Set the amount aside on every account, or on none and say why."""
        first = self._shelf.hold(reservation.hold_id)
        if first is not None:
            return repeated_hold(first, reservation)
        if self._shelf.entry(reservation.hold_id, correction=False) is not None:
            raise LedgerError(f"hold {reservation.hold_id} has ended before")
        hold = open_hold(reservation)
        accounts = self.survey(surveyed(reservation.charges))
        refusal = admit(accounts, reservation)
        if refusal is not None:
            return refusal
        each = tuple([(0, amount, 0) for amount in hold.amounts])
        self._post(hold.accounts, accounts, Closing(hold.state, 0, hold.amount_nano, 0, each))
        self._shelf.put_hold(hold, None)
        return hold

    def _post(
        self, names: Sequence[str], accounts: Mapping[str, Account], closing: Closing
    ) -> None:
        if closing.each:
            after = [
                (name, apply(accounts.get(name, NOTHING), *change))
                for name, change in zip(names, closing.each, strict=True)
            ]
        else:
            change = (closing.posted_nano, closing.held_nano, closing.overrun_nano)
            after = [(name, apply(accounts.get(name, NOTHING), *change)) for name in names]
        for name, account in after:
            self._shelf.put_account(name, account)

    def extend(self, hold: Hold, reservation: Reservation) -> Hold | Refusal:
        """Set more aside for an open hold, on every account, or nothing more and say why."""
        stored = self._shelf.hold(hold.hold_id)
        if stored is None or stored.hold_id != reservation.hold_id:
            raise LedgerError(f"hold {hold.hold_id} is not there to extend")
        larger = extended(stored, reservation)
        accounts = self.survey(surveyed(reservation.charges))
        refusal = admit(accounts, reservation, stored)
        if refusal is not None:
            return refusal
        more = zip(larger.on_each(), stored.on_each(), strict=True)
        each = tuple([(0, after - before, 0) for after, before in more])
        self._post(larger.accounts, accounts, Closing(larger.state, 0, 0, 0, each))
        sent = stored.state is HoldState.DISPATCHED
        self._shelf.put_hold(larger, self._shelf.draft(hold.hold_id) if sent else None)
        return larger

    def dispatch(self, hold: Hold, draft: bytes) -> Hold:
        """Mark the hold before the first byte goes to the provider."""
        after = dispatched(hold)
        stored = self._shelf.hold(hold.hold_id)
        if stored is None or stored.state is not HoldState.HELD:
            raise LedgerError(f"hold {hold.hold_id} is not there to dispatch")
        self._shelf.put_hold(after, draft)
        return after

    def settle(
        self, hold: Hold, cost_nano: int, event: OutboxEvent, bill: Bill = PLAIN
    ) -> Settlement:
        """Post the cost and append the event, once; a repeat returns the first settlement."""
        close(hold, Move.SETTLE, cost_nano, bill.posted)
        stored = self._shelf.hold(hold.hold_id)
        if stored is None:
            return self._settle_late(hold, cost_nano, event, bill)
        if stored.state is not hold.state or stored.accounts != hold.accounts:
            raise LedgerError(f"hold {hold.hold_id} is unknown or was never dispatched")
        closing = close(stored, Move.SETTLE, cost_nano, bill.posted)
        return self._end(stored, closing, event, event.ended_ms, bill)

    def _settle_late(
        self, hold: Hold, cost_nano: int, event: OutboxEvent, bill: Bill
    ) -> Settlement:
        """The hold ended before: repeat its outcome, or correct what an expiry assumed."""
        entry = self._shelf.entry(hold.hold_id, correction=False)
        if entry is None or entry.accounts != hold.accounts:
            raise LedgerError(f"hold {hold.hold_id} is unknown or was never dispatched")
        first = entry.settlement
        if first.state not in (HoldState.EXPIRED_CHARGED, HoldState.EXPIRED_FREED):
            return replace(first, repeated=True)
        again = self._shelf.entry(hold.hold_id, correction=True)
        if again is not None:
            return replace(again.settlement, repeated=True)
        correction = correct(first, cost_nano)
        taken = [posted for posted, _ in entry.each]
        closing = correction_of(first, taken, correction, bill.posted)
        shaped = self._shaper.correction(event, correction.posted_nano)
        self._post(hold.accounts, self.survey(hold.accounts), closing)
        self._add(
            Entry(
                correction,
                hold.accounts,
                shaped.event_id,
                shaped.ended_ms,
                entry.admitted_ms,
                entry.scopes,
                _each(closing),
                bill.tokens - entry.tokens,
            ),
            shaped,
        )
        return correction

    def release(self, hold: Hold, event: OutboxEvent | None) -> Settlement:
        """Give the money back because nothing was billed."""
        stored = self._shelf.hold(hold.hold_id)
        if stored is None:
            entry = self._shelf.entry(hold.hold_id, correction=False)
            if entry is None:
                raise LedgerError(f"hold {hold.hold_id} is unknown")
            return replace(entry.settlement, repeated=True)
        ended_ms = stored.admitted_ms if event is None else event.ended_ms
        return self._end(stored, close(stored, Move.RELEASE), event, ended_ms)

    def _end(
        self,
        hold: Hold,
        closing: Closing,
        event: OutboxEvent | None,
        ended_ms: int,
        bill: Bill = PLAIN,
    ) -> Settlement:
        settlement = Settlement(
            hold.hold_id, closing.state, closing.posted_nano, closing.overrun_nano
        )
        self._post(hold.accounts, self.survey(hold.accounts), closing)
        self._shelf.drop_hold(hold.hold_id)
        event_id = None if event is None else event.event_id
        scopes = hold.scopes
        if scopes is not None and bill.model:
            scopes = scopes.with_model(bill.model)
        entry = Entry(
            settlement,
            hold.accounts,
            event_id,
            ended_ms,
            hold.admitted_ms,
            scopes,
            _each(closing),
            bill.tokens,
        )
        self._add(entry, event)
        return settlement

    def _add(self, entry: Entry, event: OutboxEvent | None) -> None:
        self._shelf.add_entry(entry)
        if event is not None:
            self._shelf.add_event(event)

    def carry_over(self, totals: Mapping[str, int], now_ms: int) -> None:
        """Bring the sum of each account's openings to a total, by an entry for what is missing."""
        for account, total_nano in totals.items():
            count, before_nano = self._shelf.opened(account)
            delta_nano = total_nano - before_nano
            if delta_nano == 0:
                continue
            self._post(
                [account], self.survey([account]), Closing(HoldState.SETTLED, delta_nano, 0, 0)
            )
            name = f"{opening_prefix(account)}{count + 1}"
            settlement = Settlement(name, HoldState.SETTLED, delta_nano, 0)
            self._add(Entry(settlement, (account,), None, now_ms, now_ms, None), None)

    def record(self, event: OutboxEvent) -> None:
        """Append an event that moves no money."""
        self._shelf.add_event(event)

    def expire(self, now_ms: int, limit: int) -> list[Settlement]:
        """End up to `limit` open holds whose lease ran out by `now_ms`."""
        ended = []
        for hold in self._shelf.due(now_ms, limit):
            event = None
            if hold.state is HoldState.DISPATCHED:
                draft = self._shelf.draft(hold.hold_id)
                event = self._shaper.assumed(draft, hold.amount_nano, now_ms)
            ended.append(self._end(hold, close(hold, Move.EXPIRE), event, now_ms))
        return ended
