"""A bounded line for money that is only held: first come, first served, budget by budget.

A budget whose headroom is spent refuses for good. One whose headroom is held by requests in flight
gets most of it back when they end, so a request may stand in line for it:

    one budget     a request stands at the budget that refused it last, in the order of arrival
    its turn       it tries again when it is the oldest there, unless an older one stands at another
                   of its budgets: then it goes and stands behind that one
    it is called   when a hold on the budget ends in this process, when the one before it has left,
                   and about every 50 ms: other processes end holds too, limits are raised, leases
                   run out and windows begin anew
    it ends        admitted, out of time, hung up, or the gateway goes

So nobody overtakes on one budget, and who waits for another budget is not in the way. The line asks
no ledger: it says whose turn it is, and whoever has it tries. Use it from one event loop.
"""

import asyncio
import time
from bisect import insort
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import count, islice
from math import ceil
from operator import attrgetter
from random import uniform

from budgets.scopes import Charge

LOOK_S = 0.05
# Each look is at so many budgets at most, in turns, so that a thousand of them do not fill a core.
BUDGETS_A_LOOK = 16
_ticket_of = attrgetter("ticket")


def budget_key(account: str) -> str:
    """The budget an account of the ledger belongs to: its name without the start of its window.

    So every bucket of a window, and every window that follows another, has the same line.
    """
    return account.rpartition("|")[0]


class Turn(Enum):
    """What a place in the line may do next."""

    TRY = "try"
    LAST_TRY = "last_try"
    LEAVE = "leave"


class Place:
    """One request in the line; leave it (`with`) whatever becomes of the request."""

    __slots__ = (
        "_called",
        "_end",
        "_keys",
        "_line",
        "_since_s",
        "_timer",
        "_wake",
        "at",
        "ticket",
    )

    def __init__(self, line: "Line", ticket: int, charges: Iterable[Charge], at: str) -> None:
        self.ticket = ticket
        self.at = at
        self._line = line
        self._keys = [budget_key(one.account) for one in charges]
        self._since_s = time.perf_counter()
        self._called = False
        self._end: Turn | None = None
        self._wake: asyncio.Future[None] | None = None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(line.wait_s, self._finish, Turn.LAST_TRY)

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._line.remove(self)

    @property
    def waited_ms(self) -> float:
        """How long it has stood here."""
        return round((time.perf_counter() - self._since_s) * 1000, 3)

    async def turn(self) -> Turn:
        """Wait until it may try: once more, for the last time, or not at all."""
        while self._end is None:
            if not self._called:
                await self._until_called()
                continue
            self._called = False
            older = self._line.older_than(self, self._keys)
            if older is None:
                return Turn.TRY
            self.stand_at(older)
        return self._end

    async def _until_called(self) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    def stand_at(self, key: str) -> None:
        """Wait for another budget from here on, by the order of arrival."""
        if key != self.at:
            self._line.move(self, key)

    def call(self) -> None:
        """It may be its turn; a call while it tries counts for the next time."""
        self._called = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def give_up(self) -> None:
        """Nobody waits for the answer any more, or there will be none."""
        self._finish(Turn.LEAVE)

    def _finish(self, end: Turn) -> None:
        if self._end is not Turn.LEAVE:
            self._end = end
        self.call()


class Line:
    """Everybody who waits for money that is held: `places` at most, each at most `wait_s`."""

    def __init__(self, places: int, wait_s: float, look_s: float = LOOK_S) -> None:
        self.wait_s = wait_s
        self._places = places
        self._look_s = look_s
        self._standing: dict[str, list[Place]] = {}
        self._tickets = count()
        self._look: asyncio.TimerHandle | None = None
        self._closed = False
        self.waiting = 0

    @property
    def is_open(self) -> bool:
        """Whether one more may wait."""
        return self.waiting < self._places and self.wait_s > 0 and not self._closed

    @property
    def retry_after_s(self) -> int:
        """When to ask again, in whole seconds: soon, to stand in line, or when a full one is empty.

        Whoever stands in it now is gone after `wait_s`.
        """
        return 1 if self.is_open else max(1, ceil(self.wait_s))

    def waited_for(self, charges: Sequence[Charge]) -> Charge | None:
        """The first charge whose budget somebody waits for; at once None where nobody waits."""
        if not self._standing:
            return None
        for charge in charges:
            if budget_key(charge.account) in self._standing:
                return charge
        return None

    def join(self, charges: Iterable[Charge], at: str) -> Place:
        """A place behind everybody who waits for the budget `at`; ask `is_open` before."""
        place = Place(self, next(self._tickets), charges, at)
        self.waiting += 1
        self._insert(place)
        return place

    def freed(self, accounts: Iterable[str]) -> None:
        """Money came back to accounts of the ledger: the first in line for each may try."""
        if self._standing:
            for account in accounts:
                self._call_first(budget_key(account))

    def close(self) -> None:
        """End every wait, and let nobody wait any more."""
        self._closed = True
        for queue in list(self._standing.values()):
            for place in queue:
                place.give_up()

    # -- for its places ---------------------------------------------------------------------

    def older_than(self, place: Place, keys: Iterable[str]) -> str | None:
        """A budget among `keys`, or its own, where one stands who came before."""
        for key in (place.at, *keys):
            queue = self._standing.get(key)
            if queue and queue[0].ticket < place.ticket:
                return key
        return None

    def move(self, place: Place, key: str) -> None:
        """From one budget to another; whoever stood behind may have their turn."""
        self._take_out(place)
        place.at = key
        self._insert(place)

    def remove(self, place: Place) -> None:
        """Out of the line; whoever stood behind may have their turn."""
        self.waiting -= 1
        self._take_out(place)
        if not self._standing and self._look is not None:
            self._look.cancel()
            self._look = None

    def _insert(self, place: Place) -> None:
        insort(self._standing.setdefault(place.at, []), place, key=_ticket_of)
        if self._look is None:
            self._look_later()

    def _take_out(self, place: Place) -> None:
        queue = self._standing[place.at]
        was_first = queue[0] is place
        queue.remove(place)
        if not queue:
            del self._standing[place.at]
        elif was_first:
            queue[0].call()

    def _call_first(self, key: str) -> None:
        queue = self._standing.get(key)
        if queue:
            queue[0].call()

    def _look_later(self) -> None:
        # Not all processes at the same moment, for they may share the ledger.
        delay_s = self._look_s * uniform(0.75, 1.25)
        self._look = asyncio.get_running_loop().call_later(delay_s, self._look_round)

    def _look_round(self) -> None:
        for key in list(islice(self._standing, BUDGETS_A_LOOK)):
            queue = self._standing[key] = self._standing.pop(key)  # to the back of the round
            queue[0].call()
        self._look_later()
