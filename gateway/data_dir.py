"""The data directory: which files it holds, and that one gateway at a time uses it."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.admin_client import GATEWAY_FILE


class DataDirError(RuntimeError):
    """The data directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class DataDir:
    """The files of one installation."""

    path: Path

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.sqlite3"

    @property
    def redis(self) -> Path:
        """What must outlive the process beside a ledger in Redis."""
        return self.path / "redis"

    @property
    def keys(self) -> Path:
        return self.path / "keys.sqlite3"

    @property
    def warehouse(self) -> Path:
        return self.path / "weir.duckdb"

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Own the directory until the block or the process ends; raise DataDirError if taken.

        The ledger's open holds belong to whoever owns it, so a second owner would end them.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirError(f"{self.path}: {error.strerror}; set WEIR_DATA_DIR") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataDirError(
                    f"{self.path} is in use by another gateway; stop it or set WEIR_DATA_DIR"
                ) from error
            yield
        finally:
            os.close(descriptor)

    def announce(self, base_url: str) -> None:
        """Leave word for commands where the running gateway listens."""
        draft = self.path / f".{GATEWAY_FILE}.{os.getpid()}"
        draft.write_text(json.dumps({"pid": os.getpid(), "base_url": base_url}))
        draft.replace(self.path / GATEWAY_FILE)

    def withdraw(self) -> None:
        """Take the word back; one that was killed leaves it, so readers check the process."""
        (self.path / GATEWAY_FILE).unlink(missing_ok=True)
