"""One budget of every scope, spent to its cap one request at a time, however it was set.

The budgets are nested: that of the run is used up first, then that of the end user, and so on to
the organisation. After each refusal the caller takes another run, another user and so on, so that
the next wider budget is the one to stop it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from budgets.money import format_usd, nano_from_usd
from budgets.scopes import ScopeKind, Unit
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
# What one request takes, and what the last one finds: more than it may take at most, and less than
# that and what one more takes.
TAKES = {"usd": COST_NANO, "tokens": PROMPT_TOKENS + MAX_TOKENS, "requests": 1}
LAST = {"usd": 97_000, "tokens": 70, "requests": 1}
ZONES = {"day": "Asia/Kathmandu", "week": "Pacific/Kiritimati", "month": "America/New_York"}


@dataclass(frozen=True, slots=True)
class Cap:
    """A budget that bears so many requests."""

    scope: str
    window: str
    requests: int
    unit: str = "usd"

    @property
    def limit(self) -> int:
        """In nano-dollars, tokens or requests."""
        return (self.requests - 1) * TAKES[self.unit] + LAST[self.unit]

    def terms(self, scope_id: str) -> dict[str, str | int]:
        limit = format_usd(self.limit) if self.unit == "usd" else self.limit
        return {
            "scope": self.scope if self.scope == "org" else f"{self.scope}:{scope_id}",
            "window": self.window,
            f"limit_{self.unit}": limit,
            "timezone": ZONES.get(self.window, "UTC"),
        }


CAPS = (
    Cap("run", "total", 3),
    Cap("user", "hour", 5, "tokens"),
    Cap("tag", "day", 7),
    Cap("workflow", "day", 9, "requests"),
    Cap("key", "24h", 11),
    Cap("model", "total", 13, "tokens"),
    Cap("team", "month", 15),
    Cap("org", "week", 17),
)


@dataclass(slots=True)
class Caller:
    """Who asks next; `beyond` makes it somebody of whom a used up budget says nothing."""

    weir: GatewayProcess
    keys: list[tuple[str, str, str]]
    names: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WITHIN, 0))

    def beyond(self, scope: str) -> None:
        """Have another one of this scope, and of everything within it."""
        for name in WITHIN[: WITHIN.index(scope) + 1] if scope in WITHIN else []:
            self.names[name] += 1

    def _key(self) -> tuple[str, str, str]:
        if self.names["team"]:
            return self.keys[-1]
        return self.keys[self.names["key"]]

    @property
    def own(self) -> dict[str, str]:
        """Its scopes, as a refusal names them."""
        _, key_id, team = self._key()
        inside = {name: f"{name}:{team}/{name}{self.names[name]}" for name in WITHIN}
        model = f"model:tiny{self.names['model']}"
        inside |= {"key": f"key:{key_id}", "model": model, "team": f"team:{team}"}
        inside["tag"] = f"tag:{team}/feature=tag{self.names['tag']}"
        return {**inside, "org": "org:default"}

    def ask(self, *, stream: bool = False) -> Answer:
        names = {name: f"{name}{number}" for name, number in self.names.items()}
        return self.weir.chat(
            "Which way does the water run?",
            key=self._key()[0],
            model=f"tiny{self.names['model']}",
            max_tokens=MAX_TOKENS,
            headers={
                "x-weir-run": names["run"],
                "x-weir-user": names["user"],
                "x-weir-tags": f"feature={names['tag']}",
                "x-weir-workflow": names["workflow"],
            },
            stream=stream,
        )


# The scopes from the narrowest to the widest; one caller is beyond each but the organisation.
WITHIN = tuple(cap.scope for cap in CAPS[:-1])
TEAMS = ("lab", "lab", "lab", "ops")


def test_there_is_a_cap_for_every_kind_of_scope_and_unit() -> None:
    assert {cap.scope for cap in CAPS} == {kind.value for kind in ScopeKind}
    assert {cap.unit for cap in CAPS} | {"gate"} == {unit.value for unit in Unit}


# -- ways to set a budget -----------------------------------------------------------------------


def in_the_file() -> str:
    wide = {"tag": "lab/feature=*"}
    tables = [cap.terms(wide.get(cap.scope, "*")) for cap in CAPS]
    lines = ["\n".join(f"{name} = {value!r}" for name, value in table.items()) for table in tables]
    return "".join(f"[[budgets]]\n{text}\n" for text in lines)


def over_the_api(weir: GatewayProcess, terms: dict[str, str | int]) -> None:
    answer = weir.change("PUT", "budgets", terms)
    assert answer.status == 200, answer.body


def on_the_command_line(weir: GatewayProcess, terms: dict[str, str | int]) -> None:
    options = [
        word for name, text in terms.items() for word in (f"--{name.replace('_', '-')}", str(text))
    ]
    done = weir.command("budgets", "set", *options)
    assert done.returncode == 0, done.stderr


WAYS: dict[str, Callable[[GatewayProcess, dict[str, str | int]], None] | None] = {
    "file": None,
    "api": over_the_api,
    "command line": on_the_command_line,
}


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as server:
        server.play = Play(tokens=MAX_TOKENS)
        yield server


def several_models(config: str) -> str:
    """The one model under three names."""
    head, model = config.split("[models.tiny]")
    model, tail = model.split("[tiers.small]")
    names = [f"tiny{number}" for number in range(3)]
    models = "".join(f"[models.{name}]{model}" for name in names)
    quoted = ", ".join(f'"{name}"' for name in names)
    tail = tail.replace('"tiny"', quoted)
    return f"{head}{models}[tiers.small]{tail}"


@pytest.mark.parametrize("way", WAYS)
def test_each_scopes_budget_is_spent_to_its_cap_and_the_next_request_is_refused(
    tmp_path: Path, up: Upstream, way: str
) -> None:
    set_budget = WAYS[way]
    config = several_models(upstream_config(up.base_url, "" if set_budget else in_the_file()))
    with gateway(tmp_path, config) as weir:
        caller = Caller(weir, [(*weir.make_key(team), team) for team in TEAMS])
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
    most_tokens = (row["reserved_nano"] - 2_000 * MAX_TOKENS) // 1_000 + MAX_TOKENS
    most = {"usd": row["reserved_nano"], "tokens": most_tokens, "requests": 1}
    for budget in standing.values():
        takes = TAKES[budget["unit"]]
        posted = budget["posted_nano"]  # in the unit of the budget
        assert (budget["held_nano"], budget["overrun_nano"], posted % takes) == (0, 0, 0)
        assert posted == 0 or posted - takes + most[budget["unit"]] <= budget["limit_nano"]


AMOUNTS = ("limit", "spent", "held", "remaining", "needed")


def check_refused(answer: Answer, cap: Cap, scope: str) -> None:
    """The refusal names the budget, what is left of it and when it begins anew."""
    assert (answer.status, answer.headers["x-should-retry"]) == (402, "false")
    error = answer.error
    assert (error["code"], error["scope"], error["window"]) == (
        "budget_exceeded",
        scope,
        cap.window,
    )
    told = [error[f"{name}_{cap.unit}"] for name in AMOUNTS]
    limit, spent, held, left, needed = map(nano_from_usd, told) if cap.unit == "usd" else told
    assert (limit, spent, held) == (cap.limit, cap.requests * TAKES[cap.unit], 0)
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
    wall = resets.astimezone(ZoneInfo(ZONES.get(window, "UTC")))
    now = datetime.now(wall.tzinfo)
    longest = {"hour": 1 / 24, "day": 1, "week": 7, "month": 31}[window]
    assert (wall.hour if window != "hour" else 0, wall.minute, wall.second) == (0, 0, 0)
    assert timedelta(0) < wall - now <= timedelta(days=longest, hours=1)
    assert window != "week" or wall.weekday() == 0
    assert window != "month" or wall.day == 1
