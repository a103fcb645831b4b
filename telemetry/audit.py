"""The proof that the ledger and the events say the same, to the nano-dollar.

Every entry of the ledger that has an event has exactly one, in the warehouse or still in the
outbox, with the same amount on the same UTC day; and every event but a refusal has an entry. Days
are compared by number of entries and by sum, and then entry by entry. Without `every_entry` only
days that differ are, which is quick but misses faults that cancel out within a day.

Take the books while the collector is paused, so that no event is on its way:

    with collector.paused(), open_books(path) as books:
        report = audit(books, warehouse)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

from budgets.money import format_usd
from budgets.port import EntryTotal, LedgerBooks, OutboxRow
from telemetry.event import EventKind, TelemetryEvent, event_from_json
from telemetry.warehouse import Warehouse

MAX_SHOWN = 50
OUTBOX_CHUNK_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where ledger and events disagree; amounts are None where a side has none.

    `kind`: `entry_without_event`, `event_without_entry`, `amount`, `duplicate`, `quarantined`,
    `unreadable` (an outbox row that is no event) or `day` (a day's totals, where no entry differs).
    """

    kind: str
    event_id: str
    day: str
    ledger_nano: int | None
    event_nano: int | None
    note: str = ""

    def to_text(self) -> str:
        amounts = f"ledger {_usd(self.ledger_nano)}, event {_usd(self.event_nano)}"
        note = f" ({self.note})" if self.note else ""
        return f"{self.kind}: {self.event_id or '?'} on {self.day or '?'}: {amounts}{note}"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was compared and what came of it; `differences` has the first of `difference_count`."""

    clean: bool
    every_entry: bool
    days: int
    entries: int
    events: int
    ledger_nano: int
    warehouse_nano: int
    outbox_nano: int
    difference_count: int
    differences: tuple[Difference, ...]
    faults: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The report for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """The report for people, amounts in dollars with nine decimals."""
        lines = [
            f"ledger     {format_usd(self.ledger_nano)} USD in {self.entries} entries",
            f"warehouse  {format_usd(self.warehouse_nano)} USD",
            f"outbox     {format_usd(self.outbox_nano)} USD not collected yet",
            f"events     {self.events} on {self.days} days, compared "
            + ("entry by entry" if self.every_entry else "by day"),
        ]
        if self.clean:
            shown = "entry has its event" if self.every_entry else "day adds up"
            lines.append(f"CLEAN: every {shown}, to the nano-dollar")
        else:
            found = self.difference_count + len(self.faults)
            lines.append(f"NOT CLEAN: {found} found")
        lines += [f"  ledger fault: {fault}" for fault in self.faults]
        lines += [f"  {difference.to_text()}" for difference in self.differences]
        hidden = self.difference_count - len(self.differences)
        if hidden:
            lines.append(f"  and {hidden} more")
        return "\n".join(lines)


@dataclass(slots=True)
class _Findings:
    """Differences as they are found: all are counted, the first are kept."""

    count: int = 0
    kept: list[Difference] = field(default_factory=list)

    def add(self, difference: Difference) -> None:
        self.count += 1
        if len(self.kept) < MAX_SHOWN:
            self.kept.append(difference)


def audit(books: LedgerBooks, warehouse: Warehouse, *, every_entry: bool = True) -> AuditReport:
    """Compare the ledger with warehouse and outbox; see the module for what is proven.

    `books` is one snapshot, taken while the collector is paused. Reads only.
    """
    findings = _Findings()
    _add_duplicates(warehouse, findings)
    _add_quarantined(warehouse, findings)
    waiting = _waiting_by_day(books.outbox(), warehouse, findings)
    ledger = {total.day: total for total in books.totals_by_day()}
    stored = _stored_by_day(warehouse)
    days = sorted(ledger.keys() | stored.keys() | waiting.keys())
    for day in days:
        in_ledger = ledger.get(day, EntryTotal(day, 0, 0))
        in_store = stored.get(day, EntryTotal(day, 0, 0))
        pending = waiting.get(day, {})
        same = (in_ledger.entries, in_ledger.posted_nano) == (
            in_store.entries + len(pending),
            in_store.posted_nano + sum(pending.values()),
        )
        if every_entry or not same:
            before = findings.count
            _compare_entries(day, books.entries_of_day(day), warehouse, pending, findings)
            if not same and findings.count == before:
                note = f"{in_ledger.entries} entries, {in_store.entries + len(pending)} events"
                event_nano = in_store.posted_nano + sum(pending.values())
                findings.add(Difference("day", "", day, in_ledger.posted_nano, event_nano, note))
    faults = tuple(books.faults())
    outbox_nano = sum(sum(pending.values()) for pending in waiting.values())
    return AuditReport(
        clean=findings.count == 0 and not faults,
        every_entry=every_entry,
        days=len(days),
        entries=sum(total.entries for total in ledger.values()),
        events=sum(total.entries for total in stored.values())
        + sum(len(pending) for pending in waiting.values()),
        ledger_nano=sum(total.posted_nano for total in ledger.values()),
        warehouse_nano=sum(total.posted_nano for total in stored.values()),
        outbox_nano=outbox_nano,
        difference_count=findings.count,
        differences=tuple(findings.kept),
        faults=faults,
    )


def _usd(amount_nano: int | None) -> str:
    return "nothing" if amount_nano is None else f"{format_usd(amount_nano)} USD"


def _day_of(ended_ms: int) -> str:
    return datetime.fromtimestamp(ended_ms // 1000, UTC).date().isoformat()


def _span_ms(day: str) -> tuple[int, int]:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    end = start + timedelta(days=1)
    return int(start.timestamp()) * 1000, int(end.timestamp()) * 1000


# -- the warehouse's side -------------------------------------------------------------------


def _stored_by_day(warehouse: Warehouse) -> dict[str, EntryTotal]:
    rows = warehouse.query(
        "SELECT CAST(day AS VARCHAR) AS day, entries, cost_nano FROM posting_day"
    )
    return {row["day"]: EntryTotal(row["day"], row["entries"], row["cost_nano"]) for row in rows}


def _stored_events(warehouse: Warehouse, day: str) -> dict[str, int]:
    from_ms, to_ms = _span_ms(day)
    rows = warehouse.query(
        "SELECT event_id, cost_nano FROM event "
        "WHERE kind <> 'refusal' AND ended_ms >= $from_ms AND ended_ms < $to_ms",
        {"from_ms": from_ms, "to_ms": to_ms},
    )
    return {row["event_id"]: row["cost_nano"] for row in rows}


def _add_duplicates(warehouse: Warehouse, findings: _Findings) -> None:
    rows = warehouse.query(
        "SELECT event_id, min(ended_ms) AS ended_ms, sum(cost_nano) AS cost_nano, "
        "count(*) AS copies FROM event GROUP BY event_id HAVING count(*) > 1 ORDER BY event_id"
    )
    for row in rows:
        findings.add(
            Difference(
                "duplicate",
                row["event_id"],
                _day_of(row["ended_ms"]),
                None,
                row["cost_nano"],
                f"{row['copies']} times in the warehouse",
            )
        )


def _add_quarantined(warehouse: Warehouse, findings: _Findings) -> None:
    for row in warehouse.query("SELECT seq, error FROM quarantine ORDER BY seq"):
        note = f"outbox row {row['seq']}: {row['error']}"
        findings.add(Difference("quarantined", "", "", None, None, note))


# -- the outbox's side ----------------------------------------------------------------------


def _waiting_by_day(
    rows: Iterable[OutboxRow], warehouse: Warehouse, findings: _Findings
) -> dict[str, dict[str, int]]:
    """Events that are in the outbox only, by UTC day: event id to nano-USD.

    A row that is in the warehouse as well waits to be trimmed; it must say the same there.
    """
    waiting: dict[str, dict[str, int]] = {}
    seen: set[str] = set()
    remaining = iter(rows)
    while chunk := list(islice(remaining, OUTBOX_CHUNK_ROWS)):
        stored = _stored_amounts(warehouse, [row.event_id for row in chunk])
        for row in chunk:
            event = _read_event(row, findings)
            if event is None:
                continue
            day = _day_of(event.ended_ms)
            in_store = stored.get(event.event_id)
            if event.event_id in seen:
                note = "more than once in the outbox"
                findings.add(
                    Difference("duplicate", event.event_id, day, None, event.cost_nano, note)
                )
            elif in_store is None and event.kind is not EventKind.REFUSAL:
                waiting.setdefault(day, {})[event.event_id] = event.cost_nano
            elif in_store is not None and in_store != event.cost_nano:
                note = f"the warehouse says {format_usd(in_store)} USD, the outbox"
                findings.add(Difference("amount", event.event_id, day, None, event.cost_nano, note))
            seen.add(event.event_id)
    return waiting


def _read_event(row: OutboxRow, findings: _Findings) -> TelemetryEvent | None:
    try:
        event = event_from_json(row.payload)
    except ValueError as error:
        findings.add(Difference("unreadable", row.event_id, "", None, None, str(error)[:200]))
        return None
    if event.event_id != row.event_id:
        note = f"the row's event calls itself {event.event_id}"
        findings.add(Difference("unreadable", row.event_id, "", None, None, note))
        return None
    return event


def _stored_amounts(warehouse: Warehouse, event_ids: Sequence[str]) -> dict[str, int]:
    rows = warehouse.query(
        "SELECT event_id, cost_nano FROM event "
        "WHERE event_id IN (SELECT unnest($event_ids::VARCHAR[]))",
        {"event_ids": list(event_ids)},
    )
    return {row["event_id"]: row["cost_nano"] for row in rows}


# -- side by side ---------------------------------------------------------------------------


def _compare_entries(
    day: str,
    entries: Mapping[str, int],
    warehouse: Warehouse,
    pending: Mapping[str, int],
    findings: _Findings,
) -> None:
    """Say for one day which entries and events do not match."""
    events = {**_stored_events(warehouse, day), **pending}
    for event_id, posted_nano in entries.items():
        if event_id not in events:
            findings.add(Difference("entry_without_event", event_id, day, posted_nano, None))
        elif events[event_id] != posted_nano:
            findings.add(Difference("amount", event_id, day, posted_nano, events[event_id]))
    for event_id, event_nano in events.items():
        if event_id not in entries:
            findings.add(Difference("event_without_entry", event_id, day, None, event_nano))
