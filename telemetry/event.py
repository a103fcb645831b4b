"""The one record of a request: flat, versioned, and the same in outbox, DuckDB and exports.

Money is nano-USD, tokens are disjoint classes, times are milliseconds since 1970 (UTC). Structured
evidence (reasons, rejected candidates, features) is JSON text, so that the row stays flat.
"""

from dataclasses import dataclass
from enum import StrEnum

import orjson

from budgets.port import OutboxEvent

SCHEMA_VERSION = 2


class EventKind(StrEnum):
    """What the row says. Every kind but `refusal` has one entry in the ledger."""

    REQUEST = "request"
    REFUSAL = "refusal"
    ASSUMED = "assumed"
    CORRECTION = "correction"
    RUN_KILLED = "run_killed"


class Ending(StrEnum):
    """How a request ended; exactly one applies. `refused` never reached a provider."""

    COMPLETED = "completed"
    KILLED = "killed"
    CLIENT_GONE = "client_gone"
    UPSTREAM_FAILED = "upstream_failed"
    DEADLINE_HIT = "deadline_hit"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class UsageSource(StrEnum):
    """Where the token counts come from."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"
    ASSUMED = "assumed"
    NONE = "none"


@dataclass(slots=True)
class TelemetryEvent:
    """One row of DuckDB's `event` table; field order is the column order.

    Not frozen: it is begun when the request is dispatched and completed when the request ends.
    """

    event_id: str
    schema_version: int
    kind: EventKind
    request_id: str
    admitted_ms: int
    ended_ms: int
    org: str
    team: str
    key_id: str
    workflow: str
    run_id: str
    run_source: str
    route: str
    streamed: bool
    requested_model: str
    policy: str
    task: str
    difficulty: float
    tier: str
    model: str
    provider: str
    upstream_model: str
    reason: str
    classification_json: str
    decision_json: str
    ending: Ending
    status: int
    error_code: str
    usage_source: UsageSource
    fresh_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    audio_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    audio_output_tokens: int
    reserved_nano: int
    cost_nano: int
    input_cost_nano: int
    output_cost_nano: int
    overrun_nano: int
    frontier_cost_nano: int
    price_version: str
    first_byte_ms: float
    total_ms: float
    gateway_ms: float
    attempts: int
    upstream_request_id: str
    tags_json: str
    waited_ms: float = 0.0
    user_id: str = "unnamed"
    parent_runs_json: str = "[]"
    landed: bool = False
    attempts_json: str = "[]"
    attribution_json: str = "{}"
    batch_requests: int = 0
    batch_failed: int = 0

    def to_json(self) -> bytes:
        """The event as one JSON object."""
        return orjson.dumps(self)

    def to_outbox(self) -> OutboxEvent:
        """The event as the ledger appends it with the money it explains."""
        return OutboxEvent(self.event_id, self.to_json(), self.ended_ms)


def event_from_json(payload: bytes) -> TelemetryEvent:
    """Read an event back; raise ValueError for what is not one."""
    fields = orjson.loads(payload)
    try:
        event = TelemetryEvent(**fields)
    except TypeError as error:
        raise ValueError(f"not a telemetry event: {error}") from error
    event.kind = EventKind(event.kind)
    event.ending = Ending(event.ending)
    event.usage_source = UsageSource(event.usage_source)
    return event


def completed_event(payload: bytes) -> bytes:
    """The event of an earlier version with the fields it lacks; what is no event stays as it is."""
    try:
        return event_from_json(payload).to_json()
    except ValueError:
        return payload


def assumed_event(draft: bytes, posted_nano: int, now_ms: int) -> OutboxEvent:
    """The event of a request whose process died after dispatch: charged at its ceiling."""
    event = event_from_json(draft)
    if event.kind is EventKind.RUN_KILLED:  # it costs nothing, so there is nothing to assume
        return event.to_outbox()
    event.kind = EventKind.ASSUMED
    event.ending = Ending.UNKNOWN
    event.usage_source = UsageSource.ASSUMED
    event.reserved_nano = event.cost_nano = event.output_cost_nano = posted_nano
    event.ended_ms = now_ms
    return event.to_outbox()


def correction_event(event: OutboxEvent, delta_nano: int) -> OutboxEvent:
    """The event of a truth that came after the expiry: true tokens, and the missing money."""
    corrected = event_from_json(event.payload)
    corrected.event_id = f"{corrected.request_id}:correction"
    corrected.kind = EventKind.CORRECTION
    corrected.cost_nano = delta_nano
    corrected.input_cost_nano = 0
    corrected.output_cost_nano = delta_nano
    return corrected.to_outbox()
