"""Routing policies: an ordered list of rules, of which the first that matches names the tier.

A rule's conditions are compiled once, when the policy is built. Each says in words that it held, or
that it did not, so that a decision can be explained and one can see what would flip it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate

from budgets.scopes import FULL_PERMILLE
from budgets.thresholds import Pressure
from budgets.value import value
from routing.catalog import Requested
from routing.classify import Classification
from routing.features import Features
from routing.lexicon import Task


class Fallback(StrEnum):
    """Where to go when no model of the tier can serve: dearer tiers, nowhere, or any tier."""

    UP = "up"
    NONE = "none"
    ANY = "any"


@value
class RouteRequest:
    """Everything about one request that routing may look at.

    `pressure` is None where nobody asked for it, or no budget limits the request. `dialect` is the
    way of asking, which a model has to answer; empty asks for none.
    """

    requested: Requested
    workflow: str
    team: str
    key_id: str
    features: Features
    classification: Classification
    pressure: Pressure | None = None
    dialect: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """The conditions of a rule; all that are set must hold, and none set matches everything.

    Patterns are globs over the whole name: `*` any text, `?` one character, `[ab]` one of these;
    case counts. Bounds are inclusive. `prompt_tokens_*` compare with the estimate, `pressure_*`
    with the used share of the tightest budget, in thousandths rounded down.
    """

    workflow: tuple[str, ...] = ()
    team: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    task: tuple[Task, ...] = ()
    difficulty_min: float | None = None
    difficulty_max: float | None = None
    prompt_tokens_min: int | None = None
    prompt_tokens_max: int | None = None
    pressure_min: float | None = None
    pressure_max: float | None = None
    tools: bool | None = None
    images: bool | None = None
    schema: bool | None = None
    reasoning: bool | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """One compiled condition: whether it holds, and the comparison in words either way."""

    holds: Callable[[RouteRequest], bool]
    words: Callable[[RouteRequest, bool], str]


def _ascii(text: str) -> str:
    """Printable ASCII, because reasons travel in a header."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)


def _glob_condition(
    name: str, patterns: tuple[str, ...], value: Callable[[RouteRequest], str]
) -> Condition:
    matches = re.compile("|".join(translate(pattern) for pattern in patterns)).match
    shown = _ascii("|".join(patterns))
    held, failed = f"{name} matches {shown}", f"{name} does not match {shown}"
    return Condition(
        lambda request: matches(value(request)) is not None,
        lambda _, held_now: held if held_now else failed,
    )


def _task_condition(tasks: tuple[Task, ...]) -> Condition:
    allowed = frozenset(tasks)
    others = "|".join(tasks)
    return Condition(
        lambda request: request.classification.task in allowed,
        lambda request, held: (
            f"task {request.classification.task.value}"
            if held
            else f"task {request.classification.task.value} is not {others}"
        ),
    )


def _flag_condition(name: str, wanted: bool, value: Callable[[Features], bool]) -> Condition:
    present, absent = f"{name} present", f"no {name}"
    return Condition(
        lambda request: value(request.features) is wanted,
        lambda _, held: present if held is wanted else absent,
    )


def _difficulty(request: RouteRequest) -> float:
    return request.classification.difficulty


def _prompt_tokens(request: RouteRequest) -> int:
    return request.features.prompt_tokens


def _pressure(request: RouteRequest) -> float:
    return 0.0 if request.pressure is None else request.pressure.permille / FULL_PERMILLE


def _at_least(name: str, bound: float, value: Callable[[RouteRequest], float]) -> Condition:
    return Condition(
        lambda request: value(request) >= bound,
        lambda request, held: f"{name} {value(request)} {'>=' if held else '<'} {bound}",
    )


def _at_most(name: str, bound: float, value: Callable[[RouteRequest], float]) -> Condition:
    return Condition(
        lambda request: value(request) <= bound,
        lambda request, held: f"{name} {value(request)} {'<=' if held else '>'} {bound}",
    )


_FLAGS: tuple[tuple[str, Callable[[Features], bool]], ...] = (
    ("tools", lambda features: features.tools > 0),
    ("images", lambda features: features.images > 0),
    ("schema", lambda features: features.schema),
    ("reasoning", lambda features: features.reasoning_asked),
)
_GLOBS: tuple[tuple[str, Callable[[RouteRequest], str]], ...] = (
    ("workflow", lambda request: request.workflow),
    ("team", lambda request: request.team),
    ("key", lambda request: request.key_id),
)
_RANGES: tuple[tuple[str, Callable[[RouteRequest], float]], ...] = (
    ("difficulty", _difficulty),
    ("prompt_tokens", _prompt_tokens),
    ("pressure", _pressure),
)


def compile_match(match: Match) -> tuple[Condition, ...]:
    """The conditions that are set, names first."""
    conditions: list[Condition] = []
    for name, name_of in _GLOBS:
        patterns = getattr(match, name)
        if patterns:
            conditions.append(_glob_condition(name, patterns, name_of))
    if match.task:
        conditions.append(_task_condition(match.task))
    for name, value_of in _RANGES:
        least, most = getattr(match, f"{name}_min"), getattr(match, f"{name}_max")
        if least is not None:
            conditions.append(_at_least(name, least, value_of))
        if most is not None:
            conditions.append(_at_most(name, most, value_of))
    for name, flag_of in _FLAGS:
        wanted = getattr(match, name)
        if wanted is not None:
            conditions.append(_flag_condition(name, wanted, flag_of))
    return tuple(conditions)


class Rule:
    """A named match and the tier it leads to."""

    __slots__ = ("conditions", "match", "name", "tier")

    def __init__(self, name: str, match: Match, tier: str) -> None:
        self.name = name
        self.match = match
        self.tier = tier
        self.conditions = compile_match(match)

    def first_failing(self, request: RouteRequest) -> Condition | None:
        """The first condition that does not hold; None where the rule matches."""
        for condition in self.conditions:
            if not condition.holds(request):
                return condition
        return None

    def held(self, request: RouteRequest) -> tuple[str, ...]:
        """The conditions of a matching rule, in words."""
        return tuple(condition.words(request, True) for condition in self.conditions)


@value
class Choice:
    """What a policy chose: the tier, the rule (empty where none matched) and why.

    `missed` holds, for each rule before it, its name and the first condition that failed.
    """

    tier: str
    rule: str
    held: tuple[str, ...]
    missed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in order, and the tier where none matches.

    `degrade_to` is the tier for requests whose budget asks for a cheaper one; empty: the next
    cheaper one. `last_resort` is the model for when no other can be reached; empty: none.
    """

    name: str
    tier: str
    rules: tuple[Rule, ...] = ()
    fallback: Fallback = Fallback.UP
    degrade_to: str = ""
    last_resort: str = ""

    @property
    def weighs_pressure(self) -> bool:
        """Whether a rule looks at how much of the budgets is used."""
        return any(
            rule.match.pressure_min is not None or rule.match.pressure_max is not None
            for rule in self.rules
        )

    def choose(self, request: RouteRequest) -> Choice:
        """The tier of the first rule that matches."""
        missed: list[tuple[str, str]] = []
        for rule in self.rules:
            failing = rule.first_failing(request)
            if failing is None:
                return Choice(rule.tier, rule.name, rule.held(request), tuple(missed))
            missed.append((rule.name, failing.words(request, False)))
        return Choice(self.tier, "", (), tuple(missed))


def policies_by_name(policies: Iterable[Policy]) -> Mapping[str, Policy]:
    """The policies as `decide` takes them; raise ValueError for two of one name."""
    listed = tuple(policies)
    by_name = {policy.name: policy for policy in listed}
    if len(by_name) != len(listed):
        raise ValueError("two policies have the same name")
    return by_name
