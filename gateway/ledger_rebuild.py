"""What the warehouse knows that a ledger may have forgotten: every posted entry, from its event."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import orjson

from budgets.budget_book import BudgetBook, tightest
from budgets.kills import killed_account
from budgets.landing import landing_charge
from budgets.ledger import Bill, HoldState, Settlement, postings
from budgets.port import RestoredEntry
from budgets.runs import RunTerms, run_charges
from budgets.scopes import Charge, Scopes, Unit
from budgets.usage import RECORDED_CLASSES
from gateway.identity import GRANTED_RUN, OWN_RUN
from telemetry.event import EventKind, UsageSource
from telemetry.warehouse import Row, Warehouse

_TOKENS = tuple(f"{name}_tokens" for name in RECORDED_CLASSES)
_DAYS = "SELECT CAST(day AS VARCHAR) AS day FROM posting_day ORDER BY day"
_TOKENS = tuple(f"{name}_tokens" for name in RECORDED_CLASSES)
_POSTED = (
    "SELECT event_id, kind, request_id, admitted_ms, ended_ms, org, team, key_id, workflow, "
    "run_id, run_source, landed, parent_runs_json, user_id, tags_json, model, usage_source, "
    f"cost_nano, overrun_nano, batch_requests, batch_failed, {', '.join(_TOKENS)}, "
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
    own_run = row["run_source"] == OWN_RUN
    scopes = _scopes(row)
    now_s = row["admitted_ms"] // 1000
    charged = budgets.charges(scopes, now_s, lone_run=own_run)
    charged += budgets.model_charges([scopes.model], now_s).get(scopes.model, ())
    if row["run_source"] == GRANTED_RUN:
        charged = tightest((*charged, *_granted(row)))
    if row["landed"]:
        charged += (landing_charge(scopes.run),)
    charges = [charge for charge in charged if not charge.lone]
    settlement = _settlement(row)
    return RestoredEntry(
        settlement,
        tuple([charge.account for charge in charges]),
        row["event_id"],
        row["ended_ms"],
        row["admitted_ms"],
        replace(scopes, run="") if own_run else scopes,
        _bill(row, settlement, charges),
    )


def _scopes(row: Row) -> Scopes:
    """Whom the event says the request was for."""
    team = row["team"]
    return Scopes(
        org=row["org"],
        team=team,
        key=row["key_id"],
        workflow=f"{team}/{row['workflow']}",
        run=f"{team}/{row['run_id']}",
        parents=tuple(f"{team}/{run}" for run in orjson.loads(row["parent_runs_json"])),
        user=f"{team}/{row['user_id']}",
        tags=tuple(f"{team}/{name}={tag}" for name, tag in orjson.loads(row["tags_json"]).items()),
        model=row["model"],
    )


def _granted(row: Row) -> tuple[Charge, ...]:
    """The accounts of a run that was opened with a budget of its own, whatever its limits."""
    runs = (row["run_id"], *orjson.loads(row["parent_runs_json"]))
    return run_charges(row["team"], tuple([RunTerms(run) for run in runs]))


def _settlement(row: Row) -> Settlement:
    cost_nano, kind = row["cost_nano"], row["kind"]
    is_correction = kind == EventKind.CORRECTION
    if is_correction or kind == EventKind.ASSUMED:
        state = HoldState.EXPIRED_CHARGED
    elif row["usage_source"] == UsageSource.NONE:
        state = HoldState.RELEASED
    else:
        state = HoldState.SETTLED
    overrun_nano = max(0, cost_nano) if is_correction else row["overrun_nano"]
    return Settlement(row["request_id"], state, cost_nano, overrun_nano, correction=is_correction)


def _bill(row: Row, settlement: Settlement, charges: Sequence[Charge]) -> Bill:
    """What each account took. A correction is of a request that its expiry counted."""
    tokens = sum(row[name] for name in _TOKENS)
    if settlement.state is HoldState.RELEASED:
        return Bill(tokens)
    posted = postings(charges, settlement.posted_nano, tokens)
    answered, failed = row["batch_requests"], row["batch_failed"]
    if posted and (settlement.correction or answered or failed):
        # The expiry counted the request, or each one of a batch.
        requests = -failed if settlement.correction else answered
        units = [charge.unit for charge in charges]
        takes = zip(units, posted, strict=True)
        posted = tuple([requests if unit is Unit.REQUESTS else took for unit, took in takes])
    return Bill(tokens, posted=posted)


def _kill_entry(row: Row) -> RestoredEntry:
    """The marker of a killed run: it moved no money, and has to be there again."""
    told = orjson.loads(row["decision_json"])["killed"]
    return RestoredEntry(
        Settlement(row["event_id"], HoldState.SETTLED, 0, 0),
        (killed_account(told["run"], told["budget"]),),
        row["event_id"],
        row["ended_ms"],
        row["admitted_ms"],
        bill=Bill(posted=(1,)),
    )
