"""Budgets set, shown and deleted while the gateway runs and while it does not."""

import json
from pathlib import Path
from typing import Any

from tests.journeys.gateway_process import (
    SCRIPTED_CONFIG,
    Answer,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    wait_for,
)

CONFIG = SCRIPTED_CONFIG + budget("key:demo", "5", "month")


def call(weir: GatewayProcess, method: str, path: str, body: Any = None) -> Answer:
    text = None if body is None else json.dumps(body).encode()
    return weir.ask(method, path, text, Authorization=f"Bearer {weir.admin_key}")


def put(weir: GatewayProcess, scope: str, window: str, limit_usd: str) -> Answer:
    body = {"scope": scope, "window": window, "limit_usd": limit_usd}
    return call(weir, "PUT", "/admin/budgets", body)


def test_a_budget_that_is_set_counts_at_once_and_what_was_spent_before(tmp_path: Path) -> None:
    with gateway(tmp_path, CONFIG) as weir:
        cost = weir.request(weir.chat("Hello", max_tokens=5).request_id)["cost_nano"]
        made = put(weir, "team:demo", "24h", f"0.{cost + 1:09d}")
        assert (made.status, made.json["name"]) == (200, "team:demo/24h")
        [row] = made.json["budgets"]
        assert (row["posted_nano"], row["left_nano"], row["source"]) == (cost, 1, "api")
        assert row["burndown"]["outlook"] == "not_enough_history"
        assert row["sample"]["requests"] == 1
        refused = weir.chat("Hello", max_tokens=5)
        assert (refused.status, refused.error["window"]) == (402, "24h")
        assert call(weir, "DELETE", "/admin/budgets/team:demo/24h").status == 200
        assert weir.chat("Hello", max_tokens=5).status == 200
        assert call(weir, "DELETE", "/admin/budgets/team:demo/24h").status == 404
        assert_clean(weir)


def test_a_request_under_way_when_a_budget_is_set_is_counted_when_it_ends(tmp_path: Path) -> None:
    with gateway(tmp_path, SCRIPTED_CONFIG) as weir:
        stream = weir.stream("#weir:chunks=40,delay_ms=50", max_tokens=200)
        assert stream.status == 200
        put(weir, "key:demo", "total", "5")
        [row] = weir.admin("budgets")["budgets"]
        assert row["posted_nano"] == 0
        stream.read()
        request_id = stream.headers["x-weir-request-id"]
        cost = weir.ended(request_id)["cost_nano"]
        assert cost > 0
        wait_for(
            lambda: weir.admin("budgets")["budgets"][0]["posted_nano"] == cost,
            "the request is counted",
        )
        assert_clean(weir)


def test_a_budget_that_is_set_replaces_the_configured_one_until_it_is_deleted(
    tmp_path: Path,
) -> None:
    with gateway(tmp_path, CONFIG) as weir:
        assert put(weir, "key:demo", "month", "0.000000001").status == 200
        [row] = weir.admin("budgets")["budgets"]
        assert (row["limit_nano"], row["source"], row["replaces_config"]) == (1, "api", True)
        assert weir.chat("Hello").status == 402
        weir.kill()
        weir.start()
        assert weir.chat("Hello").status == 402
        assert call(weir, "DELETE", "/admin/budgets/key:demo/month").status == 200
        [row] = weir.admin("budgets")["budgets"]
        assert (row["limit_nano"], row["source"]) == (5 * 10**9, "config")
        assert weir.chat("Hello").status == 200
        told = [(c["what"], c["who"], c["name"]) for c in weir.admin("budgets/changes")["changes"]]
        assert told == [("deleted", "admin", "key:demo/month"), ("set", "admin", "key:demo/month")]


def test_terms_that_are_no_budget_are_refused_with_the_field(tmp_path: Path) -> None:
    with gateway(tmp_path, CONFIG) as weir:
        for scope, window, limit_usd, field in (
            ("key", "month", "1", "scope"),
            ("org", "moth", "1", "window"),
            ("org", "day", "-1", "limit_usd"),
        ):
            refused = put(weir, scope, window, limit_usd)
            assert (refused.status, refused.error["param"]) == (400, field)
        assert call(weir, "PUT", "/admin/budgets", [1]).status == 400
        assert weir.admin("budgets/nobody/day") is None
        assert weir.admin("budgets/changes") == {"changes": []}


def test_the_command_line_does_the_same_with_and_without_a_gateway(tmp_path: Path) -> None:
    def weir_says(*arguments: str) -> tuple[int, str]:
        done = weir.command("budgets", *arguments)
        return done.returncode, done.stdout + done.stderr

    terms = ("--scope", "workflow:demo/demo", "--window", "7d", "--limit-usd", "1.5")
    with gateway(tmp_path, CONFIG) as weir:
        assert weir_says("set", *terms) == (0, "workflow:demo/demo/7d is in effect\n")
        running = weir_says("list")
        assert "workflow:demo/demo/7d" in running[1] and "$1.500000000" in running[1]
        assert weir_says("delete", "key:demo/month")[0] == 1
        assert weir_says("show", "org:*/day")[0] == 1
        assert "not enough history" in weir_says("show", "key:demo/month")[1]
        assert weir.stop() == 0
        assert weir_says("list") == running
        assert weir_says("set", *terms[:4], "--limit-usd", "much")[1] == (
            "weir: --limit-usd: expected dollars such as \"12.50\", got 'much'\n"
        )
        done = weir_says("set", *terms[:4], "--limit-usd", "2", "--timezone", "Asia/Tokyo")
        assert done == (0, "workflow:demo/demo/7d is in effect when the gateway starts\n")
        assert "$2.000000000 (7d, Asia/Tokyo)" in weir_says("show", "workflow:demo/demo/7d")[1]
        weir.start()
        assert weir_says("delete", "workflow:demo/demo/7d")[0] == 0
        changes = weir.admin("budgets/changes")["changes"]
        assert [change["who"] for change in changes] == ["admin", "command line", "admin"]
