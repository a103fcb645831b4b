"""One request explained: what came in, what was decided and why, what it used and what it cost.

Decision and classification are shown as they were recorded, whatever their shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from dashboards.amounts import count, usd_exact, usd_short, utc_time
from dashboards.breakdowns import TOKEN_CLASSES
from dashboards.cards import Card
from dashboards.tables import Row, cell

Titled: TypeAlias = tuple[tuple[str, Any], ...]

_MAX_EVIDENCE_BYTES = 1_000_000
_DECISION_PARTS = (
    ("Models that could answer", "candidates"),
    ("Models rejected, and why", "rejected"),
    ("Rules that did not match", "missed_rules"),
)


@dataclass(frozen=True, slots=True)
class Group:
    """A titled list of name and value."""

    title: str
    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RequestView:
    """The page as values; `candidates` and `details` are recorded JSON, titled and parsed."""

    request_id: str
    summary: str
    reason: str
    cards: tuple[Card, ...]
    groups: tuple[Group, ...]
    candidates: Titled
    details: Titled


def evidence_text(value: object, name: str) -> str:
    """One recorded number or flag as text; money and times by the unit in its name."""
    return cell(name, value)


def is_table(value: Sequence[object]) -> bool:
    """True for a list of objects, which reads best as a table."""
    return all(isinstance(inner, dict) for inner in value)


def table_columns(value: Sequence[dict[str, object]]) -> list[str]:
    """Every key of the objects, in the order first seen."""
    return list(dict.fromkeys(key for inner in value for key in inner))


def _parsed(text: str) -> object:
    """The recorded JSON; text that is none, or is too long to lay out, is shown as it is."""
    if len(text) > _MAX_EVIDENCE_BYTES:
        return f"{text[:_MAX_EVIDENCE_BYTES]}…"
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return text


def _present(recorded: Mapping[str, object]) -> Titled:
    return tuple((title, value) for title, value in recorded.items() if value)


def _evidence(row: Row) -> tuple[Titled, Titled]:
    """The decision's lists of models and rules, then everything else that was recorded."""
    decision = _parsed(str(row["decision_json"]))
    parts: dict[str, object] = {}
    if isinstance(decision, dict):
        parts = {title: decision.pop(key, None) for title, key in _DECISION_PARTS}
    rest = {
        "Classification": _parsed(str(row["classification_json"])),
        "Decision": decision,
        "Tags": _parsed(str(row["tags_json"])),
    }
    return _present(parts), _present(rest)


def _cards(row: Row) -> tuple[Card, ...]:
    cost_nano, frontier_nano = int(row["cost_nano"]), int(row["frontier_cost_nano"])
    saved_nano = frontier_nano - cost_nano
    ending = str(row["ending"])
    return (
        Card(
            "cost",
            "Cost",
            usd_short(cost_nano),
            usd_exact(cost_nano),
            usd_exact(cost_nano),
        ),
        Card(
            "saved",
            "Saved vs frontier",
            usd_short(saved_nano),
            usd_exact(saved_nano),
            f"of {usd_short(frontier_nano)}, modelled",
            "bad" if saved_nano < 0 else "good" if saved_nano else "",
        ),
        Card("model", "Model", str(row["model"]) or "—", "", f"tier {row['tier'] or '—'}"),
        Card("ending", "Ending", ending.replace("_", " "), "", f"HTTP status {row['status']}"),
        Card(
            "time",
            "Time",
            cell("total_ms", row["total_ms"]),
            "",
            f"{cell('gateway_ms', row['gateway_ms'])} of it in the gateway",
        ),
    )


def _entries(row: Row, names: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((label, cell(column, row[column])) for column, label in names)


def _groups(row: Row) -> tuple[Group, ...]:
    used = [(column, label) for column, label in TOKEN_CLASSES if row[column]]
    tokens = tuple((label, count(int(row[column]))) for column, label in used)
    return (
        Group(
            "Who",
            _entries(
                row,
                (
                    ("workflow", "Workflow"),
                    ("run_id", "Run"),
                    ("run_source", "Run known from"),
                    ("team", "Team"),
                    ("key_id", "Key"),
                    ("org", "Organisation"),
                ),
            ),
        ),
        Group(
            "Route",
            _entries(
                row,
                (
                    ("requested_model", "Asked for"),
                    ("policy", "Policy"),
                    ("task", "Task"),
                    ("difficulty", "Difficulty"),
                    ("provider", "Provider"),
                    ("upstream_model", "Provider's model"),
                    ("attempts", "Attempts"),
                    ("upstream_request_id", "Provider's request id"),
                ),
            ),
        ),
        Group("Tokens", (*tokens, ("Counted by", cell("usage_source", row["usage_source"])))),
        Group(
            "Money",
            _entries(
                row,
                (
                    ("input_cost_nano", "Input"),
                    ("output_cost_nano", "Output"),
                    ("cost_nano", "Total"),
                    ("reserved_nano", "Reserved before the call"),
                    ("overrun_nano", "Above the reservation"),
                    ("frontier_cost_nano", "Same tokens, frontier model"),
                    ("price_version", "Price version"),
                ),
            ),
        ),
        Group(
            "Record",
            _entries(
                row,
                (
                    ("basis", "Basis of the cost"),
                    ("admitted_ms", "Admitted"),
                    ("ended_ms", "Ended"),
                    ("first_byte_ms", "First byte after"),
                    ("error_code", "Error code"),
                    ("route", "Endpoint"),
                    ("streamed", "Streamed"),
                ),
            ),
        ),
    )


def _basis_note(row: Row) -> str:
    if row["basis"] == "assumed":
        return " The cost is assumed: the process that served it died before it knew."
    if row["basis"] == "corrected":
        return " The cost was assumed at first and corrected when the truth arrived."
    return ""


def request_of(row: Row) -> RequestView:
    """The page of one request from its row of `request_one`."""
    ending = str(row["ending"]).replace("_", " ")
    candidates, details = _evidence(row)
    return RequestView(
        request_id=str(row["request_id"]),
        summary=f"Admitted {utc_time(int(row['admitted_ms']))}, {ending}.{_basis_note(row)}",
        reason=str(row["reason"]),
        cards=_cards(row),
        groups=_groups(row),
        candidates=candidates,
        details=details,
    )
