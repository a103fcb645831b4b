"""What the SQLite ledger holds, read as one consistent snapshot for the audit."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from budgets.ledger import Account, LedgerError
from budgets.openings import PartySpend
from budgets.port import EntryTotal, OutboxRow
from budgets.scopes import AnyWindow, ScopeKind, Unit
from budgets.stores.account_names import accounts_in
from budgets.stores.sqlite_rows import parties_of
from budgets.stores.sqlite_schema import missing_columns

_ACCOUNT_FAULTS = """
WITH posted AS (
    SELECT j.value AS account,
           SUM(CASE WHEN e.postings IS NULL THEN e.posted_nano
               ELSE json_extract(e.postings, '$[' || j.key || '][0]') END) AS nano,
           SUM(CASE WHEN e.postings IS NULL THEN e.overrun_nano
               ELSE json_extract(e.postings, '$[' || j.key || '][1]') END) AS overrun_nano
    FROM entry e, json_each(e.accounts) j GROUP BY 1
), held AS (
    SELECT j.value AS account,
           SUM(CASE WHEN h.amounts IS NULL THEN h.amount_nano
               ELSE json_extract(h.amounts, '$[' || j.key || ']') END) AS nano
    FROM hold h, json_each(h.accounts) j GROUP BY 1
), named AS (
    SELECT account FROM account UNION SELECT account FROM posted UNION SELECT account FROM held
)
SELECT n.account,
       COALESCE(a.posted_nano, 0), COALESCE(p.nano, 0),
       COALESCE(a.held_nano, 0), COALESCE(h.nano, 0),
       COALESCE(a.overrun_nano, 0), COALESCE(p.overrun_nano, 0)
FROM named n
LEFT JOIN account a USING (account)
LEFT JOIN posted p USING (account)
LEFT JOIN held h USING (account)
WHERE COALESCE(a.posted_nano, 0) <> COALESCE(p.nano, 0)
   OR COALESCE(a.held_nano, 0) <> COALESCE(h.nano, 0)
   OR COALESCE(a.overrun_nano, 0) <> COALESCE(p.overrun_nano, 0)
ORDER BY 1 LIMIT 100
"""
# `Entry.requests`, where there are parties.
_ANSWERED = "correction = 0 AND state IN ('settled', 'expired_charged')"
_DAY = "date(ended_ms / 1000, 'unixepoch')"


class SqliteBooks:
    """`SeedingBooks` over one open read transaction."""

    as_of = ""  # one gateway alone has no older totals

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def totals_by_day(self) -> Iterable[EntryTotal]:
        rows = self._connection.execute(
            f"SELECT {_DAY}, COUNT(*), SUM(posted_nano) FROM entry "
            "WHERE event_id IS NOT NULL GROUP BY 1 ORDER BY 1"
        )
        return [EntryTotal(*row) for row in rows]

    def entries_of_day(self, day: str) -> Mapping[str, int]:
        rows = self._connection.execute(
            f"SELECT event_id, posted_nano FROM entry WHERE event_id IS NOT NULL AND {_DAY} = ?",
            (day,),
        )
        return dict(rows.fetchall())

    def spent_by_party(self, since_ms: int, bucket_s: int | None) -> Iterable[PartySpend]:
        start = "0" if bucket_s is None else f"(admitted_ms / 1000) / {bucket_s:d} * {bucket_s:d}"
        rows = self._connection.execute(
            f"SELECT parties, accounts, {start}, SUM(posted_nano), SUM(tokens), SUM({_ANSWERED}) "
            "FROM entry WHERE parties IS NOT NULL AND admitted_ms >= ? GROUP BY 1, 2, 3",
            (since_ms,),
        )
        for parties, accounts, *amounts in rows:
            yield PartySpend(parties_of(parties), tuple(json.loads(accounts)), *amounts)

    def outbox(self) -> Iterable[OutboxRow]:
        rows = self._connection.execute("SELECT seq, event_id, payload FROM outbox ORDER BY seq")
        return [OutboxRow(*row) for row in rows]

    def accounts(
        self,
        kind: ScopeKind,
        window: AnyWindow,
        starts: Collection[int],
        unit: Unit = Unit.USD,
    ) -> Mapping[str, Account]:
        """What is in the accounts of a kind that begin at any of `starts`, by scope id."""
        rows = self._connection.execute(
            "SELECT account, posted_nano, held_nano, overrun_nano FROM account "
            "WHERE account >= ? AND account < ? ORDER BY account",
            (f"{kind.value}:", f"{kind.value};"),
        )
        named = ((name, Account(*amounts)) for name, *amounts in rows)
        return accounts_in(named, kind, window, starts, unit)

    def faults(self) -> Sequence[str]:
        rows = self._connection.execute(_ACCOUNT_FAULTS)
        return [
            f"account {name}: posted {posted} but entries say {entries}, "
            f"held {held} but open holds say {holds}, "
            f"overrun {overrun} but entries say {entry_overrun}"
            for name, posted, entries, held, holds, overrun, entry_overrun in rows
        ]


@contextmanager
def open_books(path: Path) -> Iterator[SqliteBooks]:
    """The books of the ledger file at `path`, unchanged by whatever is written meanwhile.

    Raise LedgerError where there is no such file, or it holds no ledger, or one that no gateway of
    this version has opened yet.
    """
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=5.0
        )
    except sqlite3.Error as error:
        raise LedgerError(f"no ledger to read at {path}: {error}") from error
    with closing(connection):
        try:
            connection.execute("BEGIN")
            # A transaction sees the file as it is at its first read, so this is the moment.
            connection.execute("SELECT 1 FROM account LIMIT 1").fetchall()
            of_before = missing_columns(connection)
        except sqlite3.Error as error:
            raise LedgerError(f"no ledger to read at {path}: {error}") from error
        if of_before:
            raise LedgerError(
                f"the ledger at {path} is of an earlier version; start the gateway once, which "
                "brings it up to date"
            )
        yield SqliteBooks(connection)
