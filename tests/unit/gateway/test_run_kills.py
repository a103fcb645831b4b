"""A run that a budget kills: refused for good, marked once, and told of (gateway.run_kills)."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from budgets.actions import Action, Threshold
from budgets.kills import Kill
from budgets.scopes import AnyWindow, Budget, ScopeKind, Window
from gateway.desk import Desk
from gateway.lifecycle import Lifecycle
from gateway.run_kills import kill_event, mark_killed
from telemetry.event import Ending, EventKind, assumed_event, event_from_json
from tests.unit.gateway.desks import (
    KEY,
    Client,
    ask,
    assert_at_rest,
    carry,
    chat,
    events,
    make_desk,
    new_ledger,
    posted_nano,
    run,
    scripted,
    start_providers,
)
from tests.unit.telemetry.events import make_event

BODY = chat("a b", max_tokens=2)
R1, R2 = (b"x-weir-run", b"r1"), (b"x-weir-run", b"r2")
AT = (Threshold(10, Action.KILL_RUN),)


def killing_desk(
    kind: ScopeKind = ScopeKind.TEAM, window: AnyWindow = Window.MONTH, limit_nano: int = 400_000
) -> Desk:
    """A desk whose one budget kills runs from 1 % of its limit on: the cost of one request."""
    desk = make_desk({"main": scripted(say="one")})
    desk.budgets.change([Budget(kind, "*", window, limit_nano, at=AT)])
    return desk


def test_the_request_that_finds_the_share_spent_ends_its_run_and_all_that_follow() -> None:
    desk = killing_desk()
    assert run(ask(desk, BODY, R1)).status == 200
    for client in [run(ask(desk, BODY, R1)) for _ in range(3)]:
        assert (client.status, client.error["code"]) == (402, "run_killed")
        assert client.header(b"x-should-retry") == b"false"
        assert (client.error["run"], client.error["budget"], client.error["kill_at"]) == (
            "lab/r1",
            "team:*/month",
            0.01,
        )
        assert "budget team:*/month ends a run" in client.error["message"]
    kinds = [(event.kind, event.error_code) for event in events(desk)]
    assert kinds == [
        (EventKind.REQUEST, ""),
        (EventKind.RUN_KILLED, "run_killed"),
        *[(EventKind.REFUSAL, "run_killed")] * 3,
    ]
    assert_at_rest(desk)


def test_the_event_of_a_kill_names_run_and_budget_and_costs_nothing() -> None:
    desk = killing_desk()
    run(ask(desk, BODY, R1))
    before = posted_nano(desk)
    run(ask(desk, BODY, R1))
    kill = events(desk)[1]
    assert kill.event_id == f"kill-{kill.request_id}"
    assert (kill.run_id, kill.ending, kill.status, kill.cost_nano) == ("r1", Ending.KILLED, 402, 0)
    assert kill.reason == "budget team:*/month ends runs at 1 % of its limit"
    assert orjson.loads(kill.decision_json) == {
        "killed": {"run": "lab/r1", "budget": "team:*/month", "kill_at": 0.01}
    }
    assert posted_nano(desk) == before


def test_a_killed_run_stays_killed_in_the_next_window_and_others_live() -> None:
    desk = killing_desk(window=Window.HOUR)
    run(ask(desk, BODY, R1))
    run(ask(desk, BODY, R1))
    later = replace(desk, now_ms=lambda: desk.now_ms() + 3_600_000)
    killed = run(ask(later, BODY, R1))
    assert (killed.status, killed.error["budget"]) == (402, "team:*/hour")
    assert run(ask(later, BODY, R2)).status == 200
    assert [event.kind for event in events(desk)].count(EventKind.RUN_KILLED) == 1


def test_a_run_lives_again_when_its_budget_kills_no_more() -> None:
    desk = killing_desk()
    for _ in range(2):
        last = run(ask(desk, BODY, R1))
    assert last.status == 402
    desk.budgets.change([replace(desk.budgets.budgets[0], at=())])
    assert run(ask(desk, BODY, R1)).status == 200


def test_a_request_that_names_no_run_is_refused_and_leaves_no_marker() -> None:
    desk = killing_desk()
    run(ask(desk, BODY))
    client = run(ask(desk, BODY))
    assert (client.status, client.error["code"]) == (402, "run_killed")
    assert [event.kind for event in events(desk)] == [EventKind.REQUEST, EventKind.REFUSAL]


def test_a_budget_of_each_run_kills_the_one_that_spent() -> None:
    desk = killing_desk(ScopeKind.RUN, Window.TOTAL)
    statuses = [run(ask(desk, BODY, name)).status for name in (R1, R2, R1, R2, R1)]
    assert statuses == [200, 200, 402, 402, 402]
    killed = [event.run_id for event in events(desk) if event.kind is EventKind.RUN_KILLED]
    assert killed == ["r1", "r2"]


def test_many_requests_at_once_kill_their_run_once() -> None:
    desk = killing_desk()

    async def crowd() -> list[int]:
        await start_providers(desk)
        lifecycle = Lifecycle(desk)
        first = Client(BODY, headers=[(b"authorization", b"Bearer " + KEY), R1])
        await carry(lifecycle, first)
        clients = [replace(first, sent=[], gone=asyncio.Event(), _asked=False) for _ in range(50)]
        await asyncio.gather(*(carry(lifecycle, client) for client in clients))
        assert {client.error["code"] for client in clients} == {"run_killed"}
        return [client.status for client in clients]

    assert run(crowd()) == [402] * 50
    kinds = [event.kind for event in events(desk)]
    assert kinds.count(EventKind.RUN_KILLED) == 1
    assert_at_rest(desk)


def test_a_run_killed_between_survey_and_reservation_is_refused_by_the_ledger() -> None:
    ledger = new_ledger()
    desk = replace(killing_desk(), ledger=ledger)
    run(ask(desk, BODY, R2))
    kill = Kill("lab/r1", "team:*/month", 10, "run:lab/r1|killed/team:*/month|0", due=True)
    event = kill_event(make_event(7, cost_nano=0), kill)
    survey = ledger.survey

    async def overtaken(names: list[str]) -> object:
        """The accounts as they were just before another gateway killed the run."""
        accounts = await survey(names)
        await mark_killed(ledger, kill, event, 60_000)
        return {name: replace(account, posted_nano=0) for name, account in accounts.items()}

    ledger.survey = overtaken  # type: ignore[method-assign, assignment]
    client = run(ask(desk, BODY, R1))
    assert (client.status, client.error["code"]) == (402, "run_killed")
    assert client.error["budget"] == "team:*/month"


def test_a_kill_whose_gateway_died_is_told_as_it_was_and_costs_nothing() -> None:
    kill = Kill("lab/r1", "team:*/month", 10, "run:lab/r1|killed/team:*/month|0", due=True)
    event = kill_event(make_event(1, cost_nano=0), kill)
    told = event_from_json(assumed_event(event.to_json(), 0, event.ended_ms + 9).payload)
    assert told == event


@pytest.mark.parametrize("posted", [39, 40])
def test_nothing_is_killed_below_the_share(posted: int) -> None:
    desk = killing_desk(limit_nano=posted * 10_000 + 9_999)
    run(ask(desk, BODY, R1))
    assert run(ask(desk, BODY, R1)).status == (402 if posted < 40 else 200)
