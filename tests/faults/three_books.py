"""The upstream's bill, the ledger and DuckDB laid side by side, line by line and party by party."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from budgets.money import nano_from_usd
from budgets.port import SeedingBooks
from tests.faults.mixed_load import Call
from tests.journeys.upstream import Line

OUTPUT_NANO = 2_000
AHEAD_TOKENS = 64
Parties = dict[tuple[str, str], int]
Books = AbstractContextManager[SeedingBooks]


@dataclass(slots=True)
class Findings:
    """What was compared, once all of it agreed."""

    billed_nano: int = 0
    posted_nano: int = 0
    assumed_nano: int = 0
    lines: int = 0
    assumed: int = 0
    acknowledged: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    waited: int = 0
    grown: int = 0
    ahead_tokens: int = 0


def compare(
    calls: Iterable[Call],
    bill: Iterable[Line],
    events: Iterable[Mapping[str, Any]],
    books: Books,
) -> Findings:
    """Assert that the three agree to the nano-dollar; what the agreement consists of.

    A request whose gateway was killed under it is assumed to have cost all that was held for it.
    For every other one the ledger has what the upstream bills, whoever hung up or failed.
    """
    calls = {call.client_id: call for call in calls}
    lines = {line.client_id: line for line in bill}
    assert len(lines) == len(list(bill)), "a call was sent twice"
    rows = list(events)
    ids = Counter(row["event_id"] for row in rows)
    assert [event_id for event_id, times in ids.items() if times > 1] == []
    found = Findings(lines=len(lines), billed_nano=sum(line.cost_nano for line in lines.values()))
    settled = _settled(rows, calls, lines)
    _check_acknowledged(calls.values(), settled, found)
    _check_assumed(rows, calls, lines, settled, found)
    _check_parties(rows, calls, lines, settled)
    _check_ledger(rows, books, found)
    first_usd = {call.request_id: call.first_hold_usd for call in calls.values()}
    for row in rows:
        found.waited += row["waited_ms"] > 0
        held_usd = first_usd.get(row["request_id"])
        found.grown += bool(held_usd) and row["reserved_nano"] > nano_from_usd(str(held_usd))
    return found


def _settled(
    rows: Iterable[Mapping[str, Any]], calls: Mapping[str, Call], lines: Mapping[str, Line]
) -> dict[str, Mapping[str, Any]]:
    """The event of each line of the bill that was settled, having compared the two."""
    settled: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if row["kind"] != "request" or row["usage_source"] == "none":
            assert row["kind"] != "refusal" or row["cost_nano"] == 0
            continue
        # A call that hung up before there was an answer has a run of its own name.
        client_id = row["upstream_request_id"] or row["run_id"]
        assert client_id in lines, f"nobody billed {client_id}"
        assert client_id not in settled, f"{client_id} was settled twice"
        settled[client_id] = row
        assert row["cost_nano"] == lines[client_id].cost_nano, (client_id, dict(row))
        assert row["cost_nano"] <= row["reserved_nano"]
        assert parties_of(row) == calls[client_id].parties
    return settled


def parties_of(row: Mapping[str, Any]) -> dict[str, str]:
    team = row["team"]
    return {
        "team": team,
        "key": row["key_id"],
        "workflow": f"{team}/{row['workflow']}",
        "run": f"{team}/{row['run_id']}",
    }


def _check_acknowledged(
    calls: Iterable[Call], settled: Mapping[str, Mapping[str, Any]], found: Findings
) -> None:
    """Whoever had a whole answer is in the books with what the provider reported."""
    for call in calls:
        found.kinds[call.kind] += 1
        if call.whole:
            found.acknowledged += 1
            row = settled.get(call.client_id)
            assert row is not None, f"lost: {call}"
            assert (row["request_id"], row["ending"]) == (call.request_id, "completed")
            assert row["usage_source"] == "provider"


def _check_assumed(
    rows: Iterable[Mapping[str, Any]],
    calls: Mapping[str, Call],
    lines: Mapping[str, Line],
    settled: Mapping[str, Mapping[str, Any]],
    found: Findings,
) -> None:
    """What the upstream bills and nobody settled was assumed, run by run, at no less.

    A long stream, whose hold grows as it goes, may have run ahead of it by a few tokens.
    """
    assumed: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        if row["kind"] == "assumed":
            assert (row["usage_source"], row["ending"]) == ("assumed", "unknown")
            assert row["cost_nano"] == row["reserved_nano"], dict(row)
            assumed[parties_of(row)["run"]].append(row["cost_nano"])
    billed: defaultdict[str, list[int]] = defaultdict(list)
    for client_id in lines.keys() - settled.keys():
        billed[calls[client_id].parties["run"]].append(lines[client_id].cost_nano)
    for run, costs in billed.items():
        held = sorted(assumed[run], reverse=True)
        assert len(held) >= len(costs), f"{run}: billed {costs}, assumed {held}"
        for cost, hold in zip(sorted(costs, reverse=True), held, strict=False):
            ahead_tokens = max(0, cost - hold) // OUTPUT_NANO
            assert ahead_tokens <= (AHEAD_TOKENS if "/long-" in run else 0), (run, cost, hold)
            found.ahead_tokens = max(found.ahead_tokens, ahead_tokens)
    found.assumed = sum(map(len, assumed.values()))
    found.assumed_nano = sum(map(sum, assumed.values()))


def _check_parties(
    rows: Iterable[Mapping[str, Any]],
    calls: Mapping[str, Call],
    lines: Mapping[str, Line],
    settled: Mapping[str, Mapping[str, Any]],
) -> None:
    """For every team, key, workflow and run: what was settled is what the upstream bills."""
    billed: Parties = defaultdict(int)
    for client_id in settled:
        _add(billed, calls[client_id].parties, lines[client_id].cost_nano)
    posted: Parties = defaultdict(int)
    for row in rows:
        if row["kind"] == "request" and row["usage_source"] != "none":
            _add(posted, parties_of(row), row["cost_nano"])
    assert posted == billed


def _add(sums: Parties, parties: Mapping[str, str], amount_nano: int) -> None:
    for scope, name in parties.items():
        sums[scope, name] += amount_nano


def _check_ledger(
    rows: Iterable[Mapping[str, Any]],
    books: Books,
    found: Findings,
) -> None:
    """For every party the ledger's entries are the sum of its events."""
    told: Parties = defaultdict(int)
    for row in rows:
        if row["kind"] != "refusal" and row["cost_nano"]:
            _add(told, parties_of(row), row["cost_nano"])
    posted: Parties = defaultdict(int)
    with books as opened:
        assert list(opened.faults()) == []
        for spend in opened.spent_by_party(0, None):
            scopes = spend.scopes
            parties = {name: getattr(scopes, name) for name in ("team", "key", "workflow", "run")}
            if spend.posted_nano:
                _add(posted, parties, spend.posted_nano)
                found.posted_nano += spend.posted_nano
    assert posted == told
    assert found.posted_nano == sum(row["cost_nano"] for row in rows)
