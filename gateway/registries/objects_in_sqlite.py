"""`ObjectStore` of one host: a table in the file of the other registries."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.registries.in_sqlite import RegistryFile
from gateway.registries.objects import ObjectKind, OwnedObject

# So many take a few milliseconds, in which nothing else is done.
TRIM_ROWS = 100
_OBJECTS = """
CREATE TABLE IF NOT EXISTS owned_object(
    kind TEXT NOT NULL,
    object_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    provider TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    record TEXT NOT NULL,
    is_open INTEGER NOT NULL CHECK (is_open IN (0, 1)),
    PRIMARY KEY (kind, object_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owned_object_list
    ON owned_object(kind, owner, created_ms, object_id);
CREATE INDEX IF NOT EXISTS owned_object_open
    ON owned_object(kind, created_ms, object_id) WHERE is_open = 1;
CREATE INDEX IF NOT EXISTS owned_object_age
    ON owned_object(kind, created_ms) WHERE is_open = 0;
"""
_COLUMNS = "kind, object_id, owner, provider, created_ms, record, is_open"
# What one request makes after another; waiting for the disk each time would hold all others up.
_FREQUENT = (ObjectKind.RESPONSE, ObjectKind.CONVERSATION)


class SqliteObjects(RegistryFile):
    """`ObjectStore` in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _OBJECTS)
        self._waits = True

    @contextmanager
    def _changing_of(self, kind: ObjectKind) -> Iterator[Any]:
        """One transaction, on the disk when it is over, but for what is made often."""
        waits = kind not in _FREQUENT
        if waits is not self._waits:
            with self._sound():
                self._connection.execute(f"PRAGMA synchronous={'FULL' if waits else 'NORMAL'}")
            self._waits = waits
        with self._changing() as write:
            yield write

    async def claim(self, one: OwnedObject) -> OwnedObject:
        with self._changing_of(one.kind) as write:
            done = write.execute(
                f"INSERT OR IGNORE INTO owned_object({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    one.kind.value,
                    one.object_id,
                    one.owner,
                    one.provider,
                    one.created_ms,
                    one.record,
                    one.is_open,
                ),
            )
            if done.rowcount == 1:
                return one
            [row] = write.execute(
                f"SELECT {_COLUMNS} FROM owned_object WHERE kind = ? AND object_id = ?",
                (one.kind.value, one.object_id),
            ).fetchall()
        return _object(row)

    async def find(self, kind: ObjectKind, object_id: str) -> OwnedObject | None:
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM owned_object WHERE kind = ? AND object_id = ?",
            (kind.value, object_id),
        )
        return _object(rows[0]) if rows else None

    async def update(self, one: OwnedObject) -> bool:
        with self._changing_of(one.kind) as write:
            done = write.execute(
                "UPDATE owned_object SET record = ?, is_open = ? "
                "WHERE kind = ? AND object_id = ? AND owner = ?",
                (one.record, one.is_open, one.kind.value, one.object_id, one.owner),
            )
        return bool(done.rowcount)

    async def forget(self, kind: ObjectKind, object_id: str, owner: str) -> bool:
        with self._changing_of(kind) as write:
            done = write.execute(
                "DELETE FROM owned_object WHERE kind = ? AND object_id = ? AND owner = ?",
                (kind.value, object_id, owner),
            )
        return bool(done.rowcount)

    async def listed(
        self, kind: ObjectKind, owner: str, after: str | None, limit: int
    ) -> Sequence[OwnedObject]:
        mine = "FROM owned_object WHERE kind = ?1 AND owner = ?2"
        older, asked = "", [kind.value, owner, max(0, limit)]
        if after is not None:
            last = f"SELECT created_ms, object_id {mine} AND object_id = ?4"
            older = f"AND (created_ms, object_id) < ({last}) "
            asked.append(after)
        rows = self._rows(
            f"SELECT {_COLUMNS} {mine} {older}ORDER BY created_ms DESC, object_id DESC LIMIT ?3",
            asked,
        )
        return [_object(row) for row in rows]

    async def open_ones(self, kind: ObjectKind, limit: int) -> Sequence[OwnedObject]:
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM owned_object WHERE kind = ? AND is_open = 1 "
            "ORDER BY created_ms, object_id LIMIT ?",
            (kind.value, max(0, limit)),
        )
        return [_object(row) for row in rows]

    async def trim(self, kind: ObjectKind, before_ms: int) -> int:
        total, removed = 0, TRIM_ROWS
        while removed == TRIM_ROWS:
            with self._changing_of(kind) as write:
                done = write.execute(
                    "DELETE FROM owned_object WHERE kind = ?1 AND object_id IN (SELECT object_id "
                    "FROM owned_object WHERE kind = ?1 AND created_ms < ?2 AND is_open = 0 "
                    "ORDER BY created_ms LIMIT ?3)",
                    (kind.value, before_ms, TRIM_ROWS),
                )
            removed = int(done.rowcount)
            total += removed
            await asyncio.sleep(0)
        return total


def _object(row: Sequence[Any]) -> OwnedObject:
    kind, object_id, owner, provider, created_ms, record, is_open = row
    return OwnedObject(
        ObjectKind(kind), object_id, owner, provider, created_ms, record, bool(is_open)
    )
