"""One budget of every scope, spent to its cap one request at a time, however it was set.

The budgets are nested: that of the run is used up first, then that of the workflow, and so on to
the organisation. After each refusal the caller takes another run, workflow, key or team, so that
the next wider budget is the one to stop it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from budgets.money import format_usd, nano_from_usd
from tests.journeys.gateway_process import (
    Answer,
    GatewayProcess,
    assert_clean,
    gateway,
    upstream_config,
)
from tests.journeys.upstream import PROMPT_TOKENS, Play, Upstream, upstream

MAX_TOKENS = 20
COST_NANO = 1_000 * PROMPT_TOKENS + 2_000 * MAX_TOKENS
# Between what one request may cost and that and the true cost of one more.
LAST_NANO = 97_000
ZONES = {"day": "Asia/Kathmandu", "week": "Pacific/Kiritimati", "month": "America/New_York"}


@dataclass(frozen=True, slots=True)
class Cap:
    """A budget that bears so many requests."""

    scope: str
    window: str
    requests: int

    @property
    def limit_nano(self) -> int:
        return (self.requests - 1) * COST_NANO + LAST_NANO

    def terms(self, scope_id: str) -> dict[str, str]:
        return {
            "scope": self.scope if self.scope == "org" else f"{self.scope}:{scope_id}",
            "window": self.window,
            "limit_usd": format_usd(self.limit_nano),
            "timezone": ZONES.get(self.window, "UTC"),
        }


CAPS = (
    Cap("run", "total", 3),
    Cap("workflow", "day", 5),
    Cap("key", "24h", 7),
    Cap("team", "month", 9),
    Cap("org", "week", 11),
)


@dataclass(slots=True)
class Caller:
    """Who asks next; `beyond` makes it somebody whom a used up budget says nothing about."""

    weir: GatewayProcess
    keys: list[tuple[str, str, str]]
    number: int = 0
    run: str = "run-1"
    workflow: str = "flow-1"

    def beyond(self, scope: str) -> None:
        self.run += "x"
        if scope != "run":
            self.workflow += "x"
        if scope in ("key", "team"):
            self.number += 1

    @property
    def own(self) -> dict[str, str]:
        """Its scopes, as a refusal names them."""
        _, key_id, team = self.keys[self.number]
        return {
            "run": f"run:{team}/{self.run}",
            "workflow": f"workflow:{team}/{self.workflow}",
            "key": f"key:{key_id}",
            "team": f"team:{team}",
            "org": "org:default",
        }

    def ask(self, *, stream: bool = False) -> Answer:
        headers = {"x-weir-run": self.run, "x-weir-workflow": self.workflow}
        return self.weir.chat(
            "Which way does the water run?",
            key=self.keys[self.number][0],
            max_tokens=MAX_TOKENS,
            headers=headers,
            stream=stream,
        )


# -- ways to set a budget -----------------------------------------------------------------------


def in_the_file() -> str:
    tables = [cap.terms("*") for cap in CAPS]
    lines = ["\n".join(f'{name} = "{text}"' for name, text in table.items()) for table in tables]
    return "".join(f"[[budgets]]\n{text}\n" for text in lines)


def over_the_api(weir: GatewayProcess, terms: dict[str, str]) -> None:
    answer = weir.change("PUT", "budgets", terms)
    assert answer.status == 200, answer.body


def on_the_command_line(weir: GatewayProcess, terms: dict[str, str]) -> None:
    options = [word for name, text in terms.items() for word in (f"--{name}", text)]
    options = [word.replace("limit_usd", "limit-usd") for word in options]
    done = weir.command("budgets", "set", *options)
    assert done.returncode == 0, done.stderr


WAYS: dict[str, Callable[[GatewayProcess, dict[str, str]], None] | None] = {
    "file": None,
    "api": over_the_api,
    "command line": on_the_command_line,
}


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as server:
        server.play = Play(tokens=MAX_TOKENS)
        yield server


@pytest.mark.parametrize("way", WAYS)
def test_each_scopes_budget_is_spent_to_its_cap_and_the_next_request_is_refused(
    tmp_path: Path, up: Upstream, way: str
) -> None:
    set_budget = WAYS[way]
    config = upstream_config(up.base_url, "" if set_budget else in_the_file())
    with gateway(tmp_path, config) as weir:
        caller = Caller(weir, [(*weir.make_key(team), team) for team in ("lab", "lab", "ops")])
        first = caller.own
        if set_budget is not None:
            for cap in CAPS:
                set_budget(weir, cap.terms(first[cap.scope].partition(":")[2]))
        admitted = 0
        for cap in CAPS:
            while (answer := caller.ask(stream=admitted % 2 == 1)).status == 200:
                admitted += 1
                check_admitted(weir, answer, first)
            assert admitted == cap.requests
            check_refused(answer, cap, caller.own[cap.scope])
            for stream in (False, True):
                assert caller.ask(stream=stream).status == 402
            # Nobody who was refused has reached the provider.
            assert len(up.seen) == len(up.bill) == admitted
            caller.beyond(cap.scope)
        report = assert_clean(weir)
        assert (report["entries"], report["ledger_nano"]) == (admitted, admitted * COST_NANO)


def check_admitted(weir: GatewayProcess, answer: Answer, first: dict[str, str]) -> None:
    """What it may have cost, and what it cost, was within every limit."""
    row = weir.request(answer.request_id)
    assert (row["cost_nano"], row["overrun_nano"]) == (COST_NANO, 0)
    standing = {budget["scope"]: budget for budget in weir.admin("budgets")["budgets"]}
    assert standing.keys() >= set(first.values())
    for budget in standing.values():
        assert (budget["held_nano"], budget["overrun_nano"]) == (0, 0)
        assert budget["posted_nano"] <= budget["limit_nano"]
        if budget["posted_nano"]:
            before_nano = budget["posted_nano"] - COST_NANO
            assert before_nano + row["reserved_nano"] <= budget["limit_nano"]


def check_refused(answer: Answer, cap: Cap, scope: str) -> None:
    """The refusal names the budget, what is left of it and when it begins anew."""
    assert (answer.status, answer.headers["x-should-retry"]) == (402, "false")
    error = answer.error
    assert (error["code"], error["scope"], error["window"]) == (
        "budget_exceeded",
        scope,
        cap.window,
    )
    amounts = ("limit", "spent", "held", "remaining", "needed")
    limit, spent, held, left, needed = (nano_from_usd(error[f"{name}_usd"]) for name in amounts)
    assert (limit, spent, held) == (cap.limit_nano, cap.requests * COST_NANO, 0)
    assert left == limit - spent < needed
    check_reset(error, cap.window)


def check_reset(error: dict[str, Any], window: str) -> None:
    if window == "total":
        assert error["resets_at"] is None
        return
    resets = datetime.fromisoformat(error["resets_at"])
    if window == "24h":
        wait = resets - datetime.now(resets.tzinfo)
        assert timedelta(hours=23) < wait <= timedelta(hours=25)
        return
    wall = resets.astimezone(ZoneInfo(ZONES[window]))
    now = datetime.now(wall.tzinfo)
    longest = {"day": 1, "week": 7, "month": 31}[window]
    assert (wall.hour, wall.minute, wall.second) == (0, 0, 0)
    assert timedelta(0) < wall - now <= timedelta(days=longest, hours=1)
    assert window != "week" or wall.weekday() == 0
    assert window != "month" or wall.day == 1
