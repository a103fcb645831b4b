"""What one gateway may hold on its own word while Redis cannot be asked.

Only requests whose budgets are all soft are held here, and all of them together for no more than
the allowance: so however long Redis is away, and however often the gateway is killed and started
again, it admits no more than that. A request is on the disk, at its ceiling, before its provider
sees it. How it ended is told to Redis as the ending of a hold that no life of the ledger knew.
"""

from budgets.admission import all_soft
from budgets.ledger import Bill, Hold, HoldState, Refusal, Reservation, open_hold
from budgets.port import EventShaper
from budgets.scopes import Window
from budgets.stores.redis_journal import EndingJournal, Pending

ALLOWED = "allowance"
"""The epoch of holds that no Redis knows; no life of a ledger is called so."""


class Allowance:
    """The holds of one gateway that Redis does not know, together no more than `limit_nano`.

    Use it from the event loop. While Redis answers, it does no more than look into empty tables.
    """

    __slots__ = ("_drafts", "_journal", "_open", "_owed", "_shaper", "limit_nano")

    def __init__(self, journal: EndingJournal, shaper: EventShaper) -> None:
        """Take over what an earlier process left; raise LedgerError where that cannot be read.

        A request that it had sent and not ended is ended at its ceiling: nobody knows better.
        """
        self._journal = journal
        self._shaper = shaper
        self.limit_nano = 0
        self._drafts: dict[str, bytes] = {}
        self._open: dict[str, int] = {}
        self._owed = {
            one.hold.hold_id: one.cost_nano or 0
            for one in journal.waiting()
            if one.epoch == ALLOWED
        }
        left = {one.hold.hold_id: one for one in journal.allowed()}
        for hold_id, pending in left.items():
            if hold_id not in self._owed:
                journal.append(pending)
                self._owed[hold_id] = pending.cost_nano or 0
        journal.forget_allowed()

    @property
    def left_nano(self) -> int:
        """What may still be held: what was, and Redis has not been told of, is used."""
        return self.limit_nano - sum(self._open.values()) - sum(self._owed.values())

    def reserve(self, reservation: Reservation) -> Hold | None:
        """Hold the request's ceiling here; None where a budget is hard or the allowance is used."""
        if not all_soft(reservation.charges):
            return None
        asked = open_hold(reservation)
        if asked.amount_nano > self.left_nano:
            return None
        self._open[asked.hold_id] = asked.amount_nano
        return asked

    def holds(self, hold_id: str) -> bool:
        """Whether this open hold is one that Redis does not know."""
        return hold_id in self._open

    def extend(self, larger: Hold) -> Hold | Refusal:
        """Hold as much as `larger` does, or nothing more."""
        hold_id, left_nano = larger.hold_id, self.left_nano
        more_nano = larger.amount_nano - self._open[hold_id]
        if more_nano > left_nano:
            used_nano = self.limit_nano - left_nano
            return Refusal(ALLOWED, Window.TOTAL, self.limit_nano, 0, used_nano, more_nano, None)
        self._open[hold_id] = larger.amount_nano
        if larger.state is HoldState.DISPATCHED:
            self._write_down(larger)
        return larger

    def sent(self, hold: Hold, draft: bytes) -> None:
        """Return once the disk holds what the request may cost; raise LedgerError otherwise."""
        self._drafts[hold.hold_id] = draft
        self._write_down(hold)

    def _write_down(self, hold: Hold) -> None:
        draft = self._drafts[hold.hold_id]
        event = self._shaper.assumed(draft, hold.amount_nano, hold.admitted_ms)
        bill = Bill(0, "", hold.amounts)
        self._journal.allow(Pending(hold, hold.amount_nano, event, ALLOWED, bill))

    def ended(self, pending: Pending) -> None:
        """A hold has ended, and Redis is owed how."""
        if self._close(pending.hold.hold_id):
            self._owed[pending.hold.hold_id] = pending.cost_nano or 0

    def told(self, hold_id: str) -> None:
        """Redis knows how a hold ended, so what it cost counts there."""
        self._owed.pop(hold_id, None)
        self._close(hold_id)

    def _close(self, hold_id: str) -> bool:
        if self._open.pop(hold_id, None) is None:
            return False
        self._drafts.pop(hold_id, None)
        if not self._open:
            self._journal.forget_allowed()
        return True
