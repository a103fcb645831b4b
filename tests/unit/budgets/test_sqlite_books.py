"""`budgets.stores.sqlite_books`: what SQL says of accounts is what their names say."""

import sqlite3
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from budgets.ledger import Account
from budgets.rolling import RollingWindow
from budgets.scopes import AnyWindow, ScopeKind, Window
from budgets.stores.account_names import accounts_in, largest_of
from budgets.stores.sqlite_books import SqliteBooks
from budgets.stores.sqlite_schema import make_tables

SCOPE_IDS = st.sampled_from(["a", "b7", "lab/run-12", "lab/ü|day|7", "lab/0", "x|total|", "|", "9"])
WINDOWS: tuple[AnyWindow, ...] = (Window.DAY, Window.TOTAL, RollingWindow(86_400))
AMOUNTS = st.integers(0, 5)
ACCOUNTS = st.dictionaries(
    st.tuples(
        st.sampled_from([ScopeKind.RUN, ScopeKind.KEY]),
        SCOPE_IDS,
        st.sampled_from(WINDOWS),
        st.sampled_from([0, 7, 77]),
    ),
    st.builds(Account, AMOUNTS, AMOUNTS, AMOUNTS),
)


@given(
    ACCOUNTS,
    st.sampled_from(WINDOWS),
    st.lists(st.sampled_from([0, 7, 77, 777]), unique=True),
    st.sets(SCOPE_IDS),
    st.integers(1, 4),
)
def test_the_largest_scopes_by_sql_are_those_by_name(
    named: dict[tuple[ScopeKind, str, AnyWindow, int], Account],
    window: AnyWindow,
    starts: list[int],
    without: set[str],
    limit: int,
) -> None:
    accounts = {f"{k.value}:{i}|{w.value}|{s}": account for (k, i, w, s), account in named.items()}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        make_tables(connection)
        rows = [(name, a.posted_nano, a.held_nano, a.overrun_nano) for name, a in accounts.items()]
        connection.executemany("INSERT INTO account VALUES (?, ?, ?, ?)", rows)
        books = SqliteBooks(connection)
        number, found = books.largest(ScopeKind.RUN, window, starts, without, limit)
        assert (books.open_holds(), books.open_runs()) == (0, set())
    by_name = accounts_in(accounts.items(), ScopeKind.RUN, window, starts)
    expected_number, expected = largest_of(by_name, without, limit)
    assert number == expected_number
    assert list(found.items()) == list(expected.items())
