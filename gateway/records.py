"""Turns what a request went through into its event: begun at dispatch, ended at settle."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from budgets.prices import Cost
from budgets.usage import TokenUsage
from gateway.clock import now_ms, since_ms
from gateway.desk import Call
from routing.classify import Classification
from routing.decide import NoRoute, RouteDecision
from telemetry.event import SCHEMA_VERSION, Ending, EventKind, TelemetryEvent, UsageSource


def begin_event(
    call: Call,
    *,
    classification: Classification,
    route: RouteDecision | NoRoute,
    tier: str,
    reserved_nano: int,
) -> TelemetryEvent:
    """The event as known before a provider is asked: who, what for, and why this model."""
    identity, request = call.identity, call.request
    scopes, request_id = identity.scopes, call.request_id
    chosen = route.model if isinstance(route, RouteDecision) else None
    return TelemetryEvent(
        event_id=request_id,
        schema_version=SCHEMA_VERSION,
        kind=EventKind.REQUEST,
        request_id=request_id,
        admitted_ms=call.now_ms,
        ended_ms=call.now_ms,
        org=scopes.org,
        team=scopes.team,
        key_id=scopes.key,
        workflow=identity.workflow,
        run_id=identity.run,
        run_source=identity.run_source,
        route=call.dialect.name,
        streamed=request.stream,
        requested_model=request.model[:256],
        policy=route.policy or "",
        task=classification.task,
        difficulty=classification.difficulty,
        tier=tier,
        model="" if chosen is None else chosen.name,
        provider="" if chosen is None else chosen.provider,
        upstream_model="" if chosen is None else chosen.upstream_model,
        reason=route.reason if isinstance(route, RouteDecision) else route.message,
        classification_json=_text({"reasons": classification.reasons}),
        decision_json=_text(route.evidence()),
        ending=Ending.UNKNOWN,
        status=0,
        error_code="",
        usage_source=UsageSource.NONE,
        fresh_tokens=0,
        cached_tokens=0,
        cache_write_tokens=0,
        audio_input_tokens=0,
        output_tokens=0,
        reasoning_tokens=0,
        audio_output_tokens=0,
        reserved_nano=reserved_nano,
        cost_nano=0,
        input_cost_nano=0,
        output_cost_nano=0,
        overrun_nano=0,
        frontier_cost_nano=0,
        price_version="",
        first_byte_ms=0.0,
        total_ms=0.0,
        gateway_ms=0.0,
        attempts=0,
        upstream_request_id="",
        tags_json=_text(identity.tags) if identity.tags else "{}",
        user_id=identity.user,
        attribution_json=_text(identity.attribution) if identity.attribution else "{}",
        parent_runs_json=_text(identity.parent_runs) if identity.parent_runs else "[]",
    )


def add_money(
    event: TelemetryEvent,
    usage: TokenUsage,
    source: UsageSource,
    cost: Cost,
    frontier_nano: int,
) -> None:
    """Write down what was used and what it costs."""
    event.usage_source = source
    event.fresh_tokens = usage.fresh + usage.image_input
    event.cached_tokens = usage.cached
    event.cache_write_tokens = usage.cache_write + usage.cache_write_1h
    event.audio_input_tokens = usage.audio_input
    event.output_tokens = usage.output
    event.reasoning_tokens = usage.reasoning
    event.audio_output_tokens = usage.audio_output
    event.cost_nano = cost.total_nano
    event.output_cost_nano = cost.output_nano
    event.input_cost_nano = cost.total_nano - event.output_cost_nano
    event.overrun_nano = max(0, cost.total_nano - event.reserved_nano)
    event.frontier_cost_nano = frontier_nano
    event.price_version = cost.price_version


def end_event(event: TelemetryEvent, ending: Ending, status: int, error_code: str = "") -> None:
    """Write down how the request ended."""
    event.ending = ending
    event.status = status
    event.error_code = error_code


def stamp(event: TelemetryEvent, started_s: float) -> None:
    """Write down when the request ended and how long it took."""
    event.ended_ms = now_ms()
    event.total_ms = since_ms(started_s)


def _text(value: Mapping[str, Any] | Sequence[str]) -> str:
    return orjson.dumps(value).decode()
