"""The entries of a ledger, read back from the events that tell of them."""

from dataclasses import replace
from pathlib import Path

from budgets.budget_book import BudgetBook
from budgets.kills import Kill, killed_account
from budgets.ledger import Bill, HoldState, Settlement
from budgets.scopes import Budget, ScopeKind, Scopes, Unit, Window
from gateway.identity import GRANTED_RUN, OWN_RUN
from gateway.ledger_rebuild import restored_entries
from gateway.run_kills import kill_event
from telemetry.event import EventKind, TelemetryEvent, UsageSource
from telemetry.warehouse import Warehouse
from tests.unit.telemetry.events import make_event

BOOK = BudgetBook(
    [
        Budget(ScopeKind.WORKFLOW, "*", Window.TOTAL, 10**9),
        Budget(ScopeKind.RUN, "*", Window.TOTAL, 10**9),
    ]
)


def stored(path: Path, *events: TelemetryEvent) -> Warehouse:
    warehouse = Warehouse.open(path / "weir.duckdb")
    rows = [(number, event.to_json()) for number, event in enumerate(events, 1)]
    warehouse.insert_batch("ledger", rows)
    return warehouse


def test_every_event_but_a_refusal_is_an_entry_on_the_accounts_of_its_request(
    tmp_path: Path,
) -> None:
    request = make_event(1, team="lab", workflow="sum", run_id="r7", cost_nano=12, overrun_nano=2)
    refusal = make_event(2, kind=EventKind.REFUSAL, cost_nano=0)
    warehouse = stored(tmp_path, request, refusal)
    [entry] = restored_entries(warehouse, BOOK)
    warehouse.close()
    assert entry.settlement == Settlement(request.request_id, HoldState.SETTLED, 12, 2)
    assert (entry.event_id, entry.ended_ms) == (request.event_id, request.ended_ms)
    assert entry.accounts == (
        f"org:{request.org}|total|0",
        "workflow:lab/sum|total|0",
        "run:lab/r7|total|0",
    )


def test_an_expiry_and_its_correction_are_two_entries_of_one_hold(tmp_path: Path) -> None:
    assumed = make_event(1, kind=EventKind.ASSUMED, cost_nano=70, run_source=OWN_RUN)
    correction = make_event(
        2,
        kind=EventKind.CORRECTION,
        request_id=assumed.request_id,
        cost_nano=-25,
        run_source=OWN_RUN,
    )
    warehouse = stored(tmp_path, assumed, correction)
    entries = list(restored_entries(warehouse, BOOK))
    warehouse.close()
    state, hold_id = HoldState.EXPIRED_CHARGED, assumed.request_id
    assert [entry.settlement for entry in entries] == [
        Settlement(hold_id, state, 70, 0),
        Settlement(hold_id, state, -25, 0, correction=True),
    ]
    assert not any("run:" in account for entry in entries for account in entry.accounts)


def test_the_marker_of_a_killed_run_is_put_back_and_moves_no_money(tmp_path: Path) -> None:
    account = killed_account("lab/r7", "team:*/month")
    kill = Kill("lab/r7", "team:*/month", 900, account, due=True)
    event = kill_event(make_event(1, team="lab", run_id="r9", cost_nano=0), kill)
    warehouse = stored(tmp_path, event)
    [entry] = restored_entries(warehouse, BOOK)
    warehouse.close()
    assert entry.settlement == Settlement(event.event_id, HoldState.SETTLED, 0, 0)
    assert (entry.accounts, entry.bill.posted) == ((account,), (1,))


def test_an_entry_knows_who_spent_when_and_how_many_tokens(tmp_path: Path) -> None:
    request = make_event(
        1,
        team="lab",
        workflow="sum",
        run_id="r7",
        key_id="k",
        user_id="ana",
        parent_runs_json='["r6","r5"]',
        tags_json='{"env":"test","use":"a b"}',
    )
    alone = make_event(2, team="lab", workflow="sum", key_id="k", run_source=OWN_RUN)
    warehouse = stored(tmp_path, request, alone)
    shared, own = restored_entries(warehouse, BOOK)
    warehouse.close()
    assert shared.admitted_ms == request.admitted_ms
    assert shared.scopes == Scopes(
        request.org,
        "lab",
        "k",
        "lab/sum",
        "lab/r7",
        parents=("lab/r6", "lab/r5"),
        user="lab/ana",
        tags=("lab/env=test", "lab/use=a b"),
        model=request.model,
    )
    assert own.scopes is not None and own.scopes.run == ""
    # 101 fresh, 1 cached, 50 of the answer and 1 of its reasoning.
    assert shared.bill == Bill(153)


def test_budgets_of_users_tags_models_and_runs_above_get_back_what_they_counted(
    tmp_path: Path,
) -> None:
    kinds = (ScopeKind.RUN, ScopeKind.USER, ScopeKind.TAG, ScopeKind.MODEL)
    event = make_event(
        1, team="lab", run_id="r2", parent_runs_json='["r1"]', user_id="ana", model="m"
    )
    warehouse = stored(tmp_path, event)
    book = BudgetBook(Budget(kind, "*", Window.TOTAL, 10**9) for kind in kinds)
    [entry] = restored_entries(warehouse, book)
    warehouse.close()
    assert entry.accounts[1:] == (
        "run:lab/r2|total|0",
        "run:lab/r1|total|0",
        "user:lab/ana|total|0",
        "tag:lab/env=test|total|0",
        "model:m|total|0",
    )


def test_a_run_with_a_budget_of_its_own_gets_back_what_it_and_its_runs_spent(
    tmp_path: Path,
) -> None:
    event = make_event(
        1,
        team="lab",
        run_id="low~2",
        run_source=GRANTED_RUN,
        parent_runs_json='["top~1"]',
        cost_nano=70,
    )
    warehouse = stored(tmp_path, event)
    [plain] = restored_entries(warehouse, BudgetBook([]))
    [with_budget] = restored_entries(warehouse, BOOK)
    warehouse.close()
    (tmp_path / "landed").mkdir()
    landed = stored(tmp_path / "landed", replace(event, landed=True))
    [last] = restored_entries(landed, BudgetBook([]))
    landed.close()
    assert (last.accounts[-1], last.bill.posted[-1]) == ("run:lab/low~2|total/landing|0", 1)
    taken = dict(zip(plain.accounts, plain.bill.posted, strict=True))
    tokens = 101 + 1 + 50 + 1
    assert taken == {
        "org:acme|total|0": 70,
        **{
            f"run:lab/{run}|total{unit}|0": amount
            for run in ("low~2", "top~1")
            for unit, amount in (("", 70), ("/tokens", tokens), ("/requests", 1))
        },
    }
    assert len(set(with_budget.accounts)) == len(with_budget.accounts) == 8


def test_each_account_takes_what_it_counts_and_a_correction_no_request(tmp_path: Path) -> None:
    units = [
        Budget(ScopeKind.KEY, "*", Window.TOTAL, 10**9, unit=unit)
        for unit in (Unit.TOKENS, Unit.REQUESTS)
    ]
    same = {"key_id": "k", "fresh_tokens": 7, "cached_tokens": 1, "output_tokens": 30}
    spent = make_event(1, cost_nano=70, reasoning_tokens=0, **same)
    truth = make_event(2, kind=EventKind.CORRECTION, cost_nano=-25, reasoning_tokens=0, **same)
    refused = make_event(3, cost_nano=0, usage_source=UsageSource.NONE, **same)
    warehouse = stored(tmp_path, spent, truth, refused)
    entries = list(restored_entries(warehouse, BudgetBook(units)))
    warehouse.close()
    assert {entry.accounts for entry in entries} == {
        ("org:acme|total|0", "key:k|total/tokens|0", "key:k|total/requests|0")
    }
    assert [entry.bill.posted for entry in entries] == [(70, 38, 1), (-25, 38, 0), ()]
    assert entries[2].settlement == Settlement(refused.request_id, HoldState.RELEASED, 0, 0)
