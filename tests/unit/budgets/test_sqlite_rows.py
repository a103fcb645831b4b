"""What is written into a row of the ledger file is what is read from it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from budgets.ledger import Hold, HoldState, Settlement
from budgets.scopes import Scopes
from budgets.stores.engine import Entry
from budgets.stores.sqlite_rows import parties_json, parties_of
from budgets.stores.sqlite_schema import make_tables
from budgets.stores.sqlite_shelf import SqliteShelf

ANA = Scopes(org="o", team="t", key="k", workflow="t/w", run="")
NAMES = st.text(max_size=8)
SCOPES = st.builds(
    Scopes,
    *[NAMES] * 5,
    parents=st.lists(NAMES, max_size=2).map(tuple),
    user=NAMES,
    tags=st.lists(NAMES, max_size=2).map(tuple),
    model=NAMES,
)
PLAIN_HOLD = Hold("h1", HoldState.HELD, 7, ("org:o", "key:k"), 1, 2, ANA)
PLAIN_ENTRY = Entry(
    Settlement("h1", HoldState.SETTLED, 7, 1), ("org:o", "key:k"), "e1", 3, 1, ANA, tokens=5
)


@contextmanager
def shelf() -> Iterator[tuple[SqliteShelf, sqlite3.Connection]]:
    file = sqlite3.connect(":memory:", isolation_level=None)
    make_tables(file)
    yield SqliteShelf(file), file
    file.close()


def written(shelf: SqliteShelf) -> None:
    """Write, and know only what was written."""
    shelf.flush()
    shelf.filed()
    shelf.forget()


@given(SCOPES)
def test_parties_are_read_as_they_were_written(scopes: Scopes) -> None:
    assert parties_of(parties_json(scopes)) == scopes


def test_five_parties_are_written_as_they_were_before_there_were_more() -> None:
    assert json.loads(parties_json(ANA)) == ["o", "t", "k", "t/w", ""]
    assert parties_of('["o","t","k","t/w",""]') == ANA
    tagged = json.loads(parties_json(replace(ANA, tags=("t/a=1",))))
    assert tagged == ["o", "t", "k", "t/w", "", [], "", ["t/a=1"]]


def test_a_hold_is_read_as_it_was_written_with_amounts_or_without() -> None:
    for hold in (
        PLAIN_HOLD,
        replace(PLAIN_HOLD, scopes=None),
        replace(PLAIN_HOLD, state=HoldState.DISPATCHED, amounts=(7, 300)),
        replace(PLAIN_HOLD, scopes=replace(ANA, parents=("t/p",), model="m"), amounts=(7, 0)),
    ):
        with shelf() as (kept, file):
            kept.put_hold(hold, b"draft")
            written(kept)
            assert kept.hold("h1") == hold
            assert kept.draft("h1") == b"draft"
            [(amounts,)] = file.execute("SELECT amounts FROM hold").fetchall()
            assert (amounts is None) == (not hold.amounts)


def test_a_hold_that_grows_keeps_its_one_row_and_its_draft() -> None:
    with shelf() as (kept, file):
        kept.put_hold(PLAIN_HOLD, b"draft")
        written(kept)
        kept.put_hold(replace(PLAIN_HOLD, amount_nano=9), kept.draft("h1"))
        assert kept.draft("h1") == b"draft"
        written(kept)
        assert file.execute("SELECT amount_nano, draft FROM hold").fetchall() == [(9, b"draft")]


def test_an_entry_is_read_as_it_was_written_with_postings_or_without() -> None:
    for entry in (
        PLAIN_ENTRY,
        replace(PLAIN_ENTRY, scopes=None, event_id=None, tokens=0),
        replace(PLAIN_ENTRY, each=((7, 1), (300, 0))),
        replace(
            PLAIN_ENTRY,
            settlement=replace(PLAIN_ENTRY.settlement, posted_nano=-2, correction=True),
            each=((-2, 0), (0, 0)),
            tokens=-4,
        ),
    ):
        with shelf() as (kept, file):
            kept.add_entry(entry)
            written(kept)
            assert kept.entry("h1", correction=entry.settlement.correction) == entry
            assert kept.entry("h1", correction=not entry.settlement.correction) is None
            [(postings,)] = file.execute("SELECT postings FROM entry").fetchall()
            assert (postings is None) == (not entry.each)
