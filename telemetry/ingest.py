"""Outbox rows into the `event` table: a batch is one JSON text, one statement and one transaction.

DuckDB reads the JSON itself, outside Python's lock, so a row costs Python next to nothing. Only
when a batch is refused are its rows looked at one by one: those known already are left out, those
that are no event go to quarantine, and all others go in.

`event` has no index. One over random ids took 71 MB of memory for each million events and stopped
the writer once it had filled DuckDB's memory limit. What keeps a row from going in twice is the
sequence number, which is committed together with the rows, and a look at the ids of the same time.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields

import duckdb
import orjson

from telemetry.event import TelemetryEvent, completed_event

# What DuckDB and the decoder raise for content; anything else is a fault of the database.
_REFUSED = (
    duckdb.ConstraintException,
    duckdb.ConversionException,
    duckdb.InvalidInputException,
    duckdb.InvalidTypeException,
    duckdb.OutOfRangeException,
    ValueError,
)
_SQL_TYPES: Mapping[object, str] = {int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}
COLUMNS: Mapping[str, str] = {
    field.name: _SQL_TYPES.get(field.type, "VARCHAR") for field in fields(TelemetryEvent)
}
_PARSE = "SELECT {columns} FROM (SELECT unnest(from_json_strict(?, '{shape}')) AS e)".format(
    columns=", ".join(f"e.{name}" for name in COLUMNS),
    shape=orjson.dumps([COLUMNS]).decode(),
)
_INSERT = f"INSERT INTO event {_PARSE}"
# The same event has the same end, so DuckDB looks for a repeat only in the row groups of that time.
_GLANCE = """
WITH batch AS MATERIALIZED (
    SELECT e.event_id, e.ended_ms FROM (
        SELECT unnest(from_json_strict(?, '[{"event_id":"VARCHAR","ended_ms":"BIGINT"}]')) AS e
    )
)
SELECT
    count(*),
    count(DISTINCT event_id),
    (SELECT count(*) FROM event SEMI JOIN batch USING (event_id, ended_ms))
FROM batch
"""
_QUARANTINE = """
INSERT INTO quarantine
SELECT $source, $seq, $payload, $error, $at_ms
WHERE NOT EXISTS (
    SELECT 1 FROM quarantine WHERE source = $source AND seq = $seq AND payload = $payload
)
"""

SeqPayload = tuple[int, bytes]


class UnfitBatchError(ValueError):
    """A batch whose rows are not one new event each."""


def read_last_seq(cursor: duckdb.DuckDBPyConnection, source: str) -> int:
    """The last row of the source that is in the warehouse; 0 before the first."""
    row = cursor.execute(
        "SELECT last_seq FROM collector_state WHERE source = ?", [source]
    ).fetchone()
    return int(row[0]) if row else 0


def write_last_seq(cursor: duckdb.DuckDBPyConnection, source: str, seq: int) -> None:
    cursor.execute(
        "INSERT INTO collector_state VALUES (?, ?) "
        "ON CONFLICT (source) DO UPDATE SET last_seq = excluded.last_seq",
        [source, seq],
    )


def known_ids(cursor: duckdb.DuckDBPyConnection, event_ids: Sequence[str]) -> set[str]:
    """Those of the ids that are in the warehouse."""
    found = cursor.execute(
        "SELECT event_id FROM event WHERE event_id IN (SELECT unnest(?::VARCHAR[]))",
        [list(event_ids)],
    ).fetchall()
    return {row[0] for row in found}


def insert_batch(cursor: duckdb.DuckDBPyConnection, source: str, rows: Sequence[SeqPayload]) -> int:
    """Add rows in ascending order of seq, with the seq they end on; return that seq.

    Offering a row again changes nothing.
    """
    last_seq = read_last_seq(cursor, source)
    offered = [row for row in rows if row[0] > last_seq]
    if not offered:
        return last_seq
    newest = offered[-1][0]
    try:
        _commit(cursor, source, newest, offered)
    except _REFUSED:
        new = _without_known(cursor, offered)
        try:
            _commit(cursor, source, newest, new)
        except _REFUSED:
            good, faults = _sift(cursor, new)
            _commit(cursor, source, newest, good, faults)
    return newest


def _commit(
    cursor: duckdb.DuckDBPyConnection,
    source: str,
    newest: int,
    rows: Sequence[SeqPayload],
    faults: Sequence[tuple[SeqPayload, str]] = (),
) -> None:
    """One transaction: the events, what is no event, and how far the source is read."""
    with _transaction(cursor):
        if rows:
            text = _json_array([payload for _, payload in rows])
            _require_new(cursor, text, len(rows))
            cursor.execute(_INSERT, [text])
        for (seq, payload), error in faults:
            cursor.execute(
                _QUARANTINE,
                {
                    "source": source,
                    "seq": seq,
                    "payload": payload,
                    "error": error,
                    "at_ms": time.time_ns() // 1_000_000,
                },
            )
        write_last_seq(cursor, source, newest)


def _require_new(cursor: duckdb.DuckDBPyConnection, text: str, rows: int) -> None:
    """Raise UnfitBatchError unless the text holds so many events, all different and none known."""
    events, ids, known = cursor.execute(_GLANCE, [text]).fetchall()[0]
    if (events, ids, known) != (rows, rows, 0):
        raise UnfitBatchError(f"{rows} rows hold {events} events, {ids} ids, {known} known ones")


@contextmanager
def _transaction(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    cursor.execute("BEGIN")
    try:
        yield
        cursor.execute("COMMIT")
    except duckdb.FatalException:
        raise  # the whole database is gone from memory; there is nothing left to roll back
    except (duckdb.Error, ValueError):
        _roll_back(cursor)
        raise


def _roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    try:
        cursor.execute("ROLLBACK")
    except duckdb.TransactionException:
        return  # a failed COMMIT has rolled back by itself


def _json_array(payloads: Sequence[bytes]) -> str:
    return (b"[" + b",".join(payloads) + b"]").decode()


def _without_known(
    cursor: duckdb.DuckDBPyConnection, rows: Sequence[SeqPayload]
) -> list[SeqPayload]:
    """The rows whose event is neither in the warehouse nor earlier in the batch."""
    ids = [_event_id(payload) for _, payload in rows]
    seen = known_ids(cursor, [event_id for event_id in ids if event_id is not None])
    new = []
    for row, event_id in zip(rows, ids, strict=True):
        if event_id is None:
            new.append(row)
        elif event_id not in seen:
            seen.add(event_id)
            new.append(row)
    return new


def _event_id(payload: bytes) -> str | None:
    try:
        found = orjson.loads(payload)["event_id"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, str) else None


def _sift(
    cursor: duckdb.DuckDBPyConnection, rows: Sequence[SeqPayload]
) -> tuple[list[SeqPayload], list[tuple[SeqPayload, str]]]:
    """Part the rows into events and, with the reason, what is none."""
    good: list[SeqPayload] = []
    faults: list[tuple[SeqPayload, str]] = []
    for seq, payload in rows:
        error = _fault(cursor, payload)
        # What an earlier version left in the outbox lacks the fields that came later.
        completed = payload if error is None else completed_event(payload)
        if error is None or (completed != payload and _fault(cursor, completed) is None):
            good.append((seq, completed))
        else:
            faults.append(((seq, payload), error))
    return good, faults


def _fault(cursor: duckdb.DuckDBPyConnection, payload: bytes) -> str | None:
    """Why the payload is no event, asked of the parser that will read it."""
    try:
        parsed = cursor.execute(_PARSE, [_json_array([payload])]).fetchall()
    except _REFUSED as error:
        return str(error)[:500]
    if len(parsed) != 1:
        return f"holds {len(parsed)} events"
    missing = [name for place, name in enumerate(COLUMNS) if parsed[0][place] is None]
    unknown = [name for name in missing if COLUMNS[name] != "DOUBLE"]
    return f"no value for {', '.join(unknown)}" if unknown else None
