"""What commands print for people."""

import json
import re
from dataclasses import asdict
from typing import Any

from budgets.advice import DEFAULT_SHARE, advise
from budgets.price_card import read_card
from gateway.auth import Role
from gateway.cli_text import advice_text, explain_text, keys_text, price_text, table
from gateway.key_registry import KeyRecord

DECISION = {
    "rule": "hard-goes-frontier",
    "missed_rules": [{"rule": "tools-go-frontier", "why": "no tools"}],
    "candidates": [
        {"model": "gpt-5", "ceiling_nano": 12_000_000, "output_tokens": 1024},
        {"model": "stand-in", "ceiling_nano": None, "output_tokens": 1024},
    ],
    "headroom_nano": 4_999_000_000,
    "rejected": [
        {"model": "claude", "code": "provider_down", "why": "5 failures in a row"},
        {"model": "tiny", "code": "not_asked", "why": "tier small not asked for"},
    ],
}
ROW: dict[str, Any] = {
    "request_id": "req_1",
    "admitted_ms": 1_796_083_200_123,
    "requested_model": "auto",
    "streamed": True,
    "key_id": "k1",
    "team": "research",
    "org": "acme",
    "workflow": "papers",
    "run_id": "run-7",
    "run_source": "header",
    "task": "code",
    "difficulty": 0.71,
    "classification_json": json.dumps({"reasons": ["base 0.45", "+0.12 hard words"]}),
    "policy": "default",
    "reason": "policy default: rule hard-goes-frontier",
    "tier": "frontier",
    "model": "gpt-5",
    "upstream_model": "gpt-5-2025-08-07",
    "provider": "openai",
    "decision_json": json.dumps(DECISION),
    "fresh_tokens": 900,
    "cached_tokens": 0,
    "output_tokens": 300,
    "usage_source": "provider",
    "reserved_nano": 12_000_000,
    "input_cost_nano": 1_125_000,
    "output_cost_nano": 3_000_000,
    "cost_nano": 4_125_000,
    "overrun_nano": 0,
    "frontier_cost_nano": 4_125_000,
    "price_version": "litellm-1.106.2",
    "ending": "completed",
    "status": 200,
    "error_code": "",
    "attempts": 1,
    "total_ms": 812.5,
}


def test_an_explanation_tells_the_whole_story() -> None:
    text = explain_text(ROW)
    for fact in (
        "2026-12-01 00:00:00.123 UTC",
        "key k1, team research, org acme",
        "run-7 (from header)",
        "base 0.45; +0.12 hard words",
        "tools-go-frontier: no tools",
        "gpt-5 (gpt-5-2025-08-07 at openai)",
        "$4.999000000",
        "1. gpt-5: at most $0.012000000, 1024 output tokens",
        "2. stand-in: price unknown",
        "claude: 5 failures in a row (provider_down)",
        "tiny: tier small not asked for (not_asked)",
        "$0.004125000",
        "completed",
        "812.500 ms",
    ):
        assert fact in text
    assert "overrun" not in text
    assert "cached" not in text


def test_an_explanation_tells_of_a_wait_where_there_was_one() -> None:
    assert "waited for money  31.250 ms" in explain_text({**ROW, "waited_ms": 31.25})
    for none in ({}, {"waited_ms": None}, {"waited_ms": 0.0}):
        assert "waited" not in explain_text({**ROW, **none})


def test_an_explanation_tells_how_many_requests_a_batch_stands_for() -> None:
    text = explain_text({**ROW, "batch_requests": 4, "batch_failed": 1})
    assert "4 answered and 1 other requests" in text
    assert "batch of" not in explain_text({**ROW, "batch_requests": 0, "batch_failed": 0})


def test_evidence_may_be_read_already() -> None:
    assert explain_text({**ROW, "decision_json": DECISION}) == explain_text(ROW)


def test_a_refusal_without_a_route_is_told_as_far_as_it_went() -> None:
    refusal = {
        "request_id": "req_2",
        "reason": "no model can serve this",
        "decision_json": json.dumps({"rejected": DECISION["rejected"]}),
        "ending": "refused",
        "status": 503,
        "error_code": "no_route",
        "model": "",
    }
    text = explain_text(refusal)
    assert "no model can serve this" in text
    assert "claude: 5 failures in a row (provider_down)" in text
    assert "candidates" not in text


def test_keys_are_a_table_without_keys() -> None:
    record = KeyRecord("k1", "Ana", "research", "papers", Role.DATA, None, 1_796_083_200_000, None)
    assert keys_text([record]).splitlines()[1].split() == [
        "k1",
        "Ana",
        "research",
        "papers",
        "data",
        "default",
        "2026-12-01",
        "-",
    ]
    assert keys_text([]) == "no keys; make one with `weir keys create`"


def test_advice_tells_the_cap_or_how_many_runs_are_missing() -> None:
    left_out = {"unfinished": 2, "began_before": 0, "stopped": 1}
    rows = [
        {"workflow": name, "single_requests": 3, "left_out": left_out, **asdict(advice)}
        for name, advice in (
            ("lab/triage", advise(range(60), [n * 10**8 for n in range(60)], DEFAULT_SHARE)),
            ("lab/notes", advise(range(12), range(12), DEFAULT_SHARE)),
        )
    ]
    text = advice_text({"days": 30, "stop_share": 0.02, "runs_needed": 49, "workflows": rows})
    _, triage, notes, *_ = text.splitlines()
    for fact in ("60 (3 single)", " $5.90 ", "0: 0.0 % (0.0 to 6.0)", "2 unfinished, 1 stopped"):
        assert fact in triage
    assert "too few: 37 more runs needed" in notes
    assert "98 % COST" in text


def test_a_price_is_shown_in_dollars_for_a_million_tokens() -> None:
    text = price_text(read_card({"gpt-5"})["gpt-5"])
    assert ["default", "0", "fresh", "1.25"] in [line.split() for line in text.splitlines()]
    assert ["flex", "0", "cached", "0.0625"] in [line.split() for line in text.splitlines()]
    assert "litellm-" in text
    heard = price_text(read_card({"whisper-1"})["whisper-1"])
    assert ["default", "0", "minutes", "6000.00"] in [line.split() for line in heard.splitlines()]


def test_columns_line_up() -> None:
    assert table(("A", "LONG"), [("wide cell", "x")]) == "A          LONG\nwide cell  x"


def test_an_explanation_says_who_named_the_run_and_how_strong_that_is() -> None:
    claims = {
        "run": {"source": "inferred", "strength": "inferred"},
        "tag feature": {"source": "x-litellm-tags", "strength": "strong"},
    }
    text = explain_text({**ROW, "run_source": "inferred", "attribution_json": json.dumps(claims)})
    assert "run-7 (from inferred)" in text
    assert re.search(r"tag feature from +x-litellm-tags, strong", text)


def test_each_attempt_is_told_with_its_pause_and_its_cost() -> None:
    tried = [
        {
            "attempt": number,
            "model": "gpt-5",
            "provider": provider,
            "upstream_model": "up",
            "status": status,
            "fault": fault,
            "waited_ms": waited_ms,
            "took_ms": 12.5,
            "cost_nano": cost_nano,
        }
        for number, provider, status, fault, waited_ms, cost_nano in (
            (1, "openai", 0, "connect", 0.0, 0),
            (2, "azure", 503, "", 0.0, 0),
            (3, "azure", 200, "", 120.0, 4_125_000),
        )
    ]
    text = explain_text({**ROW, "attempt_rows": tried})
    assert (
        """attempts
  1. gpt-5 (up at openai): connect in 12.500 ms, $0.000000000
  2. gpt-5 (up at azure): status 503 in 12.500 ms, $0.000000000
  3. after 120 ms, gpt-5 (up at azure): status 200 in 12.500 ms, $0.004125000"""
        in text
    )
