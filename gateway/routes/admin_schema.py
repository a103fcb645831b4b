"""What the control plane answers, for its OpenAPI; the routes themselves write plain JSON.

Amounts are whole numbers of nano-USD, or of what a row's `unit` says; times are milliseconds or
seconds since 1970, as their names tell. A test asks a running gateway for all that is described.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from budgets.actions import Action
from budgets.burndown import Outlook
from budgets.scopes import Unit
from gateway.auth import Role

# For the description alone: each route looks at the key itself.
BEARER = HTTPBearer(scheme_name="admin key", auto_error=False, description="`sk-weir-...`")
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Open(BaseModel):
    """More fields may follow."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ErrorDetail(_Open):
    """What went wrong; `code` is stable, and `param` names the field at fault."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(_Shape):
    """Every refusal and failure; docs/errors.md lists the codes."""

    error: ErrorDetail


class Key(_Shape):
    """A key without the key itself."""

    key_id: str
    name: str
    team: str
    workflow: str
    role: Role
    policy: str | None
    created_ms: Count
    revoked_ms: Count | None


class NewKeyAnswer(Key):
    """A key with the key itself, shown this once."""

    key: str


class KeyList(_Shape):
    """Every key ever made, the oldest first."""

    keys: list[Key]


class ThresholdTerms(_Shape):
    """A share of the limit, and what is done from there on."""

    share: Share
    action: Action


class BudgetRow(_Shape):
    """One scope of a budget; amounts (`*_nano`) are in its `unit`."""

    name: str
    scope: str
    window: str
    unit: Unit
    timezone: str
    limit_nano: Count
    posted_nano: Count
    held_nano: Count
    overrun_nano: Count
    resets_at_s: Count | None
    refuse_nano: Count
    landing: Share
    at: list[ThresholdTerms]
    left_nano: Count
    source: Literal["api", "config"]
    replaces_config: bool


class SpendingSample(_Shape):
    """What was recently spent: by how many requests, and over how long."""

    requests: Count
    spent_nano: Count
    span_s: Count


class Forecast(_Shape):
    """The rate, and when the budget runs out; null where there is no telling."""

    outlook: Outlook
    nano_per_hour: Count | None
    nano_per_day: Count | None
    runs_out_at_s: Count | None


class BurningRow(BudgetRow):
    """The same with the rate that it is spent at."""

    sample: SpendingSample
    burndown: Forecast


class BudgetList(_Shape):
    """Every budget in effect."""

    budgets: list[BudgetRow]


class BudgetAnswer(_Shape):
    """One budget, a row for each of its scopes."""

    name: str
    budgets: list[BurningRow]


class DeletedBudget(_Shape):
    """A budget that is gone; one of the configuration with its name counts again."""

    name: str
    deleted: Literal[True]


class Change(_Shape):
    """Who changed a budget, and its terms before and after."""

    change_id: Count
    at_ms: Count
    who: str
    what: Literal["set", "deleted"]
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class ChangeList(_Shape):
    """The latest changes, the newest first."""

    changes: list[Change]


class LeftOut(_Shape):
    """Runs that do not count, by why."""

    unfinished: Count
    stopped: Count
    failed: Count
    began_before: Count
    older: Count


class WorkflowAdvice(_Open):
    """The cap for the runs of one workflow; null where there are too few."""

    workflow: str
    single_requests: Count
    runs: Count
    missing_runs: Count
    median_nano: Count | None
    quantile_nano: Count | None
    cap_nano: Count | None
    stopped: dict[str, Any] | None
    left_out: LeftOut


class AdviceAnswer(_Shape):
    """The caps that stop few normal runs."""

    days: Count
    stop_share: Share
    runs_needed: Count
    idle_minutes: Count
    workflows: list[WorkflowAdvice]


class DifferenceRow(_Shape):
    """One place where ledger and telemetry disagree."""

    kind: str
    event_id: str
    day: str
    ledger_nano: int | None
    event_nano: int | None
    note: str


class AuditAnswer(_Shape):
    """What was compared, and what came of it."""

    clean: bool
    every_entry: bool
    days: Count
    entries: Count
    events: Count
    ledger_nano: int
    warehouse_nano: int
    outbox_nano: int
    difference_count: Count
    differences: list[DifferenceRow]
    faults: list[str]


class LedgerStatus(_Open):
    """The ledger: which store, and how it is."""

    store: str
    state: str
    last_error: str | None


class StatusAnswer(_Open):
    """The gateway's condition, with what `/readyz` does not tell everybody."""

    ready: bool
    ledger: LedgerStatus
    providers: dict[str, Literal["starting", "resting", "ready"]]
    waiting_for_budget: Count
    ids: dict[str, Any]


class AttemptRow(_Open):
    """One attempt at a provider."""

    attempt: Count
    model: str
    provider: str
    status: Count
    cost_nano: Count


class RequestAnswer(_Open):
    """Everything on record of one request."""

    request_id: str
    admitted_ms: Count
    team: str
    model: str
    ending: str
    cost_nano: Count
    attempt_rows: list[AttemptRow]


def name_of(pattern: re.Pattern[str]) -> dict[str, Any]:
    """A text that one of our patterns has to match, as a schema."""
    return {"type": "string", "pattern": f"^{pattern.pattern}$"}


# The terms of a budget as a person writes them. They are checked where those of the configuration
# are, which says more than a schema can; so this only describes them.
_NAME = "[A-Za-z0-9][A-Za-z0-9._:@+-]{0,30}"
_USD: Mapping[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,9})?$"},
        {"type": "number", "minimum": 0, "maximum": 1_000_000, "multipleOf": 0.01},
    ],
    "description": "Dollars, exact to a nano-dollar",
}
_WHOLE: Mapping[str, Any] = {"type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_992}
_SHARE: Mapping[str, Any] = {
    "type": "string",
    "pattern": r"^(1|0\.[0-9]{0,2}[1-9])$",
    "description": "A share of the limit, as a text or a number",
}
BUDGET_TERMS: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["scope", "window"],
    "oneOf": [{"required": [name]} for name in ("limit_usd", "limit_tokens", "limit_requests")],
    "properties": {
        "scope": {
            "type": "string",
            "pattern": (
                rf"^(org|(team|key|model):({_NAME}|\*)|"
                rf"(workflow|run|user):({_NAME}/{_NAME}|\*)|tag:{_NAME}/[A-Za-z]{{1,9}}={_NAME})$"
            ),
        },
        "window": {
            "type": "string",
            "pattern": "^(hour|day|week|month|total|[1-9][0-9]?h|[1-9][0-9]?d)$",
        },
        "limit_usd": _USD,
        "limit_tokens": _WHOLE,
        "limit_requests": _WHOLE,
        "timezone": {"type": "string", "enum": ["UTC", "Europe/Berlin", "America/New_York"]},
        "alert_at": {"type": "array", "items": _SHARE, "maxItems": 10},
        "at": {
            "type": "array",
            "minItems": 1,
            "maxItems": 10,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["share", "action"],
                "properties": {
                    "share": _SHARE,
                    "action": {"type": "string", "enum": [action.value for action in Action]},
                },
            },
        },
        "landing": _SHARE,
        "when_unreachable": {"type": "string", "enum": ["deny", "allow"]},
    },
}
BUDGET_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": BUDGET_TERMS}}}
}

_ERROR: dict[str, Any] = {"model": ErrorAnswer}
REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {**_ERROR, "description": "No key, or none that is known"},
    403: {**_ERROR, "description": "A key that is no admin key"},
    405: {**_ERROR, "description": "Another method"},
    503: {**_ERROR, "description": "Ledger or registry cannot be used now"},
}
BAD_REQUEST: dict[int | str, dict[str, Any]] = {
    400: {**_ERROR, "description": "The field in `param` is at fault"}
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {**_ERROR, "description": "There is none"}}


def answers(
    shape: type[BaseModel], *more: Mapping[int | str, dict[str, Any]], status: int = 200
) -> dict[int | str, dict[str, Any]]:
    """What a route may answer, for its `responses`."""
    found: dict[int | str, dict[str, Any]] = {status: {"model": shape}}
    for one in more:
        found |= one
    return found


class Told(_Open):
    """Why the dashboard answers nothing."""

    message: str


class DashboardError(_Shape):
    """Every refusal of the dashboard's data."""

    error: Told


_REFUSED: dict[str, Any] = {"model": DashboardError}


def panel_answers(content: Mapping[str, Any]) -> dict[int | str, dict[str, Any]]:
    """What the data of a panel may be answered with."""
    return {
        200: {"description": "The panel", "content": dict(content)},
        400: {**_REFUSED, "description": "No such period or scheme"},
        401: {**_REFUSED, "description": "No admin"},
        404: {**_REFUSED, "description": "No such panel"},
        429: {**_REFUSED, "description": "Too many wrong keys"},
    }


def panel_parameters(periods: Iterable[str], schemes: Iterable[str]) -> list[dict[str, Any]]:
    """What the data of a panel can be asked for."""
    queries: dict[str, dict[str, Any]] = {
        "period": {"type": "string", "enum": list(periods)},
        "scheme": {"type": "string", "enum": list(schemes)},
        "to_ms": {"type": "integer", "minimum": 1},
    }
    return [{"name": name, "in": "query", "schema": shape} for name, shape in queries.items()]
