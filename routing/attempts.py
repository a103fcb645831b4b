"""Whom to ask next when an attempt fails, how long to wait before, and when to stop. Pure.

    a deployment not asked yet, of the same model         at once
    a deployment not asked yet, of the next candidate     at once
    one that was asked and may do better in a moment      after a pause
    the policy's last resort                              at once, as the last attempt of all
    nobody                                                the last failure is the answer

Nothing is sent again that may have been billed. No attempt after the first goes to a provider whose
attempts keep failing: see `RetryBudget`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from budgets.value import value
from routing.catalog import ModelCard
from routing.health import counts_as_failure

# Asked again, these would say the same.
_FINAL_STATUSES = frozenset({401, 402})
# In fifths of an attempt, so that they add up exactly.
FULL_BUDGET = 50
TAKEN_BY_FAILURE, EARNED_BY_ANSWER = 5, 1
FIRST_PAUSE_MS = 100
LONGEST_PAUSE_MS = 2_000


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """What a provider has left of ten further attempts: one that fails takes one of them away.

    One that is answered earns a fifth, and it must be more than half full. So where everything
    fails four more attempts are made and then none, and repeats never add more than a fifth of
    what is answered to a provider's load.
    """

    left: int = FULL_BUDGET

    @property
    def allows(self) -> bool:
        return self.left > FULL_BUDGET // 2

    def failed(self) -> "RetryBudget":
        return RetryBudget(max(0, self.left - TAKEN_BY_FAILURE))

    def answered(self) -> "RetryBudget":
        if self.left == FULL_BUDGET:
            return self
        return RetryBudget(min(FULL_BUDGET, self.left + EARNED_BY_ANSWER))


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """At most so many attempts a request, and so many milliseconds of pauses between them."""

    attempts: int
    wait_ms: int


class Board(Protocol):
    """What is known of deployments and providers as an attempt is chosen."""

    def order(self, card: ModelCard) -> Sequence[ModelCard]:
        """The places of a model, the one to ask first in front."""

    def usable(self, place: ModelCard, after_ms: int = 0) -> bool:
        """Whether its breaker lets a request through, now or in a while."""

    def may_retry(self, provider: str) -> bool:
        """Whether an attempt after the first may go there."""


@value
class Turn:
    """Ask this deployment, after a pause."""

    place: ModelCard
    wait_ms: int = 0


@value
class Failure:
    """An attempt that brought nothing to pass on.

    `status` is None where no response came. `wait_ms` is how long the provider wants to be left
    alone. `billed` says that it may have been billed.
    """

    status: int | None
    wait_ms: int = 0
    billed: bool = False

    @property
    def may_pass(self) -> bool:
        """Whether the same deployment may do better in a moment."""
        return counts_as_failure(self.status) and self.status not in _FINAL_STATUSES


class AttemptPlan:
    """The attempts of one request: `first`, then `after` each failure. It makes them turns only."""

    __slots__ = (
        "_board",
        "_cards",
        "_chance",
        "_last",
        "_limits",
        "_made",
        "_places",
        "_resorted",
        "_tried",
        "_waited_ms",
    )

    def __init__(
        self,
        candidates: Sequence[ModelCard],
        last_resort: ModelCard | None,
        limits: RetryLimits,
        board: Board,
        chance: Callable[[], float],
    ) -> None:
        """`candidates` in order, without the last resort; `chance` gives numbers from 0 to 1."""
        self._cards = deque(candidates)
        self._last = last_resort
        self._resorted: ModelCard | None = None
        self._limits = limits
        self._board = board
        self._chance = chance
        self._places: deque[ModelCard] = deque()
        self._tried: dict[ModelCard, int] = {}
        self._made = 0
        self._waited_ms = 0

    def first(self) -> Turn | None:
        """The first attempt; None where every breaker keeps requests away by now."""
        place = self._untried() or self._resort()
        return None if place is None else self._take(Turn(place))

    def after(self, place: ModelCard, failure: Failure) -> Turn | None:
        """The attempt after one that failed; None where that failure is the answer."""
        left = self._limits.attempts - self._made
        if failure.billed or left <= 0:
            return None
        if failure.may_pass and place != self._resorted:
            self._tried[place] = failure.wait_ms
        else:
            self._tried.pop(place, None)
        if left == 1 and (resort := self._resort()) is not None:
            return self._take(Turn(resort))
        if (other := self._untried()) is not None:
            return self._take(Turn(other))
        turn = self._again()
        if turn is None and (resort := self._resort()) is not None:
            turn = Turn(resort)
        return None if turn is None else self._take(turn)

    def _take(self, turn: Turn) -> Turn:
        self._made += 1
        self._waited_ms += turn.wait_ms
        return turn

    def _untried(self) -> ModelCard | None:
        """The next place nobody has asked for this request, that can be asked now."""
        while True:
            while self._places:
                place = self._places.popleft()
                if self._may_ask(place):
                    return place
            if not self._cards:
                return None
            self._places.extend(self._board.order(self._cards.popleft()))

    def _resort(self) -> ModelCard | None:
        card, self._last = self._last, None
        if card is None:
            return None
        # It is there for the moment in which nothing else works: its own breaker alone counts.
        usable = (place for place in self._board.order(card) if self._board.usable(place))
        self._resorted = next(usable, None)
        return self._resorted

    def _may_ask(self, place: ModelCard) -> bool:
        if not self._board.usable(place):
            return False
        return self._made == 0 or self._board.may_retry(place.provider)

    def _again(self) -> Turn | None:
        """The place that was asked and can be soonest again, within the time for pauses."""
        pause_ms = self._pause_ms()
        best: Turn | None = None
        for place, wish_ms in self._tried.items():
            wait_ms = wish_ms + pause_ms
            if (
                self._waited_ms + wait_ms <= self._limits.wait_ms
                and (best is None or wait_ms < best.wait_ms)
                and self._board.usable(place, wait_ms)
                and self._board.may_retry(place.provider)
            ):
                best = Turn(place, wait_ms)
        return best

    def _pause_ms(self) -> int:
        """Twice as long after each attempt, and anywhere in the upper half of it."""
        longest_ms = min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS << (self._made - 1))
        return round(longest_ms * (1 + self._chance()) / 2)
