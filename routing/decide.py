"""Which model answers, why, and why every other one does not.

`decide` is a function of its arguments: same request, catalog, policies, health and prices, same
decision. A client that names a model gets that model or an error, never another one. All candidates
come from one tier, so that money is reserved for the tier that was chosen and not for the dearest.
Where a budget asks for a cheaper tier, `auto` moves to it; what a client named stays.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from enum import StrEnum
from operator import attrgetter

from budgets.thresholds import Crossed
from budgets.value import value
from routing.candidates import Candidate, Quote, Survey
from routing.catalog import (
    Auto,
    Catalog,
    ModelCard,
    ModelWish,
    Rejection,
    RejectionCode,
    TierWish,
    Unknown,
)
from routing.degrade import Degraded, cheaper_tier, degrade_words
from routing.health import Health
from routing.policies import Choice, Fallback, Policy, RouteRequest
from routing.work import work_of

__all__ = [
    "Candidate",
    "NoRoute",
    "NoRouteCode",
    "Quote",
    "RouteDecision",
    "RouteRequest",
    "decide",
]

REASON_CHARS = 240
MODELS_IN_MESSAGE = 5


class NoRouteCode(StrEnum):
    """Why no model can answer; the list is closed."""

    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_POLICY = "unknown_policy"
    DIALECT = "dialect"
    PROVIDER_DOWN = "provider_down"
    CAPABILITY_MISSING = "capability_missing"
    CONTEXT_EXCEEDED = "context_exceeded"
    PRICE_UNKNOWN = "price_unknown"
    NO_CANDIDATE = "no_candidate"


@value
class NoRoute:
    """No model can answer: a code, a message for the client, and each model's reason."""

    code: NoRouteCode
    message: str
    rejected: tuple[Rejection, ...] = ()
    policy: str = ""

    def evidence(self) -> dict[str, object]:
        """The refusal as JSON values."""
        return {
            "no_route": self.code.value,
            "message": self.message,
            "policy": self.policy,
            "rejected": _rejections(self.rejected),
        }


@value
class RouteDecision:
    """The chosen model, its fallbacks, and the evidence.

    `candidates` is never empty: its first is the choice, the others are fallbacks of the same tier
    in order. `reserve` is the dearest of them, so that reserving its ceiling covers them all.
    `over_headroom` says that only money stands in the way: the ledger will refuse, and its word
    counts. `tier`, `policy` and `rule` are empty where they played no part. `reason` is one line of
    printable ASCII. `degraded` says that a budget moved the request to a cheaper tier.
    `last_resort` names the last candidate where it is there for when no other can be reached.
    """

    candidates: tuple[Candidate, ...]
    tier: str
    policy: str
    rule: str
    reason: str
    reserve: Candidate
    rejected: tuple[Rejection, ...]
    conditions: tuple[str, ...]
    missed_rules: tuple[tuple[str, str], ...]
    tiers_tried: tuple[str, ...]
    headroom_nano: int | None
    over_headroom: bool
    degraded: Degraded | None = None
    last_resort: str = ""

    @property
    def model(self) -> ModelCard:
        return self.candidates[0].model

    @property
    def ceiling_nano(self) -> int:
        return self.reserve.ceiling_nano

    def in_turn(self, attempts: int) -> tuple[Candidate, ...]:
        """The candidates that so many attempts can reach; the last resort is always one."""
        if not self.last_resort or len(self.candidates) <= attempts:
            return self.candidates[:attempts]
        return (*self.candidates[: max(1, attempts - 1)], self.candidates[-1])

    def without(self, model: str, why: str) -> "RouteDecision":
        """The decision where the budget of one of several candidates was used up meanwhile."""
        kept = tuple([one for one in self.candidates if one.model.name != model])
        lost = Rejection(model, RejectionCode.MODEL_BUDGET, why)
        dearest = max(kept, key=attrgetter("ceiling_nano"))
        last = "" if model == self.last_resort else self.last_resort
        rejected = (lost, *self.rejected)
        return replace(self, candidates=kept, reserve=dearest, rejected=rejected, last_resort=last)

    def evidence(self) -> dict[str, object]:
        """The whole decision as JSON values, for the event and for `weir explain`."""
        evidence: dict[str, object] = {
            "model": self.model.name,
            "provider": self.model.provider,
            "tier": self.tier,
            "policy": self.policy,
            "rule": self.rule,
            "reason": self.reason,
            "conditions": list(self.conditions),
            "missed_rules": [{"rule": rule, "why": why} for rule, why in self.missed_rules],
            "tiers_tried": list(self.tiers_tried),
            "candidates": [
                {
                    "model": kept.model.name,
                    "ceiling_nano": kept.ceiling_nano,
                    "output_tokens": kept.output_tokens,
                }
                for kept in self.candidates
            ],
            "reserve_model": self.reserve.model.name,
            "ceiling_nano": self.ceiling_nano,
            "headroom_nano": self.headroom_nano,
            "over_headroom": self.over_headroom,
            "rejected": _rejections(self.rejected),
        }
        if self.last_resort:
            evidence["last_resort"] = self.last_resort
        if self.degraded is not None:
            evidence["degraded"] = self.degraded.evidence()
        return evidence


def _rejections(rejected: Iterable[Rejection]) -> list[dict[str, str]]:
    return [{"model": no.model, "code": no.code.value, "why": no.why} for no in rejected]


@value
class _Plan:
    """Where to look, in order, and how that came about.

    `crossed` is the budget that asks for a tier cheaper than `chosen`, the one of the policy.
    """

    tiers: tuple[tuple[str, tuple[str, ...]], ...]
    policy: str
    rule: str
    because: str
    conditions: tuple[str, ...] = ()
    missed: tuple[tuple[str, str], ...] = ()
    chosen: str = ""
    crossed: Crossed | None = None
    last_resort: str = ""


def _fallback_tiers(catalog: Catalog, first: str, fallback: Fallback) -> list[str]:
    """The chosen tier, then where it may turn to: dearer ones upwards, then cheaper downwards."""
    rank = catalog.tiers_by_name[first].rank
    tiers = [first]
    if fallback is not Fallback.NONE:
        tiers += [tier.name for tier in catalog.tiers if tier.rank > rank]
    if fallback is Fallback.ANY:
        tiers += [tier.name for tier in reversed(catalog.tiers) if tier.rank < rank]
    return tiers


def _because(policy: str, choice: Choice) -> str:
    if choice.rule:
        held = f" ({', '.join(choice.held)})" if choice.held else ""
        return f"policy {policy}: rule {choice.rule}{held}"
    return f"policy {policy}: no rule matched, tier {choice.tier}"


def _plan(
    request: RouteRequest, catalog: Catalog, policies: Mapping[str, Policy]
) -> _Plan | NoRoute:
    requested = request.requested
    match requested:
        case ModelWish(model):
            return _Plan((("", (model,)),), "", "", f"client named model {model}")
        case TierWish(tier):
            models = catalog.tiers_by_name[tier].models
            return _Plan(((tier, models),), "", "", f"client named tier {tier}")
        case Unknown(name, suggestions):
            message = f"no model is called {name[:100]!r}{_did_you_mean(suggestions)}"
            return NoRoute(NoRouteCode.UNKNOWN_MODEL, message)
        case Auto(name):
            policy = policies.get(name)
            if policy is None:
                close = get_close_matches(name[:100], policies, n=1)
                message = f"no policy is called {name[:100]!r}{_did_you_mean(close)}"
                return NoRoute(NoRouteCode.UNKNOWN_POLICY, message, policy=name[:100])
            crossed = None if request.pressure is None else request.pressure.degrade
            return _plan_by(policy, policy.choose(request), catalog, crossed)


def _plan_by(policy: Policy, choice: Choice, catalog: Catalog, crossed: Crossed | None) -> _Plan:
    """What the policy chose, or a cheaper tier first where a budget asks for it.

    A cheaper tier is a preference: where it cannot serve, the chosen one still may.
    """
    chosen, because = choice.tier, _because(policy.name, choice)
    first = chosen if crossed is None else cheaper_tier(catalog, chosen, policy.degrade_to)
    names = _fallback_tiers(catalog, first, policy.fallback)
    if crossed is not None and first != chosen:
        because = f"{because}; {degrade_words(crossed, chosen, first)}"
        if chosen not in names:
            names.append(chosen)
    return _Plan(
        tuple((tier, catalog.tiers_by_name[tier].models) for tier in names),
        policy.name,
        choice.rule,
        because,
        choice.held,
        choice.missed,
        chosen,
        crossed,
        policy.last_resort,
    )


def _did_you_mean(suggestions: Iterable[str]) -> str:
    listed = " or ".join(repr(name) for name in suggestions)
    return f"; did you mean {listed}?" if listed else ""


def decide(
    request: RouteRequest,
    catalog: Catalog,
    policies: Mapping[str, Policy],
    health: Health,
    quote: Callable[[ModelCard], Quote],
    headroom_nano: int | None,
    now_ms: int,
) -> RouteDecision | NoRoute:
    """The model for a request, or why there is none.

    `quote` prices a model for this request; it is asked only about models that can serve it.
    `headroom_nano` is what the tightest budget has left (None: no limit). `now_ms` is on the clock
    of `health`. Every model of the catalog is in `candidates` or in `rejected`, once.
    """
    plan = _plan(request, catalog, policies)
    if isinstance(plan, NoRoute):
        return plan
    chosen_here = bool(request.dialect) and not isinstance(request.requested, ModelWish)
    work = work_of(request.dialect) if chosen_here else None
    survey = Survey(request.features, health, quote, headroom_nano, now_ms, request.dialect, work)
    tried: list[str] = []
    for tier, models in plan.tiers:
        tried.append(tier)
        kept = survey.keep(tier, (catalog.models[name] for name in models))
        if kept:
            last = _last_resort(plan, survey, catalog, kept)
            return _decision(plan, tried, kept, survey, catalog, headroom_nano, last=last)
    if survey.is_down() and (last := _last_resort(plan, survey, catalog, [])) is not None:
        return _decision(plan, tried, [], survey, catalog, headroom_nano, last=last)
    if survey.too_dear:
        tier, cheapest = min(survey.too_dear, key=lambda found: found[1].ceiling_nano)
        del survey.rejected[cheapest.model.name]
        tried = [name for name in tried if name != tier] + [tier]
        return _decision(plan, tried, [cheapest], survey, catalog, headroom_nano, over=True)
    return _no_route(plan, survey, catalog, request.dialect)


def _decision(
    plan: _Plan,
    tried: list[str],
    kept: list[Candidate],
    survey: Survey,
    catalog: Catalog,
    headroom_nano: int | None,
    *,
    over: bool = False,
    last: Candidate | None = None,
) -> RouteDecision:
    alone = not kept
    if last is not None:
        kept = [*kept, last]
    dearest = kept[0] if len(kept) == 1 else max(kept, key=attrgetter("ceiling_nano"))
    judged = [*survey.rejected, *(candidate.model.name for candidate in kept)]
    reason = plan.because
    if over:
        reason = f"{reason}; over headroom, cheapest of {len(survey.too_dear)}"
    elif alone:
        reason = f"{reason}; nothing else can answer: last resort {kept[0].model.name}"
    elif len(tried) > 1:
        reason = f"{reason}; {tried[0]} had no candidate, went to {tried[-1]}"
    return RouteDecision(
        candidates=tuple(kept),
        tier="" if alone else tried[-1],
        policy=plan.policy,
        rule=plan.rule,
        reason=_header_line(reason),
        reserve=dearest,
        rejected=(*survey.rejected.values(), *catalog.unasked(judged)),
        conditions=plan.conditions,
        missed_rules=plan.missed,
        tiers_tried=tuple(tried),
        headroom_nano=headroom_nano,
        over_headroom=over,
        degraded=_degraded(plan, tried[-1], catalog),
        last_resort="" if last is None else last.model.name,
    )


def _last_resort(
    plan: _Plan, survey: Survey, catalog: Catalog, kept: list[Candidate]
) -> Candidate | None:
    """What answers when nothing that was kept does, if the policy has something that can."""
    name = plan.last_resort
    if not name or any(one.model.name == name for one in kept):
        return None
    return survey.keep_last(catalog.models[name])


def _degraded(plan: _Plan, tier: str, catalog: Catalog) -> Degraded | None:
    """The move to a cheaper tier, if the request ended there."""
    crossed, tiers = plan.crossed, catalog.tiers_by_name
    if crossed is None or tiers[tier].rank >= tiers[plan.chosen].rank:
        return None
    return Degraded(crossed.budget, crossed.scope, crossed.used_permille, plan.chosen, tier)


def _header_line(text: str) -> str:
    if len(text) <= REASON_CHARS and text.isascii() and text.isprintable():
        return text
    line = "".join(char if " " <= char <= "~" else "?" for char in text)
    return line if len(line) <= REASON_CHARS else line[: REASON_CHARS - 3] + "..."


def _no_route(plan: _Plan, survey: Survey, catalog: Catalog, dialect: str) -> NoRoute:
    """The refusal; its code is the models' common one, or the one that may pass by itself."""
    rejections = survey.rejected.values()
    codes = {rejection.code for rejection in rejections}
    if len(codes) == 1:
        code = NoRouteCode(next(iter(codes)).value)
    elif RejectionCode.PROVIDER_DOWN in codes:
        code = NoRouteCode.PROVIDER_DOWN
    else:
        code = NoRouteCode.NO_CANDIDATE
    shown = [f"{rejection.model}: {rejection.why}" for rejection in rejections][:MODELS_IN_MESSAGE]
    more = len(rejections) - len(shown)
    rest = f"; and {more} more" if more else ""
    if code is NoRouteCode.DIALECT:
        rest += f". {_who_speaks(dialect, catalog)}"
    return NoRoute(
        code,
        f"{plan.because}, but no model can answer: {'; '.join(shown)}{rest}",
        (*rejections, *catalog.unasked(survey.rejected)),
        plan.policy,
    )


def _who_speaks(dialect: str, catalog: Catalog) -> str:
    """Which models answer a dialect, for a client that asked others."""
    speakers = [
        f"{card.name} ({card.provider})"
        for card in catalog.models.values()
        if (card.dialects is None or dialect in card.dialects)
        and (card.works is None or work_of(dialect) in card.works)
    ]
    if not speakers:
        return f"No model here speaks {dialect}."
    shown = ", ".join(speakers[:MODELS_IN_MESSAGE])
    return f"Models that speak {dialect}: {shown}{', ...' if speakers[MODELS_IN_MESSAGE:] else ''}."
