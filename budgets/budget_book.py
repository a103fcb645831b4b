"""Every budget, ready to say what a request is charged to.

Budgets for the organisation, teams, keys and workflows are the same for every request of a caller
and are looked up together. Runs, users and tags are looked up one by one, and only where such
budgets are; so is the model, which is not known before the request is routed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from math import gcd

from budgets.actions import Action
from budgets.rolling import RollingWindow
from budgets.scopes import (
    ANY,
    Budget,
    Charge,
    ScopeKind,
    Scopes,
    Window,
    WindowSpan,
    account_id,
    window_span,
)
from budgets.value import value

MAX_REMEMBERED = 10_000
QUARTER_HOUR_S = 900
OF_EACH_REQUEST = (ScopeKind.RUN, ScopeKind.USER, ScopeKind.TAG)
NO_CHARGES: Mapping[str, tuple[Charge, ...]] = {}


@lru_cache(maxsize=512)
def _cached_span(window: Window, timezone: str, hour_s: int) -> WindowSpan:
    return window_span(window, timezone, hour_s)


def _span(window: Window, timezone: str, now_s: int) -> WindowSpan:
    """`window_span`, remembered by quarter hour: every zone's midnight falls on one."""
    return _cached_span(window, timezone, now_s - now_s % QUARTER_HOUR_S)


def charge_for(budget: Budget, scope_id: str, now_s: int) -> Charge:
    """What a budget charges to one scope that it covers."""
    window, scope, unit = budget.window, f"{budget.kind.value}:{scope_id}", budget.unit
    limit_nano = budget.refuse_nano
    if not isinstance(window, RollingWindow):
        span = _span(window, budget.timezone, now_s)
        account = account_id(budget.kind, scope_id, window, span.start_s, unit)
        return Charge(account, scope, window, limit_nano, span.end_s, unit=unit, budget=budget)
    starts = window.counted_starts(now_s)
    return Charge(
        account_id(budget.kind, scope_id, window, window.bucket_start(now_s), unit),
        scope,
        window,
        limit_nano,
        starts[0] + window.bucket_s + window.length_s,
        counted=tuple(
            [account_id(budget.kind, scope_id, window, start_s, unit) for start_s in starts]
        ),
        step_s=window.bucket_s,
        unit=unit,
        budget=budget,
    )


def tightest(charges: Iterable[Charge]) -> tuple[Charge, ...]:
    """One charge for each account: where two count the same spend, the tighter limit decides.

    It is hard where either of the two is.
    """
    found: dict[str, Charge] = {}
    for charge in charges:
        before = found.get(charge.account)
        if before is None:
            found[charge.account] = charge
        elif _is_tighter(charge, before):
            found[charge.account] = _as_hard_as(charge, before)
        else:
            found[charge.account] = _as_hard_as(before, charge)
    return tuple(found.values())


def _as_hard_as(charge: Charge, other: Charge) -> Charge:
    own, second = charge.budget, other.budget
    if own is None or not own.soft or second is None or second.soft:
        return charge
    return replace(charge, budget=replace(own, soft=False))


def _is_tighter(charge: Charge, other: Charge) -> bool:
    if charge.limit_nano is None or other.limit_nano is None:
        return charge.limit_nano is not None
    return charge.limit_nano < other.limit_nano


@value
class _Kind:
    """The budgets of one kind: by the id of their scope, and wide ones with what ids begin with.

    The wide ones are in the order in which they decide, the longest beginning first.
    """

    own: Mapping[str, tuple[Budget, ...]]
    wide: tuple[tuple[str, tuple[Budget, ...]], ...]

    def applying(self, scope_id: str) -> list[Budget]:
        """The budgets for a scope: of each window and unit, the most specific one."""
        found = list(self.own.get(scope_id, ()))
        for begin, budgets in self.wide:
            if scope_id.startswith(begin):
                taken = {(budget.window, budget.unit) for budget in found}
                found += [one for one in budgets if (one.window, one.unit) not in taken]
        return found


def _kind(budgets: Iterable[Budget]) -> _Kind:
    by_id: dict[str, tuple[Budget, ...]] = {}
    for budget in budgets:
        by_id[budget.scope_id] = (*by_id.get(budget.scope_id, ()), budget)
    own = {scope_id: found for scope_id, found in by_id.items() if not scope_id.endswith(ANY)}
    wide = [(name.removesuffix(ANY), found) for name, found in by_id.items() if name not in own]
    return _Kind(own, tuple(sorted(wide, key=lambda entry: -len(entry[0]))))


class BudgetBook:
    """Every budget, ready to say what a request is charged to.

    `caps_models` says whether any of them is for a model, `degrades` whether any has a share at
    which requests use a cheaper tier, `kills` whether one has a share at which runs end, and
    `lands` whether one keeps something for the landing of runs. `version` is that of the budgets
    where others set them too.
    """

    __slots__ = (
        "_kinds",
        "_lasting",
        "_passing",
        "_remembered",
        "_tag_names",
        "_turn_s",
        "budgets",
        "caps_models",
        "degrades",
        "kills",
        "lands",
        "version",
    )

    def __init__(self, budgets: Iterable[Budget]) -> None:
        self.change(budgets)

    def change(self, budgets: Iterable[Budget], version: str | None = None) -> None:
        """Have other budgets from the next request on."""
        self.version = version
        self.budgets: tuple[Budget, ...] = tuple(budgets)
        self.degrades = any(budget.permille_of(Action.DEGRADE) for budget in self.budgets)
        self.kills = any(budget.permille_of(Action.KILL_RUN) for budget in self.budgets)
        self.lands = any(budget.landing_permille for budget in self.budgets)
        by_kind: dict[ScopeKind, list[Budget]] = {}
        for budget in self.budgets:
            by_kind.setdefault(budget.kind, []).append(budget)
        self._kinds = {kind: _kind(found) for kind, found in by_kind.items()}
        self.caps_models = ScopeKind.MODEL in by_kind
        single = (*OF_EACH_REQUEST, ScopeKind.MODEL)
        self._lasting = [kind for kind in by_kind if kind not in single]
        self._passing = [kind for kind in OF_EACH_REQUEST if kind in by_kind]
        self._tag_names = _tag_names(by_kind.get(ScopeKind.TAG, ()))
        # Within one turn no request is charged to another account than the one before.
        self._turn_s = QUARTER_HOUR_S
        for budget in self.budgets:
            if isinstance(budget.window, RollingWindow):
                self._turn_s = gcd(self._turn_s, budget.window.bucket_s, budget.window.length_s)
        self._remembered: dict[tuple[str | int, ...], tuple[Charge, ...]] = {}

    def charges(self, scopes: Scopes, now_s: int, *, lone_run: bool = False) -> tuple[Charge, ...]:
        """The accounts of a request: the organisation's total, then every budget that applies.

        `lone_run`: the request is a run of its own, so the charges of its run are lone. What a
        model is charged is left to `model_charges`.

        The charges of a caller, as those of a user, a tag or a run, are the same in one quarter
        hour, or in a shorter turn where a rolling window has shorter buckets.
        """
        turn = now_s - now_s % self._turn_s
        caller = (scopes.org, scopes.team, scopes.key, scopes.workflow, turn)
        charges = self._remembered.get(caller)
        if charges is None:
            charges = self._remember(caller, self._of_caller(scopes, now_s))
        for kind in self._passing:
            for scope_id in scopes.ids_of(kind):
                if lone_run and kind is ScopeKind.RUN:
                    own = self._kinds[kind].applying(scope_id)
                    charges += tuple([_lone(charge_for(budget, scope_id, now_s)) for budget in own])
                else:
                    charges += self._of_scope(kind, scope_id, now_s, turn)
        return charges

    def model_charges(self, models: Iterable[str], now_s: int) -> Mapping[str, tuple[Charge, ...]]:
        """The accounts of each of these models that has a budget."""
        if not self.caps_models:
            return NO_CHARGES
        turn = now_s - now_s % self._turn_s
        found = {model: self._of_scope(ScopeKind.MODEL, model, now_s, turn) for model in models}
        return {model: charges for model, charges in found.items() if charges}

    def tag_names(self, team: str) -> tuple[str, ...]:
        """The tags of a team of which every value has a budget: a request is charged to one."""
        return self._tag_names.get(team, ())

    def has_own(self, kind: ScopeKind, scope_id: str) -> bool:
        """Whether a scope has a budget in its own name."""
        of_kind = self._kinds.get(kind)
        return of_kind is not None and scope_id in of_kind.own

    def beginning(self, kind: ScopeKind, scope_id: str) -> str:
        """With what an id must begin to have every wide budget that a scope has."""
        of_kind = self._kinds.get(kind)
        wide = () if of_kind is None else of_kind.wide
        return next((begin for begin, _ in wide if scope_id.startswith(begin)), "")

    def _of_caller(self, scopes: Scopes, now_s: int) -> Iterable[Charge]:
        total = account_id(ScopeKind.ORG, scopes.org, Window.TOTAL, 0)
        yield Charge(total, f"org:{scopes.org}", Window.TOTAL, None, None)
        for kind in self._lasting:
            for scope_id in scopes.ids_of(kind):
                for budget in self._kinds[kind].applying(scope_id):
                    yield charge_for(budget, scope_id, now_s)

    def _of_scope(
        self, kind: ScopeKind, scope_id: str, now_s: int, turn: int
    ) -> tuple[Charge, ...]:
        key = (kind.value, scope_id, turn)
        charges = self._remembered.get(key)
        if charges is None:
            budgets = self._kinds[kind].applying(scope_id)
            charges = self._remember(
                key, [charge_for(budget, scope_id, now_s) for budget in budgets]
            )
        return charges

    def _remember(
        self, key: tuple[str | int, ...], charges: Iterable[Charge]
    ) -> tuple[Charge, ...]:
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        found = self._remembered[key] = tightest(charges)
        return found


def _lone(charge: Charge) -> Charge:
    return replace(charge, lone=True)


def _tag_names(budgets: Iterable[Budget]) -> Mapping[str, tuple[str, ...]]:
    """By team, the names of tags with a budget such as `tag:lab/feature=*`."""
    names: dict[str, tuple[str, ...]] = {}
    for budget in budgets:
        team, _, rest = budget.scope_id.partition("/")
        name, equals, _ = rest.partition("=")
        if budget.is_wide and equals and name not in names.get(team, ()):
            names[team] = (*names.get(team, ()), name)
    return names
