"""What the warehouse knows that a ledger may have forgotten: every posted entry, from its event."""

from collections.abc import Iterator

import orjson

from budgets.kills import killed_account
from budgets.ledger import Bill, HoldState, Settlement
from budgets.port import RestoredEntry
from budgets.scopes import BudgetBook, Scopes
from gateway.identity import OWN_RUN
from telemetry.event import EventKind
from telemetry.warehouse import Row, Warehouse

_DAYS = "SELECT CAST(day AS VARCHAR) AS day FROM posting_day ORDER BY day"
_POSTED = (
    "SELECT event_id, kind, request_id, admitted_ms, ended_ms, org, team, key_id, workflow, "
    "run_id, run_source, cost_nano, overrun_nano, "
    "CASE kind WHEN 'run_killed' THEN decision_json ELSE '' END AS decision_json FROM event "
    "WHERE kind <> 'refusal' AND CAST(epoch_ms(ended_ms) AS DATE) = CAST($day AS DATE) "
    "ORDER BY ended_ms, event_id"
)


def restored_entries(warehouse: Warehouse, budgets: BudgetBook) -> Iterator[RestoredEntry]:
    """Every entry, day after day, charged to the accounts that today's budgets give it.

    So a budget that was added since counts what was spent before it.
    """
    for day in warehouse.query(_DAYS):
        for row in warehouse.query(_POSTED, {"day": day["day"]}):
            yield _entry(row, budgets)


def _entry(row: Row, budgets: BudgetBook) -> RestoredEntry:
    if row["kind"] == EventKind.RUN_KILLED:
        return _kill_entry(row)
    team = row["team"]
    scopes = Scopes(
        org=row["org"],
        team=team,
        key=row["key_id"],
        workflow=f"{team}/{row['workflow']}",
        run=f"{team}/{row['run_id']}",
    )
    charges = budgets.charges(
        scopes, row["admitted_ms"] // 1000, lone_run=row["run_source"] == OWN_RUN
    )
    cost_nano, kind = row["cost_nano"], row["kind"]
    is_correction = kind == EventKind.CORRECTION
    expired = is_correction or kind == EventKind.ASSUMED
    settlement = Settlement(
        row["request_id"],
        HoldState.EXPIRED_CHARGED if expired else HoldState.SETTLED,
        cost_nano,
        max(0, cost_nano) if is_correction else row["overrun_nano"],
        correction=is_correction,
    )
    accounts = tuple(charge.account for charge in charges if not charge.lone)
    return RestoredEntry(settlement, accounts, row["event_id"], row["ended_ms"])


def _kill_entry(row: Row) -> RestoredEntry:
    """The marker of a killed run: it moved no money, and has to be there again."""
    told = orjson.loads(row["decision_json"])["killed"]
    return RestoredEntry(
        Settlement(row["event_id"], HoldState.SETTLED, 0, 0),
        (killed_account(told["run"], told["budget"]),),
        row["event_id"],
        row["ended_ms"],
        bill=Bill(posted=(1,)),
    )
