"""The thread that keeps the write-ahead log on the disk, and short."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from budgets.stores import sqlite_journal
from budgets.stores.in_sqlite import SqliteLedger
from budgets.stores.sqlite_journal import SqliteJournal
from budgets.stores.sqlite_turn import connect
from tests.contracts.ledger_backends import reservation, shaper, spent

DEADLINE_S = 10


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < give_up_s, "it never happened"
        pause.wait(0.001)


def test_a_write_is_synced_to_the_disk_without_being_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def sync(descriptor: int) -> None:
        os.fsync(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(sqlite_journal, "SYNC", sync)
    path = tmp_path / "ledger.sqlite3"
    writer = connect(path)
    journal = SqliteJournal(path, connect(path), sync_ms=1)
    writer.execute("CREATE TABLE t(a)")
    journal.wrote(writer.total_changes)
    wait_until(lambda: bool(synced))
    assert synced[0] == (tmp_path / "ledger.sqlite3-wal").stat().st_size
    before = len(synced)
    writer.execute("INSERT INTO t VALUES (1)")
    journal.wrote(writer.total_changes)
    wait_until(lambda: len(synced) > before)
    journal.stop()
    writer.close()


def test_stopping_syncs_what_is_left_and_ends_the_thread(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    before = threading.active_count()
    journal = SqliteJournal(path, connect(path), sync_ms=60_000)
    journal.wrote(1)
    journal.stop()
    assert threading.active_count() == before


def test_a_sync_that_fails_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def sync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sqlite_journal, "SYNC", sync)
    path = tmp_path / "ledger.sqlite3"
    writer = connect(path)
    writer.execute("CREATE TABLE t(a)")
    journal = SqliteJournal(path, connect(path), sync_ms=1)
    journal.wrote(1)
    wait_until(lambda: "may not survive a power cut" in caplog.text)
    journal.wrote(2)
    wait_until(lambda: len(calls) > 1)
    journal.stop()
    writer.close()


def test_a_long_log_is_ended_once_and_not_at_every_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_journal, "CHECKPOINT_CHANGES", 100)
    syncs: list[int] = []
    monkeypatch.setattr(sqlite_journal, "SYNC", syncs.append)
    path = tmp_path / "ledger.sqlite3"
    writer = connect(path)
    writer.execute("CREATE TABLE t(a)")
    journal = SqliteJournal(path, connect(path), sync_ms=1)
    assert not journal.wrote(100)
    wait_until(lambda: journal.wrote(101))
    for _ in range(5):
        seen = len(syncs)
        assert not journal.wrote(190)
        wait_until(lambda seen=seen: len(syncs) > seen)  # type: ignore[misc]
    wait_until(lambda: journal.wrote(300))
    journal.stop()
    writer.close()


def test_the_log_stays_short_under_constant_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_journal, "CHECKPOINT_CHANGES", 200)
    path = tmp_path / "ledger.sqlite3"
    sizes: list[int] = []

    async def load() -> None:
        ledger = SqliteLedger(path, shaper(), journal_sync_ms=1)

        async def worker(number: int) -> None:
            for count in range(100):
                await spent(ledger, reservation(f"h{number}-{count}", 5), 5)

        for part in range(40):
            await asyncio.gather(*(worker(part * 8 + number) for number in range(8)))
            sizes.append((tmp_path / "ledger.sqlite3-wal").stat().st_size)
            if len(sizes) >= 3 and sizes[-3] == sizes[-1]:
                break  # a log that is begun anew keeps its size
        ledger.close()

    asyncio.run(load())
    assert sizes[-3] == sizes[-1], sizes
    assert not (tmp_path / "ledger.sqlite3-wal").exists()
