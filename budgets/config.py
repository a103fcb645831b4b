"""Budgets and prices as a person writes them in config.toml, checked and made exact.

Prices are dollars for a million tokens, budgets are dollars; both are read as exact decimals. Each
section turns into the plain value the ledger and the price card work with.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from budgets.actions import Action, Threshold
from budgets.money import (
    MAX_LIMIT_NANO,
    MoneyError,
    nano_from_usd,
    parse_usd,
    pico_rate_from_usd,
    pico_rate_from_usd_per_million,
    pico_rate_from_usd_per_minute,
)
from budgets.prices import DEFAULT_SERVICE_TIER, Price, make_price
from budgets.rolling import read_rolling
from budgets.scopes import ANY, FULL_PERMILLE, AnyWindow, Budget, ScopeKind, Unit, Window

TEAM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}")
WORKFLOW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+/ -]{0,127}")
"""Workflows, runs, users and tags belong to a team, as `TEAM/NAME`; a team's name has no slash."""

CONFIG_NAMES: Mapping[str, str] = {"input": "fresh"}
"""Where a price's name in config.toml differs from its token class."""

PicoRate = Annotated[int, BeforeValidator(pico_rate_from_usd_per_million)]
UNIT_OF_KEY = {
    "per_image": "images",
    "per_million_characters": "characters",
    "per_minute": "sound_ms",
}


class Section(BaseModel):
    """A table of config.toml: unknown keys are errors and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ChangedRates(Section):
    """Rates that differ above a context size; a class left out keeps its rate from below."""

    input: PicoRate | None = None
    cached: PicoRate | None = None
    cache_write: PicoRate | None = None
    cache_write_1h: PicoRate | None = None
    audio_input: PicoRate | None = None
    image_input: PicoRate | None = None
    output: PicoRate | None = None
    reasoning: PicoRate | None = None
    audio_output: PicoRate | None = None

    def pico(self) -> dict[str, int]:
        """Pico-USD for each token, by token class."""
        given = ((name, getattr(self, name)) for name in ChangedRates.model_fields)
        return {CONFIG_NAMES.get(name, name): rate for name, rate in given if rate is not None}


class PriceSection(ChangedRates):
    """One price: by tokens with `input` and `output`, to which the rest falls back; or by units."""

    per_image: Annotated[int, BeforeValidator(pico_rate_from_usd)] | None = None
    per_million_characters: PicoRate | None = None
    per_minute: Annotated[int, BeforeValidator(pico_rate_from_usd_per_minute)] | None = None
    above: dict[Annotated[int, Field(gt=0)], ChangedRates] = {}

    @model_validator(mode="after")
    def _is_a_price(self) -> Self:
        if self.units() and not self.pico() and not self.above:
            return self
        for name in ("input", "output"):
            if getattr(self, name) is None:
                raise ValueError(
                    f"{name} is missing: give input and output, in dollars for a million tokens, "
                    f"or one of {', '.join(UNIT_OF_KEY)} alone"
                )
        return self

    def units(self) -> dict[str, int]:
        """Pico-USD for each image, character or millisecond of sound."""
        given = {unit: getattr(self, key) for key, unit in UNIT_OF_KEY.items()}
        return {unit: rate for unit, rate in given.items() if rate is not None}

    @property
    def is_zero(self) -> bool:
        """Whether nothing this price names costs anything."""
        tiers = [self.pico(), self.units(), *(changed.pico() for changed in self.above.values())]
        return not any(rate for tier in tiers for rate in tier.values())

    def to_price(self, model: str, valid_from_s: int = 0) -> Price:
        """The price of `model` from a moment on; its version is a digest of the rates."""
        tiers = {above: changed.pico() for above, changed in sorted(self.above.items())}
        units = self.units()
        named = (sorted(self.pico().items()), tiers, *sorted(units.items()))
        digest = hashlib.sha256(repr(named).encode()).hexdigest()
        return make_price(
            model,
            self.pico(),
            version=f"config-{digest[:12]}",
            valid_from_s=valid_from_s,
            context_tiers=tiers,
            service_tier=DEFAULT_SERVICE_TIER,
            units=units,
        )


def _utc_seconds(value: object) -> object:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return int(moment.timestamp())
    if isinstance(value, date):
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())
    raise ValueError(f'expected a date such as "2026-12-01" (UTC), got {value!r}')


UtcSeconds = Annotated[int, BeforeValidator(_utc_seconds)]


class DatedPrice(Section):
    """A price that takes over at `valid_from` (a date or time, UTC where no offset is given)."""

    valid_from: UtcSeconds
    price: PriceSection | None = None
    price_from: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.price is None) == (self.price_from is None):
            raise ValueError("give exactly one of price and price_from")
        return self


class ModelPricing(Section):
    """The price keys of a `[models.NAME]` table.

    Without `price` and `price_from` the imported card is asked for the model's upstream name.
    """

    price: PriceSection | None = None
    price_from: str | None = None
    prices: tuple[DatedPrice, ...] = ()
    free: bool = False

    @model_validator(mode="after")
    def _at_most_one_source(self) -> Self:
        if self.price is not None and self.price_from is not None:
            raise ValueError("give price or price_from, not both")
        moments = [dated.valid_from for dated in self.prices]
        if len(set(moments)) < len(moments):
            raise ValueError("two entries of prices have the same valid_from")
        return self


MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,127}")
TAG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SCOPE_FORMS: Mapping[ScopeKind, str] = {
    ScopeKind.ORG: "org",
    ScopeKind.TEAM: "team:NAME",
    ScopeKind.KEY: "key:ID",
    ScopeKind.WORKFLOW: "workflow:TEAM/NAME",
    ScopeKind.RUN: "run:TEAM/NAME",
    ScopeKind.USER: "user:TEAM/ID",
    ScopeKind.MODEL: "model:NAME",
    ScopeKind.TAG: "tag:TEAM/NAME=VALUE",
}
_OF_A_TEAM = (ScopeKind.WORKFLOW, ScopeKind.RUN, ScopeKind.USER, ScopeKind.TAG)


def is_tag(text: str) -> bool:
    """Whether a text is a tag, as `NAME=VALUE`."""
    name, equals, value = text.partition("=")
    return bool(equals and TAG_NAME.fullmatch(name) and WORKFLOW_NAME.fullmatch(value))


def _begins_a_tag(text: str) -> bool:
    name, _, value = text.partition("=")
    return bool(TAG_NAME.fullmatch(name) and (not value or WORKFLOW_NAME.fullmatch(value)))


def _is_scope_id(kind: ScopeKind, scope_id: str) -> bool:
    """Whether this can be an id of that kind; one that ends in `*` stands for what begins so.

    Whatever begins a name is a name, and ids of a team begin with the whole team.
    """
    wide = scope_id.endswith(ANY)
    scope_id = scope_id.removesuffix(ANY)
    if wide and (not scope_id or kind is ScopeKind.ORG):
        return not scope_id
    if kind not in _OF_A_TEAM:
        return (MODEL_NAME if kind is ScopeKind.MODEL else TEAM_NAME).fullmatch(
            scope_id
        ) is not None
    team, slash, name = scope_id.partition("/")
    if not slash or not TEAM_NAME.fullmatch(team):
        return False
    if wide and not name:
        return True
    if kind is ScopeKind.TAG:
        return _begins_a_tag(name) if wide else is_tag(name)
    return WORKFLOW_NAME.fullmatch(name) is not None


def _window(value: object) -> object:
    if isinstance(value, str) and value not in list(Window):
        rolling = read_rolling(value)
        if rolling is None:
            close = get_close_matches(value, list(Window), n=1)
            hint = f' (did you mean "{close[0]}"?)' if close else ""
            names = ", ".join(repr(window.value) for window in Window)
            raise ValueError(
                f"expected {names}, or a length of time for a rolling window such as "
                f"'24h', '90m' or '7d', got {value!r}{hint}"
            )
        return rolling
    return value


MAX_THRESHOLDS = 10
_OF_REQUESTS = (Action.DEGRADE, Action.KILL_RUN)
_ONCE = (Action.DEGRADE, Action.REFUSE, Action.KILL_RUN)


def _permille(value: object) -> int:
    try:
        share = parse_usd(value) if isinstance(value, str | int | Decimal) else Decimal(-1)
    except MoneyError:
        share = Decimal(-1)
    if not 0 < share <= 1 or share * 1_000 % 1:
        raise ValueError(
            f"expected a share of the limit such as 0.8, from 0.001 to 1 in three decimals, "
            f"got {str(value)[:40]!r}"
        )
    return int(share * FULL_PERMILLE)


Permille = Annotated[int, BeforeValidator(_permille)]


def strip_permille(value: object) -> int:
    """The share of a run's limit that is kept for its landing, in thousandths; less than all."""
    permille = _permille(value)
    if permille >= FULL_PERMILLE:
        raise ValueError(f"expected a share below 1, such as 0.1, got {str(value)[:40]!r}")
    return permille


def whole_number(value: object) -> int:
    """A whole number, as a number or a text; raise ValueError for anything else."""
    try:
        amount = parse_usd(value) if isinstance(value, str | int | Decimal) else Decimal(-1)
    except MoneyError:
        amount = Decimal(-1)
    if not 0 <= amount <= MAX_LIMIT_NANO or amount % 1:
        raise ValueError(
            f"expected a whole number such as 100000, up to {MAX_LIMIT_NANO}, "
            f"got {str(value)[:40]!r}"
        )
    return int(amount)


class LedgerSection(Section):
    """`[ledger]`: where accounts and open holds are kept."""

    store: Literal["sqlite", "redis"] = "sqlite"
    redis_url_env: Annotated[str, Field(min_length=1)] = "WEIR_REDIS_URL"
    timeout_ms: Annotated[int, Field(ge=10, le=10_000)] = 250
    # What one gateway process admits against soft budgets while Redis cannot be asked.
    allowance_usd: Annotated[int, BeforeValidator(nano_from_usd)] = 0


class ThresholdSection(Section):
    """One entry of a budget's `at`: a share of the limit, and what is done from there on."""

    share: Permille
    action: Action


class BudgetSection(Section):
    """A limit on what one party may spend in a window of time: in money, tokens or requests."""

    scope: str
    window: Annotated[AnyWindow, BeforeValidator(_window)]
    limit_usd: Annotated[int | None, BeforeValidator(nano_from_usd)] = None
    limit_tokens: Annotated[int | None, BeforeValidator(whole_number)] = None
    limit_requests: Annotated[int | None, BeforeValidator(whole_number)] = None
    timezone: str = "UTC"
    when_unreachable: Literal["deny", "allow"] = "deny"
    alert_at: Annotated[tuple[Permille, ...], Field(max_length=MAX_THRESHOLDS)] = ()
    at: Annotated[tuple[ThresholdSection, ...], Field(min_length=1, max_length=MAX_THRESHOLDS)] = ()
    landing: Annotated[int, BeforeValidator(strip_permille)] = 0

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if sum(limit is not None for limit in self._limits().values()) != 1:
            raise ValueError("give exactly one of limit_usd, limit_tokens and limit_requests")
        return self

    @model_validator(mode="after")
    def _models_give_way(self) -> Self:
        taken = [entry.action for entry in self.at if entry.action in _OF_REQUESTS]
        if taken and self.scope.startswith(f"{ScopeKind.MODEL}:"):
            raise ValueError(
                f"a budget for a model has no {taken[0].value}: a model whose budget is used up "
                "gives way to others by itself"
            )
        return self

    @model_validator(mode="after")
    def _runs_land(self) -> Self:
        is_run = self.scope.startswith(f"{ScopeKind.RUN}:") and self.window is Window.TOTAL
        if self.landing and not is_run:
            raise ValueError('landing is for budgets of runs (run:*) whose window is "total"')
        return self

    def _limits(self) -> Mapping[Unit, int | None]:
        return {
            Unit.USD: self.limit_usd,
            Unit.TOKENS: self.limit_tokens,
            Unit.REQUESTS: self.limit_requests,
        }

    def limit(self) -> tuple[Unit, int]:
        """What is counted, and how much of it there may be."""
        return next((unit, limit) for unit, limit in self._limits().items() if limit is not None)

    @field_validator("scope")
    @classmethod
    def _known_scope(cls, value: str) -> str:
        kind, colon, scope_id = value.partition(":")
        if kind not in list(ScopeKind) or (not colon and kind != ScopeKind.ORG):
            forms = ", ".join(_SCOPE_FORMS.values())
            raise ValueError(f"expected {forms} (an ID may end in *), got {value!r}")
        if colon and not _is_scope_id(ScopeKind(kind), scope_id):
            known = ScopeKind(kind)
            of_team = f", {kind}:TEAM/*" if known in _OF_A_TEAM else ""
            raise ValueError(f"expected {_SCOPE_FORMS[known]}{of_team} or {kind}:*, got {value!r}")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError) as error:
            close = get_close_matches(value, available_timezones(), n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{value!r} is no known IANA time zone{hint}") from error
        return value

    @field_validator("at")
    @classmethod
    def _each_can_happen(cls, value: tuple[ThresholdSection, ...]) -> tuple[ThresholdSection, ...]:
        for action in _ONCE:
            if sum(entry.action is action for entry in value) > 1:
                raise ValueError(f"{action.value} is there twice; keep the one that is meant")
        refused = min((e.share for e in value if e.action is Action.REFUSE), default=FULL_PERMILLE)
        for entry in value:
            if entry.action in _ONCE and entry.share > refused:
                raise ValueError(
                    f"{entry.action.value} at {entry.share / FULL_PERMILLE:g} is never reached, "
                    f"because requests are refused from {refused / FULL_PERMILLE:g} on"
                )
        return value

    def thresholds(self) -> tuple[Threshold, ...]:
        """What happens at which share, those of `alert_at` included, the lowest share first."""
        told = {Threshold(share, Action.ALERT) for share in self.alert_at}
        told |= {Threshold(entry.share, entry.action) for entry in self.at}
        return tuple(sorted(told, key=lambda entry: (entry.permille, entry.action)))

    def to_budget(self) -> Budget:
        """The budget the ledger keeps; shares have become thousandths and dollars nano-USD."""
        kind, _, scope_id = self.scope.partition(":")
        unit, limit = self.limit()
        return Budget(
            ScopeKind(kind),
            scope_id or ANY,
            self.window,
            limit,
            self.timezone,
            self.thresholds(),
            unit,
            self.when_unreachable == "allow",
            self.landing,
        )
