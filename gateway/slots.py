"""Directories of their own for the processes of one installation, held by one process each.

A worker takes the first that nobody holds, so what a worker owed that died is found by the next.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

PREFIX = "worker-"
MAX_SLOTS = 1_000


class Slot:
    """A directory that this process holds; leave the block, or die, to let go."""

    def __init__(self, path: Path) -> None:
        """Take hold; raise BlockingIOError where another process has it, OSError otherwise."""
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(path / "lock", flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)


def take_slot(root: Path) -> Slot:
    """The first directory under `root` that nobody holds, made where there is none."""
    for number in range(MAX_SLOTS):
        with suppress(BlockingIOError):
            return Slot(root / f"{PREFIX}{number}")
    raise OSError(f"{root}: {MAX_SLOTS} processes hold a directory here")


def slot_paths(root: Path) -> Sequence[Path]:
    """Every directory that a process ever took."""
    return sorted(root.glob(f"{PREFIX}*"))


def left_slots(root: Path) -> Iterator[Slot]:
    """Each directory whose process is gone, held while the caller looks at it."""
    for path in slot_paths(root):
        with suppress(BlockingIOError), Slot(path) as slot:
            yield slot
