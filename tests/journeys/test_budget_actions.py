"""A budget acts before its limit: cheaper tiers for `auto`, and refusals at a share of it."""

import json
from pathlib import Path
from typing import Any

from tests.journeys.gateway_process import GatewayProcess, assert_clean, gateway

CONFIG = """\
[providers.here]
kind = "scripted"
[models.tiny]
provider = "here"
price = { input = "1", output = "2" }
context_tokens = 100_000
max_output_tokens = 4_096
[models.huge]
provider = "here"
price = { input = "10", output = "20" }
context_tokens = 100_000
max_output_tokens = 4_096
[tiers.small]
models = ["tiny"]
[tiers.frontier]
models = ["huge"]
[policies.default]
tier = "frontier"
"""
# What this costs is nearly what it may cost at most.
LONG = "#weir:chunks=200"
BUDGET = """\
[[budgets]]
scope = "team:demo"
window = "month"
limit_usd = "{limit_usd}"
at = [{{ share = 0.5, action = "degrade" }}, {{ share = 0.8, action = "refuse" }}]
"""


def put(weir: GatewayProcess, **terms: Any) -> Any:
    headers = {"Authorization": f"Bearer {weir.admin_key}"}
    body = {"scope": "team:demo", "window": "month", **terms}
    answer = weir.ask("PUT", "/admin/budgets", json.dumps(body).encode(), **headers)
    assert answer.status == 200, answer.body
    [row] = answer.json["budgets"]
    return row


def test_a_budget_that_is_half_used_gives_auto_a_cheaper_tier(tmp_path: Path) -> None:
    with gateway(tmp_path, CONFIG) as weir:
        first = weir.chat(LONG, max_tokens=200)
        assert first.headers["x-weir-tier"] == "frontier"
        assert "x-weir-degraded" not in first.headers
        cost_nano = weir.request(first.request_id)["cost_nano"]
        limit_usd = f"0.{8 * cost_nano:09d}"
        row = put(weir, limit_usd=limit_usd, at=[{"share": "0.5", "action": "degrade"}])
        assert row["at"] == [{"share": 0.5, "action": "degrade"}]
        answers = [weir.chat(LONG, max_tokens=200) for _ in range(5)]
        tiers = [answer.headers["x-weir-tier"] for answer in answers]
        assert tiers == ["frontier"] * 3 + ["small"] * 2
        degraded = answers[-2]
        assert degraded.headers["x-weir-degraded"] == "team:demo/month"
        assert degraded.headers["x-weir-reason"] == (
            "policy default: no rule matched, tier frontier; "
            "budget team:demo/month at 50 %: tier frontier -> small"
        )
        told = weir.command("explain", degraded.request_id).stdout
        assert "frontier -> small: 50 % of team:demo/month (team:demo) is used" in told
        stream = weir.stream("Hello", max_tokens=5)
        assert stream.headers["x-weir-degraded"] == "team:demo/month"
        stream.read()
        for named in ("huge", "tier:frontier"):
            answer = weir.chat("Hello", max_tokens=5, model=named)
            assert answer.headers["x-weir-model"] == "huge"
            assert "x-weir-degraded" not in answer.headers
        assert_clean(weir)


def test_a_lowered_share_refuses_and_names_it(tmp_path: Path) -> None:
    with gateway(tmp_path, CONFIG + BUDGET.format(limit_usd="0.001")) as weir:
        assert weir.chat("Hello", max_tokens=5).status == 200
        refused = weir.chat("Hello", model="huge", max_tokens=50)
        assert (refused.status, refused.error["code"]) == (402, "budget_exceeded")
        assert refused.headers["x-should-retry"] == "false"
        assert (refused.error["scope"], refused.error["refuse_at"]) == ("team:demo", 0.8)
        assert "refuses beyond 80 % of it, $0.000800000" in refused.error["message"]
        [row] = weir.admin("budgets")["budgets"]
        assert (row["limit_nano"], row["refuse_nano"]) == (1_000_000, 800_000)
        assert row["left_nano"] == 800_000 - row["posted_nano"]
        shown = weir.command("budgets", "show", "team:demo/month").stdout
        assert "at 50.0%" in shown and "at 80.0%" in shown
        assert_clean(weir)


def test_actions_are_set_on_the_command_line_and_their_faults_are_named(tmp_path: Path) -> None:
    terms = ("--scope", "team:demo", "--window", "day", "--limit-usd", "1")
    with gateway(tmp_path, CONFIG) as weir:
        for at, fault in (
            ("0.9=degrad", "weir: --at[0].action: input should be 'alert', 'degrade'"),
            ("0.5=alert,1.5=refuse", "weir: --at[1].share: expected a share of the limit"),
            ("0.9", "weir: --at[0].action: is missing"),
            ("0.9=degrade,0.8=refuse", "weir: --at: degrade at 0.9 is never reached"),
        ):
            done = weir.command("budgets", "set", *terms, "--at", at)
            assert (done.returncode, done.stderr[: len(fault)]) == (2, fault)
        done = weir.command("budgets", "set", *terms, "--at", "0.9=degrade,0.95=refuse,0.8=alert")
        assert done.returncode == 0, done.stderr
        [row] = weir.admin("budgets")["budgets"]
        assert [(entry["share"], entry["action"]) for entry in row["at"]] == [
            (0.8, "alert"),
            (0.9, "degrade"),
            (0.95, "refuse"),
        ]
