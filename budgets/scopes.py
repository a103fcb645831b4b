"""Who a request is charged to, and the windows in which its charges are counted.

A scope is one party (`key:3f2a`, `workflow:invoice-triage`); a window is the stretch of time its
budget covers. Scope and window start together name one account of the ledger. A cost lands in the
window in which it was reserved, whenever it is settled. A rolling window is a row of accounts, one
for each of its buckets.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from math import gcd
from zoneinfo import ZoneInfo

from budgets.rolling import RollingWindow
from budgets.value import value

MAX_REMEMBERED = 10_000
QUARTER_HOUR_S = 900


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
    """A limit for one scope, or for each scope of a kind where `scope_id` is `*`.

    At each of `alert_permille` thousandths of the limit somebody is told.
    """

    kind: ScopeKind
    scope_id: str
    window: AnyWindow
    limit_nano: int
    timezone: str = "UTC"
    alert_permille: tuple[int, ...] = ()
    unit: Unit = Unit.USD

    @property
    def name(self) -> str:
        unit = "" if self.unit is Unit.USD else f"/{self.unit}"
        return f"{self.kind}:{self.scope_id}/{self.window}{unit}"


@value
class Charge:
    """One account a request is charged to, and the limit it must keep (None: no limit).

    A `lone` charge is that of a run with this one request in it: its limit counts, but there is
    nothing to remember. With a rolling window, `counted` are the accounts whose money counts
    against the limit (the oldest first, `account` among them); the oldest is free again at
    `resets_at_s`, and each further one `step_s` later. A limit, and what counts against it, is in
    the charge's `unit`: nano-USD, tokens or requests. A gate is a lone charge that counts other
    accounts and adds nothing to them.
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


@lru_cache(maxsize=512)
def _cached_span(window: Window, timezone: str, hour_s: int) -> WindowSpan:
    return window_span(window, timezone, hour_s)


def _span(window: Window, timezone: str, now_s: int) -> WindowSpan:
    """`window_span`, remembered by quarter hour: every zone's midnight falls on one."""
    return _cached_span(window, timezone, now_s - now_s % QUARTER_HOUR_S)


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
    return wanted == scope_id or (wanted.endswith("*") and scope_id.startswith(wanted[:-1]))


def window_starts(window: AnyWindow, timezone: str, now_s: int) -> Sequence[int]:
    """Where each account of the window begins that counts at `now_s`, the oldest first."""
    if isinstance(window, RollingWindow):
        return window.counted_starts(now_s)
    return (window_span(window, timezone, now_s).start_s,)


def _charge(budget: Budget, scope_id: str, now_s: int) -> Charge:
    window, scope = budget.window, f"{budget.kind.value}:{scope_id}"
    if not isinstance(window, RollingWindow):
        span = _span(window, budget.timezone, now_s)
        account = account_id(budget.kind, scope_id, window, span.start_s, budget.unit)
        return Charge(account, scope, window, budget.limit_nano, span.end_s, unit=budget.unit)
    starts, unit = window.counted_starts(now_s), budget.unit
    return Charge(
        account_id(budget.kind, scope_id, window, window.bucket_start(now_s), unit),
        scope,
        window,
        budget.limit_nano,
        starts[0] + window.bucket_s + window.length_s,
        counted=tuple(
            [account_id(budget.kind, scope_id, window, start_s, unit) for start_s in starts]
        ),
        step_s=window.bucket_s,
        unit=unit,
    )


class BudgetBook:
    """Every budget, ready to say what a request is charged to."""

    __slots__ = ("_by_kind", "_lasting", "_passing", "_remembered", "_turn_s", "budgets")

    def __init__(self, budgets: Iterable[Budget]) -> None:
        self.change(budgets)

    def change(self, budgets: Iterable[Budget]) -> None:
        """Have other budgets from the next request on."""
        self.budgets: tuple[Budget, ...] = tuple(budgets)
        by_kind: dict[ScopeKind, dict[str, list[Budget]]] = {}
        for budget in self.budgets:
            by_kind.setdefault(budget.kind, {}).setdefault(budget.scope_id, []).append(budget)
        self._by_kind: Mapping[ScopeKind, Mapping[str, list[Budget]]] = by_kind
        self._lasting = [kind for kind in by_kind if kind is not ScopeKind.RUN]
        self._passing = [kind for kind in by_kind if kind is ScopeKind.RUN]
        # Within one turn no request is charged to another account than the one before.
        self._turn_s = QUARTER_HOUR_S
        for budget in self.budgets:
            if isinstance(budget.window, RollingWindow):
                self._turn_s = gcd(self._turn_s, budget.window.bucket_s, budget.window.length_s)
        self._remembered: dict[tuple[str, str, str, str, int], tuple[Charge, ...]] = {}

    def _applying(self, kind: ScopeKind, scope_id: str) -> list[Budget]:
        """A budget for the scope itself stands in for the `*` budget of the same window."""
        of_kind = self._by_kind.get(kind)
        if of_kind is None:
            return []
        own = of_kind.get(scope_id, [])
        taken = {(budget.window, budget.unit) for budget in own}
        return own + [
            budget for budget in of_kind.get("*", []) if (budget.window, budget.unit) not in taken
        ]

    def charges(self, scopes: Scopes, now_s: int, *, lone_run: bool = False) -> tuple[Charge, ...]:
        """The accounts of a request: the organisation's total, then every budget that applies.

        `lone_run`: the request is a run of its own, so the charges of its run are lone.

        All but those of the run are the same for every request of a workflow in one quarter hour,
        or in a shorter turn where a rolling window has shorter buckets.
        """
        turn = now_s - now_s % self._turn_s
        caller = (scopes.org, scopes.team, scopes.key, scopes.workflow, turn)
        charges = self._remembered.get(caller)
        if charges is None:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            charges = self._charges(self._lasting, scopes, now_s, with_total=True)
            self._remembered[caller] = charges
        if self._passing:
            of_run = self._charges(self._passing, scopes, now_s, with_total=False)
            charges += tuple(replace(charge, lone=lone_run) for charge in of_run)
        return charges

    def _charges(
        self, kinds: Iterable[ScopeKind], scopes: Scopes, now_s: int, *, with_total: bool
    ) -> tuple[Charge, ...]:
        charges: dict[str, Charge] = {}
        if with_total:
            total = account_id(ScopeKind.ORG, scopes.org, Window.TOTAL, 0)
            charges[total] = Charge(total, f"org:{scopes.org}", Window.TOTAL, None, None)
        for kind in kinds:
            for scope_id in scopes.ids_of(kind):
                for budget in self._applying(kind, scope_id):
                    charge = _charge(budget, scope_id, now_s)
                    before = charges.get(charge.account)
                    limit_nano = None if before is None else before.limit_nano
                    if limit_nano is not None and limit_nano <= budget.limit_nano:
                        continue  # two budgets count the same spend, and the tighter one decides
                    charges[charge.account] = charge
        return tuple(charges.values())
