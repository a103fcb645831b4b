"""The SQLite ledger on a disk that is full, locked, damaged or slow."""

import asyncio
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from budgets.ledger import Account, LedgerError
from budgets.port import OutboxEvent
from budgets.stores.in_sqlite import SqliteLedger
from budgets.stores.sqlite_books import open_books
from tests.contracts.ledger_backends import event, held, reservation, sent, shaper, spent

ROOT = Path(__file__).resolve().parents[2]
LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def mount_is_allowed() -> bool:
    """Whether this machine lets a process mount a file system of its own."""
    if not shutil.which("unshare"):
        return False
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """A disk quota without a disk: no file of this process grows beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_log_that_cannot_grow_is_an_error_that_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        await spent(ledger, reservation("before", 10), 7)
        running = [await sent(ledger, reservation(f"running-{n}", 10)) for n in range(3)]
        with files_no_longer_than((tmp_path / "ledger.sqlite3-wal").stat().st_size):
            failures = await asyncio.gather(
                *(ledger.settle(hold, 7, event(hold.hold_id)) for hold in running),
                return_exceptions=True,
            )
            assert all(isinstance(failure, LedgerError) for failure in failures), failures
            assert await ledger.survey(["org:o"]) == {"org:o": Account(7, 30, 0)}
            hold = await held(ledger, reservation("never", 10))
            with pytest.raises(LedgerError, match="could not be written"):
                await ledger.dispatch(hold, b"never")
        assert await ledger.survey(["org:o"]) == {"org:o": Account(7, 30, 0)}
        for hold in running:
            assert not (await ledger.settle(hold, 7, event(hold.hold_id))).repeated
        assert await ledger.survey(["org:o"]) == {"org:o": Account(28, 0, 0)}
        ledger.close()

    asyncio.run(story())
    with open_books(path) as books:
        assert list(books.faults()) == []
        assert len(list(books.outbox())) == 4


@pytest.mark.skipif(not mount_is_allowed(), reason="needs the right to mount a tmpfs")
def test_a_full_disk_is_survived_and_works_again_once_there_is_space(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=2m none '{tmp_path}'"
    command = f"{mount} && exec '{sys.executable}' -m tests.faults.full_disk_child '{tmp_path}'"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "survived", done.stderr


@contextmanager
def locked_by_another_process(path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process holds the write lock until its stdin is closed."""
    child = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        assert child.stdout.readline() == b"locked\n"
        yield child
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait()


def test_a_lock_of_another_process_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        with locked_by_another_process(path) as other:
            assert other.stdin is not None
            release = threading.Timer(0.3, other.stdin.close)
            release.start()
            await spent(ledger, reservation("h1", 10), 7)
            assert not release.is_alive()
        assert await ledger.survey(["org:o"]) == {"org:o": Account(7, 0, 0)}
        ledger.close()

    asyncio.run(story())


def test_a_lock_that_is_not_given_back_is_a_ledger_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        with locked_by_another_process(path):
            with pytest.raises(LedgerError, match="locked"):
                await ledger.reserve(reservation("h1", 10))
            assert await ledger.survey(["org:o"]) == {}
        await spent(ledger, reservation("h1", 10), 7)
        ledger.close()

    asyncio.run(story())


def test_an_event_that_cannot_be_stored_takes_its_entry_back_with_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    unstorable = OutboxEvent("e1", None, 0)  # type: ignore[arg-type]

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        hold = await sent(ledger, reservation("h1", 10))
        with pytest.raises(LedgerError, match="could not be written"):
            await ledger.settle(hold, 7, unstorable)
        assert await ledger.survey(["org:o"]) == {"org:o": Account(0, 10, 0)}
        with open_books(path) as books:
            assert list(books.totals_by_day()) == []
        assert not (await ledger.settle(hold, 7, event("h1"))).repeated
        ledger.close()

    asyncio.run(story())


@pytest.mark.parametrize("content", [b"this is no database" * 300, b"\x00" * 5000])
def test_a_damaged_file_is_a_ledger_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite3"):
        SqliteLedger(path, shaper())
    with pytest.raises(LedgerError, match=r"ledger\.sqlite3"), open_books(path):
        pass
    assert path.read_bytes() == content


def test_a_directory_that_is_not_there_is_a_ledger_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="could not be opened"):
        SqliteLedger(tmp_path / "missing" / "ledger.sqlite3", shaper())
    with pytest.raises(LedgerError, match="no ledger"), open_books(tmp_path / "missing.sqlite3"):
        pass
    assert list(tmp_path.iterdir()) == []
