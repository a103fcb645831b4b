"""The entries of a ledger, read back from the events that tell of them."""

from pathlib import Path

from budgets.kills import Kill, killed_account
from budgets.ledger import HoldState, Settlement
from budgets.scopes import Budget, BudgetBook, ScopeKind, Window
from gateway.identity import OWN_RUN
from gateway.ledger_rebuild import restored_entries
from gateway.run_kills import kill_event
from telemetry.event import EventKind, TelemetryEvent
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
