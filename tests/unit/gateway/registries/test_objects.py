"""What an owned object may be called, and what happens to its stores that only one of them has.

What all stores do is in tests/contracts/test_owned_objects.py.
"""

import sqlite3
from pathlib import Path

import pytest
from redis import Redis

from gateway.registries.in_redis import SharedRedis
from gateway.registries.objects import ObjectKind, OwnedObject, may_be_an_id
from gateway.registries.objects_in_redis import RedisObjects
from gateway.registries.objects_in_sqlite import SqliteObjects
from gateway.registries.port import RegistryError
from tests.contracts.redis_server import shared_server
from tests.unit.gateway.desks import run

FILE = ObjectKind.FILE


def a_file(object_id: str = "file-1") -> OwnedObject:
    return OwnedObject(FILE, object_id, "lab", "openai", 5, "")


@pytest.mark.parametrize("text", ["f", "file-abc_1", "x" * 256, "batch ü 本"])
def test_an_id_is_a_short_printable_text(text: str) -> None:
    assert may_be_an_id(text)
    assert a_file(text).object_id == text


@pytest.mark.parametrize("text", ["", "x" * 257, "a\nb", "a\x1fb", "\x00", "\ud800"])
def test_what_cannot_be_an_id_is_no_object(text: str) -> None:
    assert not may_be_an_id(text)
    with pytest.raises(ValueError, match="1 to 256 printable characters"):
        a_file(text)


def test_two_objects_are_equal_by_what_they_say() -> None:
    assert a_file() == a_file()
    assert len({a_file(), a_file(), a_file("file-2")}) == 2


def test_files_and_batches_wait_for_the_disk_and_responses_do_not(tmp_path: Path) -> None:
    store = SqliteObjects(tmp_path / "keys.sqlite3")

    def level() -> int:
        [[found]] = store._rows("PRAGMA synchronous")
        return int(found)

    async def story() -> None:
        full, normal = 2, 1
        for kind, expected in (
            (FILE, full),
            (ObjectKind.RESPONSE, normal),
            (ObjectKind.BATCH, full),
            (ObjectKind.CONVERSATION, normal),
        ):
            await store.claim(OwnedObject(kind, "one", "lab", "", 5, ""))
            assert level() == expected
        await store.aclose()

    run(story())


def test_a_file_that_another_writer_holds_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite3"
    store = SqliteObjects(path)
    store._connection.execute("PRAGMA busy_timeout=1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def story() -> None:
        with pytest.raises(RegistryError, match=r"keys\.sqlite3: database is locked"):
            await store.claim(a_file())
        other.execute("ROLLBACK")
        assert await store.claim(a_file()) == a_file()
        await store.aclose()

    run(story())
    other.close()


def test_each_question_of_sqlite_is_answered_by_an_index(tmp_path: Path) -> None:
    store = SqliteObjects(tmp_path / "keys.sqlite3")
    asked: list[str] = []
    store._connection.set_trace_callback(asked.append)

    async def story() -> None:
        await store.claim(a_file())
        await store.find(FILE, "file-1")
        await store.listed(FILE, "lab", None, 10)
        await store.listed(FILE, "lab", "file-1", 10)
        await store.open_ones(FILE, 10)
        await store.trim(FILE, 100)

    run(story())
    store._connection.set_trace_callback(None)
    questions = [text for text in asked if text.startswith(("SELECT", "DELETE"))]
    assert len(questions) == 5
    for text in questions:
        plan = [row[3] for row in store._rows(f"EXPLAIN QUERY PLAN {text}")]
        assert [step for step in plan if step.startswith("SCAN") or "TEMP B-TREE" in step] == []
    run(store.aclose())


@pytest.mark.redis
def test_what_cannot_be_read_in_redis_is_an_error_that_names_it() -> None:
    prefix = "{weir:objects-unit}:"

    async def story() -> None:
        shared = SharedRedis(shared_server().url, prefix, 5.0)
        store = RedisObjects(shared)
        with Redis.from_url(shared_server().url) as client:
            for text in ("", "[]", '["lab","",5]', '["lab","",5]\n', "{}\n0"):
                client.hset(f"{prefix}objects:file", "file-1", text)
                with pytest.raises(RegistryError, match="the file file-1 in Redis cannot be read"):
                    await store.find(FILE, "file-1")
            client.delete(f"{prefix}objects:file")
        await shared.aclose()

    run(story())
