"""Who a request is charged to, and the windows in which its charges are counted.

A scope is one party (`key:3f2a`, `workflow:invoice-triage`); a window is the stretch of time its
budget covers. Scope and window start together name one account of the ledger. A cost lands in the
window in which it was reserved, whenever it is settled. A rolling window is a row of accounts, one
for each of its buckets.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from budgets.actions import Action, Threshold
from budgets.rolling import RollingWindow
from budgets.value import value

FULL_PERMILLE = 1_000
ANY = "*"
"""How the id of a budget ends that is one for each scope whose id begins like it."""


class ScopeKind(StrEnum):
    """The parties that can hold a budget, from the widest to the narrowest."""

    ORG = "org"
    TEAM = "team"
    KEY = "key"
    WORKFLOW = "workflow"
    RUN = "run"
    USER = "user"
    MODEL = "model"
    TAG = "tag"


class Window(StrEnum):
    """How long a budget lasts before it starts again; `total` never does."""

    TOTAL = "total"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


AnyWindow = Window | RollingWindow


class Unit(StrEnum):
    """What an account counts. A gate counts nothing: whatever is in it shuts it."""

    USD = "usd"
    TOKENS = "tokens"
    REQUESTS = "requests"
    GATE = "gate"


@value
class Scopes:
    """The parties of one request; every one has an id, so that none can be left out.

    `parents` are the runs that opened this one, the nearest first; `user` is the end user
    (`TEAM/ID`); `tags` are `TEAM/NAME=VALUE`. The model is known when the request has ended.
    """

    org: str
    team: str
    key: str
    workflow: str
    run: str
    parents: tuple[str, ...] = ()
    user: str = ""
    tags: tuple[str, ...] = ()
    model: str = ""

    def ids_of(self, kind: ScopeKind) -> tuple[str, ...]:
        """Who of a kind the request is charged to; runs are charged with what their runs spend."""
        if kind is ScopeKind.TAG:
            return self.tags
        own = str(getattr(self, kind.value))
        if kind is ScopeKind.RUN:
            return (own, *self.parents) if own else self.parents
        return (own,) if own else ()

    def without_run(self) -> "Scopes":
        """The same parties without a run of the request's own."""
        return Scopes(
            self.org,
            self.team,
            self.key,
            self.workflow,
            "",
            self.parents,
            self.user,
            self.tags,
            self.model,
        )

    def with_model(self, model: str) -> "Scopes":
        """The same parties, and the model that answered."""
        return Scopes(
            self.org,
            self.team,
            self.key,
            self.workflow,
            self.run,
            self.parents,
            self.user,
            self.tags,
            model,
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit for one scope, or for each scope whose id begins like a `scope_id` that ends in `*`.

    The limit is in the budget's `unit`: nano-USD, tokens or requests. `at` says what happens at
    which share of it. Of a run, `landing_permille` thousandths are kept for its landing. A `soft`
    one gives way, within an allowance, while the ledger cannot be asked.
    """

    kind: ScopeKind
    scope_id: str
    window: AnyWindow
    limit_nano: int
    timezone: str = "UTC"
    at: tuple[Threshold, ...] = ()
    unit: Unit = Unit.USD
    soft: bool = False
    landing_permille: int = 0

    @property
    def name(self) -> str:
        unit = "" if self.unit is Unit.USD else f"/{self.unit}"
        return f"{self.kind}:{self.scope_id}/{self.window}{unit}"

    @property
    def is_wide(self) -> bool:
        """Whether it is a budget for each of many scopes."""
        return self.scope_id.endswith(ANY)

    def permille_of(self, action: Action) -> tuple[int, ...]:
        """The shares at which an action is due, in thousandths, as they are listed."""
        return tuple([entry.permille for entry in self.at if entry.action is action])

    @property
    def refuse_permille(self) -> int:
        """The share beyond which no request is admitted; 1000 where no other is set."""
        return min(self.permille_of(Action.REFUSE), default=FULL_PERMILLE)

    @property
    def strip_nano(self) -> int:
        """What is kept for the landing of a run."""
        return -(-self.limit_nano * self.landing_permille // FULL_PERMILLE)

    @property
    def refuse_nano(self) -> int:
        """What requests may spend: the limit, or the share of it beyond which they are refused.

        Without what is kept for the landing of a run.
        """
        return max(0, self.limit_nano * self.refuse_permille // FULL_PERMILLE - self.strip_nano)


@value
class Charge:
    """One account a request is charged to, and the limit it must keep (None: no limit).

    A `lone` charge is that of a run with this one request in it: its limit counts, but there is
    nothing to remember. With a rolling window, `counted` are the accounts whose money counts
    against the limit (the oldest first, `account` among them); the oldest is free again at
    `resets_at_s`, and each further one `step_s` later. A limit, and what counts against it, is in
    the charge's `unit`: nano-USD, tokens or requests. A gate is a lone charge that counts other
    accounts and adds nothing to them. `budget` is the one whose limit it is. `amount` is what is
    set aside on this account where that is not what the reservation says for its unit.
    """

    account: str
    scope: str
    window: AnyWindow
    limit_nano: int | None
    resets_at_s: int | None
    lone: bool = False
    counted: tuple[str, ...] = ()
    step_s: int = 0
    unit: Unit = Unit.USD
    budget: Budget | None = None
    amount: int | None = None


@dataclass(frozen=True, slots=True)
class WindowSpan:
    """A window's first second and the first second after it, in seconds since 1970 (UTC)."""

    start_s: int
    end_s: int | None


def _midnight(day: datetime, zone: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def window_span(window: Window, timezone: str, now_s: int) -> WindowSpan:
    """The window around `now_s`, with calendar edges in the IANA `timezone`.

    Days have 23 or 25 hours where the clock changes; hours are counted in absolute time.
    """
    if window is Window.TOTAL:
        return WindowSpan(0, None)
    if window is Window.HOUR:
        start = now_s - now_s % 3600
        return WindowSpan(start, start + 3600)
    return _calendar_span(window, timezone, now_s)


def _calendar_span(window: Window, timezone: str, now_s: int) -> WindowSpan:
    zone = ZoneInfo(timezone)
    today = datetime.fromtimestamp(now_s, UTC).astimezone(zone).replace(tzinfo=None)
    if window is Window.DAY:
        first, after = today, today + timedelta(days=1)
    elif window is Window.WEEK:
        first = today - timedelta(days=today.weekday())
        after = first + timedelta(days=7)
    else:
        first = today.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    return WindowSpan(_midnight(first, zone), _midnight(after, zone))


def account_id(
    kind: ScopeKind, scope_id: str, window: AnyWindow, start_s: int, unit: Unit = Unit.USD
) -> str:
    """The ledger's name of one account, such as `key:3f2a|month|1793491200`.

    One that counts something else than money says so: `key:3f2a|month/tokens|1793491200`.
    """
    return f"{kind.value}:{scope_id}|{window_label(window, unit)}|{start_s}"


def window_label(window: AnyWindow, unit: Unit) -> str:
    """A window as account names tell it, with what is counted in it."""
    return window.value if unit is Unit.USD else f"{window.value}/{unit.value}"


def covers(budget: Budget, scope_id: str) -> bool:
    """Whether a budget is one for this scope: its own, or one whose id ends in `*`."""
    wanted = budget.scope_id
    return wanted == scope_id or (wanted.endswith(ANY) and scope_id.startswith(wanted[:-1]))


def stand_ins(budget: Budget, budgets: Iterable[Budget]) -> list[Budget]:
    """The budgets that stand in for a wide one: same kind, window and unit, and more specific."""
    same = (budget.kind, budget.window, budget.unit)
    return [
        other
        for other in budgets
        if other.scope_id != budget.scope_id
        and (other.kind, other.window, other.unit) == same
        and budget.is_wide
        and covers(budget, other.scope_id.removesuffix(ANY))
    ]


def decided_by(budget: Budget, closer: Iterable[Budget]) -> Callable[[str], bool]:
    """Whether a budget decides for a scope, where `closer` are its `stand_ins`."""
    own = {one.scope_id for one in closer}
    begins = tuple([name.removesuffix(ANY) for name in own if name.endswith(ANY)])

    def decides(scope_id: str) -> bool:
        return covers(budget, scope_id) and scope_id not in own and not scope_id.startswith(begins)

    return decides


def window_starts(window: AnyWindow, timezone: str, now_s: int) -> Sequence[int]:
    """Where each account of the window begins that counts at `now_s`, the oldest first."""
    if isinstance(window, RollingWindow):
        return window.counted_starts(now_s)
    return (window_span(window, timezone, now_s).start_s,)
