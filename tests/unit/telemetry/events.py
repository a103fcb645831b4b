"""Events as the gateway would write them, numbered, so that a test can say which one it means."""

from typing import Any

from telemetry.event import Ending, EventKind, TelemetryEvent, UsageSource

DAY_MS = 86_400_000
FIRST_MS = 1_790_035_200_000  # midnight UTC
FIRST_DAY = "2026-09-22"


def make_event(number: int, **changes: Any) -> TelemetryEvent:
    """Event `number`: each has an id, a cost and a moment of its own, a minute apart."""
    cost_nano = 1_000_003 + 7 * number
    fields: dict[str, Any] = {
        "event_id": f"event-{number:06d}",
        "schema_version": 1,
        "kind": EventKind.REQUEST,
        "request_id": f"request-{number:06d}",
        "admitted_ms": FIRST_MS + number * 60_000,
        "ended_ms": FIRST_MS + number * 60_000 + 1_500,
        "org": "acme",
        "team": f"team-{number % 3}",
        "key_id": f"key-{number % 5}",
        "workflow": f"workflow-{number % 4}",
        "run_id": f"run-{number // 10}",
        "run_source": "header",
        "route": "/v1/chat/completions",
        "streamed": number % 2 == 0,
        "requested_model": "auto",
        "policy": "default",
        "task": "code",
        "difficulty": 0.25,
        "tier": "small" if number % 3 else "frontier",
        "model": "smollm2" if number % 3 else "gpt-5",
        "provider": "local" if number % 3 else "openai",
        "upstream_model": "smollm2-135m",
        "reason": "the policy's default tier",
        "classification_json": "{}",
        "decision_json": "{}",
        "ending": Ending.COMPLETED,
        "status": 200,
        "error_code": "",
        "usage_source": UsageSource.PROVIDER,
        "fresh_tokens": 100 + number,
        "cached_tokens": number % 7,
        "cache_write_tokens": 0,
        "audio_input_tokens": 0,
        "output_tokens": 50,
        "reasoning_tokens": number % 5,
        "audio_output_tokens": 0,
        "reserved_nano": 2 * cost_nano,
        "cost_nano": cost_nano,
        "input_cost_nano": 1_000_000,
        "output_cost_nano": cost_nano - 1_000_000,
        "overrun_nano": 0,
        "frontier_cost_nano": 5_000_000,
        "price_version": "2026-09-01",
        "first_byte_ms": 120.5,
        "total_ms": 1_500.0,
        "gateway_ms": 0.75,
        "attempts": 1,
        "upstream_request_id": f"req_{number}",
        "tags_json": '{"env":"test"}',
    }
    return TelemetryEvent(**{**fields, **changes})


def rows_of(*events: TelemetryEvent, first_seq: int = 1) -> list[tuple[int, bytes]]:
    """The events as outbox rows, numbered from `first_seq`."""
    return [(first_seq + place, event.to_json()) for place, event in enumerate(events)]
