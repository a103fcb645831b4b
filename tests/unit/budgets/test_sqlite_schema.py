"""A ledger file of an earlier version is widened when it is opened, and keeps its money."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from budgets.ledger import Account, Bill, HoldState, LedgerError
from budgets.openings import PartySpend
from budgets.scopes import Scopes
from budgets.stores.in_sqlite import SqliteLedger
from budgets.stores.sqlite_books import open_books
from budgets.stores.sqlite_schema import make_tables, missing_columns
from tests.contracts.ledger_backends import (
    NOON_MS,
    bill,
    charge,
    event,
    reservation,
    sent,
    shaper,
    spent,
)

ANA = Scopes(org="o", team="t", key="k", workflow="t/w", run="")
OVER_MS = NOON_MS + 100_000
# The tables as they were before there were parties, and before there were units.
WITHOUT_PARTIES = """
CREATE TABLE account (
    account      TEXT PRIMARY KEY,
    posted_nano  INTEGER NOT NULL DEFAULT 0 CHECK (posted_nano >= 0),
    held_nano    INTEGER NOT NULL DEFAULT 0 CHECK (held_nano >= 0),
    overrun_nano INTEGER NOT NULL DEFAULT 0 CHECK (overrun_nano >= 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE hold (
    slot           INTEGER PRIMARY KEY,
    hold_id        TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('held', 'dispatched')),
    amount_nano    INTEGER NOT NULL CHECK (amount_nano >= 0),
    accounts       TEXT NOT NULL,
    admitted_ms    INTEGER NOT NULL,
    lease_until_ms INTEGER NOT NULL,
    draft          BLOB
) STRICT;
CREATE TABLE entry (
    hold_id      TEXT NOT NULL,
    correction   INTEGER NOT NULL DEFAULT 0,
    state        TEXT NOT NULL,
    posted_nano  INTEGER NOT NULL,
    overrun_nano INTEGER NOT NULL,
    accounts     TEXT NOT NULL,
    event_id     TEXT,
    ended_ms     INTEGER NOT NULL,
    PRIMARY KEY (hold_id, correction)
) STRICT, WITHOUT ROWID;
CREATE TABLE outbox (
    seq      INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL,
    payload  BLOB NOT NULL
) STRICT;
INSERT INTO account VALUES ('org:o', 12, 70, 5);
INSERT INTO hold VALUES
    (1, 'h2', 'held', 30, '["org:o"]', 1793491200000, 1793491260000, NULL),
    (2, 'h3', 'dispatched', 40, '["org:o"]', 1793491200000, 1793491260000, x'6833');
INSERT INTO entry VALUES
    ('h1', 0, 'settled', 12, 5, '["org:o"]', 'h1', 1793491201000);
INSERT INTO outbox VALUES (1, 'h1', x'7b7d');
"""
WITH_PARTIES = """
ALTER TABLE hold ADD COLUMN parties TEXT;
ALTER TABLE entry ADD COLUMN parties TEXT;
ALTER TABLE entry ADD COLUMN admitted_ms INTEGER NOT NULL DEFAULT 0;
CREATE TABLE counting (budget TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
UPDATE hold SET parties = '["o","t","k","t/w",""]';
UPDATE entry SET parties = '["o","t","k","t/w",""]', admitted_ms = 1793491200000;
"""
VERSIONS = pytest.mark.parametrize(
    "script", [WITHOUT_PARTIES, WITHOUT_PARTIES + WITH_PARTIES], ids=["no parties", "no units"]
)


def columns(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as file:
        return {
            table: [row[1:5] for row in file.execute(f"PRAGMA table_info({table})")]
            for table in ("account", "hold", "entry", "counting", "outbox")
        }


def write_as_before(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.executescript(script)


@VERSIONS
def test_a_ledger_of_before_gets_the_columns_of_a_new_one_in_their_order(
    tmp_path: Path, script: str
) -> None:
    write_as_before(tmp_path / "old", script)
    for name in ("old", "new"):
        with closing(sqlite3.connect(tmp_path / name)) as file:
            make_tables(file)
            make_tables(file)
            assert missing_columns(file) == []
    assert columns(tmp_path / "old") == columns(tmp_path / "new")


@VERSIONS
def test_a_ledger_of_before_keeps_its_money_and_takes_every_kind_of_move(
    tmp_path: Path, script: str
) -> None:
    path, has_parties = tmp_path / "ledger.sqlite3", "parties" in script
    write_as_before(path, script)
    tokens = "team:t|day/tokens|0"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        assert await ledger.survey(["org:o"]) == {"org:o": Account(12, 70, 5)}
        again = await ledger.reserve(reservation("h2", 30))
        assert (again.amounts, again.scopes) == ((), ANA if has_parties else None)  # type: ignore[union-attr]
        await ledger.extend(again, reservation("h2", 35))  # type: ignore[arg-type]
        ended = {done.hold_id: done.state for done in await ledger.expire(OVER_MS)}
        assert ended == {"h2": HoldState.EXPIRED_FREED, "h3": HoldState.EXPIRED_CHARGED}
        asked = reservation("h4", 50, charge("org:o"), charge(tokens), tokens=90)
        away = await sent(ledger, replace(asked, scopes=replace(ANA, user="t/u")))
        billed = replace(bill(asked, 4, 80), model="m")
        await ledger.settle(away, 4, event("h4"), billed)
        assert await ledger.survey(["org:o", tokens]) == {
            "org:o": Account(56, 0, 5),
            tokens: Account(80),
        }
        ledger.close()

    asyncio.run(story())
    with open_books(path) as books:
        assert list(books.faults()) == []
        new = PartySpend(replace(ANA, user="t/u", model="m"), ("org:o", tokens), 0, 4, 80, 1)
        old = PartySpend(ANA, ("org:o",), 0, 52, 0, 2)
        found = set(books.spent_by_party(0, None))
        assert found == ({new, old} if has_parties else {new})


def test_books_of_a_ledger_that_nobody_has_widened_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    write_as_before(path, WITHOUT_PARTIES)
    with pytest.raises(LedgerError, match="start the gateway once"), open_books(path):
        pass
    SqliteLedger(path, shaper()).close()
    with open_books(path) as books:
        assert list(books.faults()) == []


def test_a_ledger_of_today_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        away = await sent(ledger, replace(reservation("h1", 50), scopes=ANA))
        await ledger.settle(away, 7, event("h1"), Bill(3, "m"))
        await spent(ledger, reservation("h2", 50), 8)
        ledger.close()

    asyncio.run(story())
    before = columns(path)
    with closing(sqlite3.connect(path)) as file:
        version = file.execute("PRAGMA schema_version").fetchone()
        make_tables(file)
        assert file.execute("PRAGMA schema_version").fetchone() == version
        rows = file.execute("SELECT posted_nano, postings, tokens FROM entry").fetchall()
    assert (rows, columns(path)) == ([(7, None, 3), (8, None, 0)], before)
