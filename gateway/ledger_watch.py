"""Whether the ledger takes requests now, and what became of each of its errors.

The state is asked of the ledger itself, in the way a request asks it, at most once a second. Two
states cannot be seen by reading (a full server, a disk that takes no writes): they are told by the
requests that met them, until one succeeds or ten seconds have passed.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from budgets.ledger import Account, LedgerError
from budgets.port import LedgerStore
from gateway.tally import LedgerOutcome, Tally

ASK_AGAIN_S = 1.0
SUSPECT_S = 10.0


class LedgerState(StrEnum):
    """What the ledger can do; all but `ok` deny every request."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    LOST = "lost"
    READ_ONLY = "read_only"
    EVICTING = "evicting"
    FULL = "full"
    FAILED = "failed"


REMEDIES: Mapping[LedgerState, str] = {
    LedgerState.UNREACHABLE: "Redis does not answer in time; it works again by itself",
    LedgerState.LOST: "run `weir ledger rebuild` with this gateway stopped",
    LedgerState.READ_ONLY: "give the address of the primary",
    LedgerState.EVICTING: "set maxmemory-policy noeviction",
    LedgerState.FULL: "Redis has no memory left; raise its maxmemory",
    LedgerState.FAILED: "the log of the gateway tells what happened",
}
Owed = Callable[[], tuple[int, int]]
UNSEEN = (LedgerState.FULL, LedgerState.FAILED)


def no_debts() -> tuple[int, int]:
    """What a ledger owes that is told of everything at once: nothing."""
    return 0, 0


def cause_of(error: LedgerError) -> LedgerState:
    """What an error says of the ledger; `failed` where it says nothing closer."""
    return LedgerState(getattr(error, "cause", LedgerState.FAILED))


@dataclass(frozen=True, slots=True)
class Look:
    """The ledger as it was found: its state, the accounts that were asked for, and the error.

    `owed` are the endings that Redis is still to be told of, and those it contradicts; None where
    that cannot be read.
    """

    state: LedgerState
    accounts: Mapping[str, Account]
    error: str = ""
    owed: tuple[int, int] | None = None


class LedgerWatch:
    """Looks at the ledger and counts its errors; use it from the event loop."""

    def __init__(
        self,
        ledger: LedgerStore,
        tally: Tally,
        owed: Owed = no_debts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`owed` is called from another thread; it may raise LedgerError."""
        self._ledger = ledger
        self._tally = tally
        self._owed = owed
        self._clock = clock
        self._last = Look(LedgerState.OK, {})
        self._asked_s: float | None = None
        self._suspect: tuple[float, int, LedgerState, str] | None = None

    def failed(self, outcome: LedgerOutcome, error: LedgerError) -> None:
        """Count an error of the ledger by what became of it and why."""
        cause = cause_of(error)
        self._tally.ledger_failed(outcome, cause)
        if outcome is not LedgerOutcome.RETRIED and cause in UNSEEN:
            self._suspect = (self._clock(), self._tally.settlements, cause, str(error))

    async def state(self) -> Look:
        """How the ledger is, as it was at most a second ago."""
        if self._asked_s is None or self._clock() - self._asked_s >= ASK_AGAIN_S:
            await self.look(())
        return self._told(self._last)

    async def look(self, accounts: Sequence[str]) -> Look:
        """How the ledger is now, with what is in some accounts; never raises LedgerError."""
        self._asked_s = self._clock()
        try:
            owed = await asyncio.to_thread(self._owed)
        except LedgerError:
            owed = None
        try:
            found = await self._ledger.survey(accounts)
            self._last = Look(LedgerState.OK, found, "", owed)
        except LedgerError as error:
            self._last = Look(cause_of(error), {}, str(error), owed)
        return self._told(self._last)

    def _told(self, look: Look) -> Look:
        """What was found, unless requests have just met something worse."""
        if look.state is not LedgerState.OK or self._suspect is None:
            return look
        since_s, settlements, cause, error = self._suspect
        if settlements != self._tally.settlements or self._clock() - since_s > SUSPECT_S:
            self._suspect = None
            return look
        return replace(look, state=cause, error=error)
