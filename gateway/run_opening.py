"""What `POST /v1/runs` asks for, checked, and the run that comes of it."""

import json
import re
import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from budgets.config import WORKFLOW_NAME, Section, is_tag, strip_permille, whole_number
from budgets.money import nano_from_usd
from budgets.runs import MAX_DEPTH, RunTerms, beyond
from budgets.units import in_words
from gateway.auth import Principal
from gateway.config_reading import ConfigText, FaultList, Shape, read_section
from gateway.errors import bad_request
from gateway.run_grants import RunGrant
from gateway.run_registry import OpenedRun
from gateway.tags import MAX_TAGS

MAX_BODY_BYTES = 65_536
DEFAULT_TTL_S, MAX_TTL_S = 3_600, 30 * 86_400
DEFAULT_NAME = "run"
# No client can name a run that has this in its id, so only the token charges it.
SEAL = "~"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")


class RunBudgetSection(Section):
    """What a run may spend in all: one limit or more."""

    limit_usd: Annotated[int | None, BeforeValidator(nano_from_usd)] = None
    limit_tokens: Annotated[int | None, BeforeValidator(whole_number)] = None
    limit_requests: Annotated[int | None, BeforeValidator(whole_number)] = None

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if self.limit_usd is None and self.limit_tokens is None and self.limit_requests is None:
            raise ValueError("give at least one of limit_usd, limit_tokens and limit_requests")
        return self


class RunSection(Section):
    """The body of `POST /v1/runs`."""

    budget: RunBudgetSection
    name: str = DEFAULT_NAME
    workflow: str | None = None
    tags: Annotated[dict[str, str], Field(max_length=MAX_TAGS, default_factory=dict)]
    landing: Annotated[int, BeforeValidator(strip_permille)] = 0
    ttl_s: Annotated[int, Field(ge=1, le=MAX_TTL_S)] = DEFAULT_TTL_S

    @field_validator("name")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(
                f"expected 1 to 48 letters, digits or . _ - beginning with a letter or digit, "
                f"got {value[:60]!r}"
            )
        return value

    @field_validator("workflow")
    @classmethod
    def _is_workflow(cls, value: str | None) -> str | None:
        if value is not None and not WORKFLOW_NAME.fullmatch(value):
            raise ValueError(f"expected a workflow's name such as 'triage', got {value[:60]!r}")
        return value

    @field_validator("tags")
    @classmethod
    def _are_tags(cls, value: dict[str, str]) -> dict[str, str]:
        for name, worth in value.items():
            if not is_tag(f"{name}={worth}"):
                raise ValueError(f"expected tags such as feature: search, got {name[:60]!r}")
        return value


_SHAPE: Shape[RunSection] = Shape(RunSection)


def read_run(body: bytes) -> RunSection:
    """Check what was asked for; raise ApiError (400) that names the field."""
    try:
        terms = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"The body is not valid JSON: {error}.", None, "invalid_json") from error
    faults = FaultList(ConfigText("", {}, {}))
    section = read_section(faults, (), terms, _SHAPE)
    if section is None:
        fault = faults.faults[0]
        hint = f' (did you mean "{fault.suggestion}"?)' if fault.suggestion else ""
        where = f"`{fault.key}`: " if fault.key else ""
        raise bad_request(f"{where}{fault.message}{hint}.", fault.key or None)
    return section


def opened_run(principal: Principal, asked: RunSection, now_s: int) -> OpenedRun:
    """A new run of the caller, below the run whose token it holds.

    Raise ApiError (400) where the run above may not spend as much, or has fixed something else.
    """
    above = principal.run
    chain = () if above is None else above.chain
    limits = asked.budget
    terms = RunTerms(
        f"{asked.name}{SEAL}{secrets.token_hex(10)}",
        limits.limit_usd,
        limits.limit_tokens,
        limits.limit_requests,
        asked.landing,
    )
    _check_limits(terms, chain)
    grant = RunGrant(
        key_id=principal.key_id,
        expires_s=_until(asked, above, now_s),
        chain=(terms, *chain),
        workflow=_workflow(asked, above),
        tags=_tags(asked, above),
    )
    return OpenedRun(principal.team, asked.name, grant, now_s)


def _check_limits(terms: RunTerms, chain: tuple[RunTerms, ...]) -> None:
    if len(chain) >= MAX_DEPTH:
        raise bad_request(f"Runs stand in one another at most {MAX_DEPTH} deep.", "budget")
    too_much = beyond(terms, chain)
    if too_much is not None:
        unit, bound = too_much
        field = f"budget.limit_{unit.value}"
        raise bad_request(
            f"`{field}` is more than the run above may spend, which is {in_words(bound, unit)}.",
            field,
        )


def _until(asked: RunSection, above: RunGrant | None, now_s: int) -> int:
    """A run ends with the one above it, if not before."""
    until_s = now_s + asked.ttl_s
    return until_s if above is None else min(until_s, above.expires_s)


def _workflow(asked: RunSection, above: RunGrant | None) -> str | None:
    fixed = None if above is None else above.workflow
    if asked.workflow is not None and fixed not in (None, asked.workflow):
        raise bad_request(f"`workflow`: the run above is fixed to {fixed!r}.", "workflow")
    return asked.workflow or fixed


def _tags(asked: RunSection, above: RunGrant | None) -> Mapping[str, str]:
    fixed = {} if above is None else above.tags
    tags = {**asked.tags, **fixed}
    for name, worth in fixed.items():
        if asked.tags.get(name, worth) != worth:
            raise bad_request(f"`tags.{name}`: the run above is fixed to {worth!r}.", "tags")
    if len(tags) > MAX_TAGS:
        raise bad_request(f"`tags`: with those of the run above there are {len(tags)}.", "tags")
    return dict(sorted(tags.items()))
