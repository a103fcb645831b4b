"""One transaction for a turn of the loop, and what happens to its neighbours when a step fails."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from budgets.ledger import LedgerError
from budgets.stores.sqlite_journal import SqliteJournal
from budgets.stores.sqlite_turn import Turn, connect


class Rows:
    """A memory of one column: what the file holds, and what is still to be written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.quiet = False
        self.known: list[object] = []
        self.pending: list[object] = []

    def refresh(self) -> None:
        self.known = [row[0] for row in self.connection.execute("SELECT a FROM t ORDER BY rowid")]

    def flush(self) -> None:
        self.connection.executemany(
            "INSERT INTO t VALUES (?)", [(value,) for value in self.pending]
        )

    def filed(self) -> None:
        self.known += self.pending
        self.pending = []

    def forget(self) -> None:
        self.pending = []
        self.refresh()

    def is_quiet(self) -> bool:
        return self.quiet


class Rig:
    """A turn on a one-column table, and the statements it ran."""

    def __init__(self, path: Path) -> None:
        self.connection = connect(path)
        self.connection.execute("CREATE TABLE t(a NOT NULL)")
        self.other = sqlite3.connect(path)
        self.journal = SqliteJournal(path, connect(path), sync_ms=5)
        self.rows = Rows(self.connection)
        self.turn = Turn(self.connection, self.rows, self.journal)
        self.statements: list[str] = []
        self.connection.set_trace_callback(self.statements.append)

    def stored(self) -> list[object]:
        return [row[0] for row in self.other.execute("SELECT a FROM t ORDER BY rowid")]

    async def write(self, value: object) -> None:
        with self.turn:
            self.rows.pending.append(value)
        await self.turn.committed()


@contextmanager
def rig(path: Path) -> Iterator[Rig]:
    opened = Rig(path / "t.sqlite3")
    try:
        yield opened
    finally:
        opened.journal.stop()
        opened.connection.close()
        opened.other.close()


def tell(path: Path, story: Callable[[Rig], Awaitable[None]]) -> None:
    async def told() -> None:
        with rig(path) as opened:
            await asyncio.wait_for(story(opened), timeout=10)

    asyncio.run(told())


def test_the_steps_of_one_turn_share_one_commit(tmp_path: Path) -> None:
    async def story(opened: Rig) -> None:
        await asyncio.gather(*map(opened.write, range(20)))
        assert opened.stored() == list(range(20))
        assert opened.statements.count("BEGIN IMMEDIATE") == 1
        assert opened.statements.count("COMMIT") == 1

    tell(tmp_path, story)


def test_who_is_alone_is_committed_at_once(tmp_path: Path) -> None:
    async def story(opened: Rig) -> None:
        opened.rows.quiet = True
        with opened.turn:
            opened.rows.pending.append(1)
        waiter = opened.turn.committed()
        assert waiter.done()
        assert opened.stored() == [1]
        await opened.write(2)
        await asyncio.sleep(0)
        assert opened.stored() == [1, 2]
        assert opened.statements.count("COMMIT") == 2

    tell(tmp_path, story)


def test_who_waits_is_not_told_before_the_commit(tmp_path: Path) -> None:
    async def story(opened: Rig) -> None:
        with opened.turn:
            opened.rows.pending.append(1)
        waiter = opened.turn.committed()
        assert not waiter.done()
        assert opened.stored() == []
        await waiter
        assert opened.stored() == opened.rows.known == [1]

    tell(tmp_path, story)


def test_a_refused_step_leaves_its_turn_alone(tmp_path: Path) -> None:
    async def story(opened: Rig) -> None:
        neighbour = asyncio.ensure_future(opened.write(1))
        await asyncio.sleep(0)
        with pytest.raises(LedgerError, match="no"), opened.turn:
            raise LedgerError("no")
        await neighbour
        assert opened.stored() == [1]

    tell(tmp_path, story)


@pytest.mark.parametrize("error", [ValueError("half a step"), KeyboardInterrupt()])
def test_a_broken_step_undoes_its_turn_and_tells_everyone(
    tmp_path: Path, error: BaseException
) -> None:
    async def story(opened: Rig) -> None:
        with opened.turn:
            opened.rows.pending.append(1)
        neighbour = opened.turn.committed()
        with pytest.raises(type(error)), opened.turn:
            opened.rows.pending.append(2)
            raise error
        with pytest.raises(LedgerError, match="could not be written"):
            await neighbour
        assert opened.stored() == opened.rows.known == []
        await opened.write(3)
        assert opened.stored() == [3]

    tell(tmp_path, story)


@pytest.mark.parametrize("unstorable", [None, 1 << 64, "\ud800", object()])
def test_what_cannot_be_written_fails_its_turn_and_not_the_next(
    tmp_path: Path, unstorable: object
) -> None:
    async def story(opened: Rig) -> None:
        answers = await asyncio.gather(
            opened.write(1), opened.write(unstorable), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [LedgerError, LedgerError]
        assert opened.stored() == opened.rows.known == []
        await opened.write(3)
        assert opened.stored() == opened.rows.known == [3]

    tell(tmp_path, story)


def test_a_commit_that_fails_undoes_the_turn(tmp_path: Path) -> None:
    async def story(opened: Rig) -> None:
        opened.connection.execute("PRAGMA foreign_keys = ON")
        opened.connection.execute("CREATE TABLE parent(id INTEGER PRIMARY KEY)")
        opened.connection.execute(
            "CREATE TABLE child(id REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)"
        )
        with opened.turn:
            opened.rows.pending.append(1)
            opened.connection.execute("INSERT INTO child VALUES (7)")
        with pytest.raises(LedgerError, match="FOREIGN KEY"):
            await opened.turn.committed()
        assert opened.stored() == opened.rows.known == []
        await opened.write(2)
        assert opened.stored() == [2]

    tell(tmp_path, story)


def test_a_waiter_that_is_cancelled_leaves_alone(tmp_path: Path) -> None:
    async def story(opened: Rig) -> None:
        leaving = asyncio.ensure_future(opened.write(1))
        staying = asyncio.ensure_future(opened.write(2))
        asyncio.get_running_loop().call_soon(leaving.cancel)
        await staying
        assert leaving.cancelled()
        assert opened.stored() == [1, 2]

    tell(tmp_path, story)


def test_a_turn_begins_with_what_another_process_wrote(tmp_path: Path) -> None:
    async def story(opened: Rig) -> None:
        await opened.write(1)
        opened.other.execute("INSERT INTO t VALUES (2)")
        opened.other.commit()
        with opened.turn:
            assert opened.rows.known == [1, 2]
            opened.rows.pending.append(3)
        await opened.turn.committed()
        assert opened.stored() == [1, 2, 3]

    tell(tmp_path, story)


def test_a_closed_turn_has_nothing_to_wait_for(tmp_path: Path) -> None:
    async def story(opened: Rig) -> None:
        await opened.turn.committed()
        opened.turn.commit()
        assert opened.statements == []

    tell(tmp_path, story)


def test_a_ledger_that_is_closed_refuses_the_next_step(tmp_path: Path) -> None:
    async def story(opened: Rig) -> None:
        await opened.write(1)
        opened.connection.close()
        with pytest.raises(LedgerError, match="closed"):
            await opened.write(2)

    tell(tmp_path, story)
