"""Every error has OpenAI's shape, a status that fits, and says whether to try again."""

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from budgets.actions import Action, Threshold
from budgets.kills import Kill
from budgets.ledger import Refusal
from budgets.rolling import RollingWindow
from budgets.scopes import Budget, Charge, ScopeKind, Unit, Window
from gateway import errors, upstream_errors
from gateway.errors import (
    ApiError,
    bad_request,
    budget_busy,
    budget_exceeded,
    no_route,
    stream_cut,
)
from gateway.providers.port import UpstreamError, UpstreamFault
from routing.decide import NoRoute, NoRouteCode

ROOT = Path(__file__).resolve().parents[3]
REFUSAL = Refusal(
    scope="workflow:lab/notes",
    window=Window.DAY,
    limit_nano=2_000_000_000,
    spent_nano=1_500_000_000,
    held_nano=400_000_000,
    needed_nano=100_000_001,
    resets_at_s=1_790_035_200,
)

CHARGE = Charge("key:k|day|0", "key:k", Window.DAY, 10, None)


def every_error() -> list[ApiError]:
    return [
        bad_request("`n` must be at least 1.", "n"),
        errors.unauthorized(),
        errors.not_found("GET", "/x"),
        errors.method_not_allowed("GET", "/x"),
        errors.body_too_large(10),
        budget_exceeded(REFUSAL),
        budget_busy(REFUSAL, 1),
        budget_busy(CHARGE, 2),
        errors.run_killed(Kill("lab/r1", "run:*/total", 900, "", due=True)),
        stream_cut(7),
        errors.ledger_unavailable(),
        errors.overloaded(5),
        errors.internal_error("req_1"),
        *[no_route(NoRoute(code, "why")) for code in NoRouteCode],
        errors.body_too_slow(30),
        errors.gateway_stopping(),
        upstream_errors.all_resting("m"),
        *[
            upstream_errors.upstream_failed(UpstreamError(fault, "why"), "p")
            for fault in UpstreamFault
        ],
    ]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.code)
def test_every_error_has_the_shape_that_sdks_read(error: ApiError) -> None:
    body = orjson.loads(error.body())["error"]
    assert {"message", "type", "param", "code"} <= set(body)
    assert (body["code"], body["param"]) == (error.code, error.param)
    assert re.fullmatch(r"[a-z_]+", error.code)
    headers = dict(error.headers())
    assert headers[b"content-type"] == b"application/json"
    assert (b"www-authenticate" in headers) == (error.status == 401)
    assert error.as_sse() == b"event: error\ndata: " + error.body() + b"\n\n"
    if error.retry is not None:
        assert headers[b"x-should-retry"] == (b"true" if error.retry else b"false")


def test_a_spent_budget_says_which_how_much_and_until_when() -> None:
    body = orjson.loads(budget_exceeded(REFUSAL).body())["error"]
    assert body["type"] == "insufficient_quota"
    assert {name: body[name] for name in body if name.endswith("_usd")} == {
        "limit_usd": "2.000000000",
        "spent_usd": "1.500000000",
        "held_usd": "0.400000000",
        "remaining_usd": "0.100000000",
        "needed_usd": "0.100000001",
    }
    assert (body["scope"], body["window"]) == ("workflow:lab/notes", "day")
    assert body["resets_at"] == "2026-09-22T00:00:00+00:00"
    assert "workflow:lab/notes" in body["message"]
    assert body["refuse_at"] == 1
    assert "refuses" not in body["message"]


def test_a_budget_that_refuses_at_a_share_of_its_limit_names_both() -> None:
    at = (Threshold(950, Action.REFUSE),)
    budget = Budget(ScopeKind.WORKFLOW, "*", Window.DAY, 2_000_000_000, at=at)
    refusal = replace(REFUSAL, limit_nano=budget.refuse_nano)
    body = orjson.loads(budget_exceeded(refusal, budget).body())["error"]
    assert body["refuse_at"] == 0.95
    assert (body["limit_usd"], body["remaining_usd"]) == ("2.000000000", "0.000000000")
    assert (
        "workflow:lab/notes has a limit of $2.000000000 (day) and refuses beyond 95 % of it, "
        "$1.900000000, of which $1.500000000 is spent" in body["message"]
    )


@pytest.mark.parametrize(
    ("unit", "words", "hint"),
    [
        (Unit.TOKENS, "a limit of 10 tokens (day), of which 1 token is spent and 4 tokens", True),
        (Unit.REQUESTS, "a limit of 10 requests (day), of which 1 request is spent", False),
    ],
)
def test_a_budget_in_another_unit_is_told_in_it(unit: Unit, words: str, hint: bool) -> None:
    refusal = replace(REFUSAL, unit=unit, limit_nano=10, spent_nano=1, held_nano=4, needed_nano=6)
    error = budget_exceeded(refusal)
    body = orjson.loads(error.body())["error"]
    assert words in body["message"]
    assert ("A smaller max_tokens" in body["message"]) is hint
    names = ("limit", "spent", "held", "remaining", "needed")
    assert [body[f"{name}_{unit.value}"] for name in names] == [10, 1, 4, 5, 6]
    assert (body["unit"], body.get("limit_usd")) == (unit.value, None)
    headers = dict(error.headers())
    assert headers[b"x-weir-budget"] == f"workflow:lab/notes/day/{unit.value}".encode()
    assert headers[b"x-weir-budget-unit"] == unit.value.encode()


def test_a_rolling_budget_says_when_enough_is_free_again() -> None:
    window = RollingWindow(86_400)
    again = Refusal("org:a", window, 10, 10, 0, 1, 1_790_000_000)
    body = orjson.loads(budget_exceeded(again).body())["error"]
    assert "Enough is free again at 2026-09-21T14:13:20+00:00." in body["message"]
    assert body["window"] == "24h"
    never = Refusal("org:a", window, 10, 0, 0, 11, None)
    assert "The limit is too low." in budget_exceeded(never).message


def test_a_budget_that_is_overdrawn_has_nothing_left_and_not_less() -> None:
    overdrawn = Refusal("org:a", Window.TOTAL, 10, 15, 0, 1, None)
    body = orjson.loads(budget_exceeded(overdrawn).body())["error"]
    assert (body["remaining_usd"], body["resets_at"]) == ("0.000000000", None)
    assert "does not reset" in body["message"]


def test_a_busy_budget_says_how_much_is_held_and_when_to_ask_again() -> None:
    error = budget_busy(REFUSAL, 1)
    body = orjson.loads(error.body())["error"]
    assert (error.status, body["type"]) == (429, "rate_limit_error")
    assert (body["scope"], body["window"]) == ("workflow:lab/notes", "day")
    assert (body["held_usd"], body["needed_usd"]) == ("0.400000000", "0.100000001")
    assert "$0.400000000 held" in body["message"]
    assert {(b"retry-after", b"1"), (b"x-should-retry", b"true")} <= set(error.headers())


def test_a_budget_that_others_wait_for_is_busy_without_amounts() -> None:
    body = orjson.loads(budget_busy(CHARGE, 2).body())["error"]
    assert (body["scope"], body["window"]) == ("key:k", "day")
    assert "others wait for it already. Try again in 2 s." in body["message"]
    assert not any(name.endswith("_usd") for name in body)


def test_every_code_and_its_status_stand_in_the_documentation() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(\w+)` \| (\d{3}) \|", text, re.MULTILINE))
    known = {(error.code, str(error.status)) for error in every_error()} | set(
        codes_in_the_source()
    )
    assert known - rows == set()
    assert rows - known == set()


def codes_in_the_source() -> Iterator[tuple[str, str]]:
    """Code and status of every `ApiError(...)` and `bad_request(...)` that is written out."""
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            if name == "ApiError" and all(isinstance(one, ast.Constant) for one in node.args[:2]):
                yield ast.literal_eval(node.args[1]), str(ast.literal_eval(node.args[0]))
            elif name == "bad_request" and len(node.args) == 3:
                for one in ast.walk(node.args[2]):
                    if isinstance(one, ast.Constant) and "_" in str(one.value):
                        yield str(one.value), "400"
