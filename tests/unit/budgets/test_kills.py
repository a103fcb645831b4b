"""Which run a budget ends, from when on, and by what the ledger knows it."""

import asyncio

import pytest

from budgets.actions import Action, Threshold
from budgets.admission import headroom, surveyed
from budgets.budget_book import BudgetBook
from budgets.kills import Kill, gates, killed_account, killed_by, marker, shut
from budgets.ledger import Account, Bill, Hold, Refusal, Reservation
from budgets.port import EventShaper, OutboxEvent
from budgets.scopes import Budget, Charge, ScopeKind, Scopes, Unit, Window
from budgets.stores.in_memory import InMemoryLedger
from budgets.thresholds import Pressure, pressure_on

SCOPES = Scopes(org="o", team="t", key="k", workflow="t/w", run="t/r", parents=("t/p",))
KILL = (Threshold(900, Action.KILL_RUN),)
TEAM = Budget(ScopeKind.TEAM, "t", Window.MONTH, 1_000, at=KILL)
RUNS = Budget(ScopeKind.RUN, "*", Window.TOTAL, 100, at=KILL)
PLAIN = Budget(ScopeKind.KEY, "*", Window.TOTAL, 10)
NOW_S = 1_793_534_400
MONTH = "team:t|month|1793491200"
MARKER = "run:t/r|killed/team:t/month|0"


def charged(*budgets: Budget, lone_run: bool = False) -> tuple[Charge, ...]:
    charges = BudgetBook(budgets).charges(SCOPES, NOW_S, lone_run=lone_run)
    return charges + gates(charges, SCOPES, lone_run=lone_run)


def found(accounts: dict[str, Account], *budgets: Budget, lone_run: bool = False) -> Kill | None:
    return killed_by(accounts, charged(*budgets, lone_run=lone_run), SCOPES, lone_run=lone_run)


def test_a_request_without_a_budget_that_kills_has_no_gate() -> None:
    assert not any(charge.unit is Unit.GATE for charge in charged(PLAIN))
    assert not BudgetBook([PLAIN]).kills
    assert BudgetBook([PLAIN, TEAM]).kills


def test_each_run_of_a_request_has_a_gate_for_each_budget_that_kills() -> None:
    found = [charge for charge in charged(TEAM, RUNS, PLAIN) if charge.unit is Unit.GATE]
    assert {charge.account for charge in found} == {
        killed_account(run, budget.name) for run in ("t/r", "t/p") for budget in (TEAM, RUNS)
    }
    assert all(charge.lone and charge.counted == (charge.account,) for charge in found)
    alone = [charge for charge in charged(TEAM, lone_run=True) if charge.unit is Unit.GATE]
    assert [charge.account for charge in alone] == [killed_account("t/p", TEAM.name)]


@pytest.mark.parametrize(
    ("account", "killed"),
    [
        (Account(899), False),
        (Account(500, 500), False),
        (Account(900), True),
        (Account(1_100), True),
    ],
)
def test_a_run_is_killed_from_the_share_that_was_spent_and_not_by_what_is_held(
    account: Account, killed: bool
) -> None:
    expected = Kill("t/r", "team:t/month", 900, MARKER, due=True) if killed else None
    assert found({MONTH: account}, PLAIN, TEAM) == expected


def test_a_budget_of_a_run_kills_that_run_also_where_a_child_came_upon_it() -> None:
    kill = found({"run:t/p|total|0": Account(95)}, RUNS)
    assert kill == Kill("t/p", "run:*/total", 900, "run:t/p|killed/run:*/total|0", due=True)
    own = found({"run:t/r|total|0": Account(95)}, RUNS)
    assert own is not None
    assert own.run == "t/r"


def test_a_run_of_one_request_needs_no_marker() -> None:
    kill = found({MONTH: Account(950)}, TEAM, lone_run=True)
    assert kill == Kill("t/r", "team:t/month", 900, "", due=True)


def test_a_killed_run_stays_killed_when_its_budget_is_below_its_share_again() -> None:
    for run in ("t/r", "t/p"):
        account = killed_account(run, TEAM.name)
        kill = found({account: Account(1)}, TEAM)
        assert kill == Kill(run, "team:t/month", 900, account, due=False)
    held = found({MARKER: Account(0, 1), MONTH: Account(950)}, TEAM)
    assert held is not None
    assert not held.due


def test_a_gate_names_the_budget_that_shut_it() -> None:
    gate = next(charge for charge in charged(TEAM) if charge.unit is Unit.GATE)
    assert shut(gate) == Kill("t/r", "team:t/month", 900, MARKER, due=False)
    with pytest.raises(ValueError, match="the gate of no budget"):
        shut(Charge("a", "run:t/r", Window.TOTAL, 0, None, unit=Unit.GATE))


def test_gates_are_neither_headroom_nor_pressure() -> None:
    charges = charged(TEAM)
    accounts = {MARKER: Account(1), MONTH: Account(100)}
    assert MARKER in surveyed(charges)
    assert headroom(accounts, charges).nano == 900
    assert pressure_on(accounts, charges) == Pressure(100)


def test_the_ledger_itself_refuses_a_killed_run_and_marks_it_once() -> None:
    shaper = EventShaper(lambda *_: _event("assumed"), lambda event, _: event)
    ledger = InMemoryLedger(shaper)
    kill = Kill("t/r", "team:t/month", 900, MARKER, due=True)

    def request(name: str) -> Reservation:
        return Reservation(name, 10, charged(TEAM), NOW_S * 1_000, 60_000)

    def marking(name: str) -> Reservation:
        return Reservation(name, 0, (marker(kill),), NOW_S * 1_000, 60_000)

    async def story() -> None:
        assert isinstance(await ledger.reserve(request("a")), Hold)
        hold = await ledger.reserve(marking("kill-a"))
        assert isinstance(hold, Hold)
        refused = await ledger.reserve(request("b"))
        assert isinstance(refused, Refusal)
        assert (refused.account, refused.unit) == (MARKER, Unit.GATE)
        assert isinstance(await ledger.reserve(marking("kill-b")), Refusal)
        hold = await ledger.dispatch(hold, b"{}")
        await ledger.settle(hold, 0, _event("kill-a"), Bill(posted=(1,)))
        assert isinstance(await ledger.reserve(request("c")), Refusal)
        assert isinstance(await ledger.reserve(marking("kill-c")), Refusal)
        assert (await ledger.survey([MARKER]))[MARKER] == Account(1)
        assert sum(total.posted_nano for total in ledger.totals_by_day()) == 0
        assert list(ledger.faults()) == []

    asyncio.run(story())


def _event(name: str) -> OutboxEvent:
    return OutboxEvent(name, b"{}", NOW_S * 1_000)
