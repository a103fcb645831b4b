"""A month of plausible events, the same on every run, written through the warehouse's own door."""

import random
from collections.abc import Iterator
from pathlib import Path

import orjson

from telemetry.event import SCHEMA_VERSION, Ending, EventKind, TelemetryEvent, UsageSource
from telemetry.warehouse import Warehouse

NOW_MS = 1_793_970_000_000  # 2026-11-06 13:00:00 UTC, so that every run draws the same month
DAY_MS = 86_400_000
MARKUP = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
FORMULA = '=HYPERLINK("http://example.org","x")'
TIERS = ("small", "mid", "frontier")
MODELS = {
    "small": ("smollm2", "local-small", 40, 160),
    "mid": ("gpt-5-mini", "openai", 250, 2_000),
    "frontier": ("gpt-5.5", "openai", 2_500, 15_000),
}
WORKFLOWS = (
    ("invoice-triage", "finance", 0.30),
    ("support-reply", "support", 0.24),
    ("code-review", "platform", 0.18),
    ("contract-summary", "legal", 0.10),
    ("nightly-digest", "platform", 0.08),
    ("2024", "finance", 0.04),
    (MARKUP, "support", 0.03),
    (FORMULA, "finance", 0.02),
    ("lead-scoring", "sales", 0.005),
    ("", "sales", 0.005),
)


def _ending(chance: random.Random) -> Ending:
    names = (Ending.COMPLETED, Ending.REFUSED, Ending.KILLED, Ending.CLIENT_GONE)
    rare = (Ending.UPSTREAM_FAILED, Ending.DEADLINE_HIT)
    return chance.choices((*names, *rare), (930, 30, 12, 15, 8, 5))[0]


def _evidence(tier: str, reason: str) -> str:
    model = MODELS[tier][0]
    decision = {
        "model": model,
        "tier": tier,
        "policy": "default",
        "rule": "hard-goes-frontier" if tier == "frontier" else "",
        "reason": reason,
        "conditions": ["difficulty 0.71 >= 0.6"] if tier == "frontier" else [],
        "candidates": [{"model": model, "ceiling_nano": 1_250_000}],
        "headroom_nano": None,
        "over_headroom": False,
        "rejected": [
            {"model": "tiny-vision", "code": "context", "why": f"needs 9,000 tokens {MARKUP}"}
        ],
    }
    return orjson.dumps(decision).decode()


def event_of(number: int, admitted_ms: int, chance: random.Random) -> TelemetryEvent:
    """One request; tokens, cost and latency follow from its tier."""
    workflow, team, _ = chance.choices(WORKFLOWS, [weight for *_, weight in WORKFLOWS])[0]
    tier = chance.choices(TIERS, (66, 22, 12))[0]
    model, provider, input_nano, output_nano = MODELS[tier]
    ending = _ending(chance)
    refused = ending is Ending.REFUSED
    fresh, cached = chance.randint(200, 4_000), chance.choice((0, 0, 1_024, 2_048))
    output, reasoning = chance.randint(40, 900), chance.choice((0, 300)) * (tier != "small")
    input_cost = fresh * input_nano + cached * input_nano // 10
    output_cost = (output + reasoning) * output_nano
    frontier = fresh * 2_500 + cached * 250 + (output + reasoning) * 15_000
    wait_ms = chance.lognormvariate(0, 0.4) * {"small": 45, "mid": 320, "frontier": 780}[tier]
    reason = f"difficulty {chance.random():.2f}: tier {tier}"
    return TelemetryEvent(
        event_id=f"req_{number:08d}",
        schema_version=SCHEMA_VERSION,
        kind=EventKind.REFUSAL if refused else EventKind.REQUEST,
        request_id=f"req_{number:08d}",
        admitted_ms=admitted_ms,
        ended_ms=admitted_ms + 900,
        org="acme",
        team=team,
        key_id="key_1",
        workflow=workflow,
        run_id=f"run_{number // 4}",
        run_source="header",
        route="chat.completions",
        streamed=bool(number % 2),
        requested_model="auto",
        policy="default",
        task="extraction",
        difficulty=0.42,
        tier="" if refused else tier,
        model="" if refused else model,
        provider="" if refused else provider,
        upstream_model="" if refused else model,
        reason="budget team:finance/month is used up" if refused else reason,
        classification_json='{"reasons": ["task extraction: words", "+0.12 hard words"]}',
        decision_json=_evidence(tier, reason),
        ending=ending,
        status=402 if refused else 200,
        error_code="budget_exceeded" if refused else "",
        usage_source=UsageSource.NONE if refused else UsageSource.PROVIDER,
        fresh_tokens=0 if refused else fresh,
        cached_tokens=0 if refused else cached,
        cache_write_tokens=0,
        audio_input_tokens=0,
        output_tokens=0 if refused else output,
        reasoning_tokens=0 if refused else reasoning,
        audio_output_tokens=0,
        reserved_nano=0 if refused else (input_cost + output_cost) * 2,
        cost_nano=0 if refused else input_cost + output_cost,
        input_cost_nano=0 if refused else input_cost,
        output_cost_nano=0 if refused else output_cost,
        overrun_nano=0,
        frontier_cost_nano=0 if refused else frontier,
        price_version="card-1",
        first_byte_ms=0.0 if refused else wait_ms,
        total_ms=0.4 if refused else wait_ms * 2.5,
        gateway_ms=chance.uniform(0.2, 0.9),
        attempts=0 if refused else 1,
        upstream_request_id="",
        tags_json="{}",
    )


def events(number: int = 3_000, days: int = 45) -> Iterator[TelemetryEvent]:
    """Events in order of time up to NOW_MS, fewer at weekends."""
    chance = random.Random(7)
    times_ms = sorted(NOW_MS - int(chance.random() ** 1.25 * days * DAY_MS) for _ in range(number))
    for at, admitted_ms in enumerate(times_ms):
        weekend = (admitted_ms // DAY_MS + 4) % 7 in (0, 6)
        if not (weekend and chance.random() < 0.6):
            yield event_of(at, admitted_ms, chance)


def filled_warehouse(path: Path) -> Warehouse:
    """A DuckDB file with the sample month in it."""
    warehouse = Warehouse.open(path)
    rows = [(seq, event.to_json()) for seq, event in enumerate(events(), start=1)]
    warehouse.insert_batch("sample", rows)
    return warehouse
