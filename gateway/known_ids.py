"""Which ids a team has used lately: so many new ones an hour, and one id for all beyond.

Clients choose the names of workflows, runs, users and tags, and each name with a budget is an
account of the ledger. So a team may bring so many new names of a kind in an hour. Any further one
is charged to a shared id (`TEAM/~overflow`), which every wide budget of the name covers as well.
No client can name that id, because `~` is in no name.

What is remembered is a number for each name, for one to two hours of use, and so many of them.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from budgets.budget_book import BudgetBook
from budgets.scopes import ScopeKind

HOUR_S = 3_600
OVERFLOW = "~overflow"
# A team's names that stay in use are remembered beyond the new ones of an hour, up to this factor.
IN_USE = 2


@dataclass(slots=True)
class _Seen:
    """The names of one kind and team: those of this hour, those of the one before, and new ones."""

    until_s: float
    now: set[int] = field(default_factory=set)
    before: set[int] = field(default_factory=set)
    new: int = 0


class KnownIds:
    """Tells ids that may have accounts of their own from those that are one too many.

    `overflowed` counts, by kind, how often an id was one too many. Use it from one event loop.
    """

    __slots__ = ("_book", "_clock_s", "_new_per_hour", "_seen", "overflowed")

    def __init__(
        self,
        book: BudgetBook,
        new_per_hour: int,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book = book
        self._new_per_hour = new_per_hour
        self._clock_s = clock_s
        self._seen: dict[tuple[ScopeKind, str], _Seen] = {}
        self.overflowed: Counter[str] = Counter()

    @property
    def new_per_hour(self) -> int:
        """How many new ids of a kind a team may bring in an hour."""
        return self._new_per_hour

    def may_open(self, kind: ScopeKind, team: str, name: str) -> bool:
        """Whether a team may bring this new id; it counts as one of the hour's."""
        return self._is_admitted(kind, team, hash(f"{team}/{name}"))

    def may_infer(self, kind: ScopeKind, team: str, name: str) -> bool:
        """Whether an id that nobody named outright may be one of its own.

        As many may in an hour as may be named, and they take no place of those. An id with a
        budget of its own always may.
        """
        seen = self._seen.get((kind, f"{team}/"))
        number = hash(f"{team}/{name}")
        if seen is not None and number in seen.now:
            return True
        if self._is_admitted(kind, f"{team}/", number):
            return True
        return self._book.has_own(kind, f"{team}/{name}")

    def unset_tags(self, team: str) -> tuple[str, ...]:
        """The tags of which every request of a team has a value."""
        return self._book.tag_names(team)

    def scope_id(self, kind: ScopeKind, team: str, name: str) -> str:
        """`TEAM/NAME`, or the id that all names of the team share that are too many.

        A name with a budget of its own is never one too many.
        """
        scope_id = f"{team}/{name}"
        number = hash(scope_id)
        seen = self._seen.get((kind, team))
        if seen is not None and number in seen.now:
            return scope_id
        if self._is_admitted(kind, team, number) or self._book.has_own(kind, scope_id):
            return scope_id
        self.overflowed[kind.value] += 1
        return self._shared_id(kind, team, scope_id)

    def _is_admitted(self, kind: ScopeKind, team: str, number: int) -> bool:
        seen = self._of_this_hour(kind, team)
        if number not in seen.before and number not in seen.now:
            if seen.new >= self._new_per_hour:
                return False
            seen.new += 1
        if len(seen.now) < IN_USE * self._new_per_hour:
            seen.now.add(number)
        return True

    def _of_this_hour(self, kind: ScopeKind, team: str) -> _Seen:
        now_s = self._clock_s()
        seen = self._seen.get((kind, team))
        if seen is None:
            seen = self._seen[(kind, team)] = _Seen(now_s + HOUR_S)
        elif now_s >= seen.until_s:
            lately = seen.now if now_s < seen.until_s + HOUR_S else set[int]()
            seen = self._seen[(kind, team)] = _Seen(now_s + HOUR_S, before=lately)
        return seen

    def _shared_id(self, kind: ScopeKind, team: str, scope_id: str) -> str:
        begin = self._book.beginning(kind, scope_id)
        if len(begin) <= len(team):
            begin = f"{team}/"
        is_name = kind is ScopeKind.TAG and "=" not in begin
        return f"{begin}{OVERFLOW}={OVERFLOW}" if is_name else f"{begin}{OVERFLOW}"
