"""The API keys of this installation: made, listed and revoked in one SQLite file.

The gateway and the command line open the same file. A lookup reads memory only; at most once a
second it asks SQLite whether another process changed the file, so a revoked key stops working
within a second and without a restart.
"""

import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from budgets.config import TEAM_NAME, WORKFLOW_NAME
from gateway.auth import KeyRing, Principal, Role, Secret, digest_of, new_key, read_credential
from gateway.errors import ApiError, invalid_run_token, run_token_expired, unauthorized
from gateway.run_grants import PREFIX, InvalidRunTokenError, RunGrant, read, sign

KEYS_FILE = "keys.sqlite3"
DEMO_KEY_ID = "demo"
ADMIN_KEY_ID = "admin"
REFRESH_S = 1.0
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS api_key(
    key_id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    team TEXT NOT NULL,
    workflow TEXT NOT NULL,
    role TEXT NOT NULL,
    policy TEXT,
    created_ms INTEGER NOT NULL,
    revoked_ms INTEGER
) STRICT
"""
_COLUMNS = "key_id, name, team, workflow, role, policy, created_ms, revoked_ms"


class KeyRegistryError(ValueError):
    """A key that cannot be made, or a file that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a new key stands for; `policy` None means the default policy."""

    name: str
    team: str
    workflow: str
    role: Role = Role.DATA
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as it is listed; the key itself is not known to anyone but its holder."""

    key_id: str
    name: str
    team: str
    workflow: str
    role: Role
    policy: str | None
    created_ms: int
    revoked_ms: int | None

    @property
    def revoked(self) -> bool:
        return self.revoked_ms is not None


class KeyRegistry:
    """Every key of the installation, with the derived demo and admin keys among them.

    `org` is the organisation all keys belong to. With `demo` false the demo key is unknown. One
    instance belongs to one thread.
    """

    def __init__(
        self,
        path: Path,
        secret: Secret,
        *,
        org: str,
        demo: bool = True,
        clock: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._secret = secret
        self._org = org
        self._clock = clock
        self._now_s = now_s
        self._built_in = _built_in_keys(secret, org, demo=demo)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise KeyRegistryError(f"{path}: {error}") from error
        self._version = self._data_version()
        self._ring = self._load_ring()
        self._next_check_s = clock() + REFRESH_S

    def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal | None:
        """The caller of a request by its headers (lower-case names), or None."""
        credential = read_credential(headers)
        return None if credential is None else self.find(credential)

    def find(self, credential: bytes) -> Principal | None:
        """The caller a key stands for, or None; at most a second behind the file."""
        now_s = self._clock()
        if now_s >= self._next_check_s:
            self._next_check_s = now_s + REFRESH_S
            self._refresh()
        if credential.startswith(PREFIX):
            found = self._holder(credential)
            return found if isinstance(found, Principal) else None
        return self._ring.find(credential)

    def _holder(self, token: bytes) -> Principal | ApiError:
        """Who a run token stands for: the key that opened the run, inside the run."""
        try:
            grant = read(self._secret.run_key, token)
        except InvalidRunTokenError:
            return invalid_run_token()
        if grant.expires_s <= self._now_s():
            return run_token_expired(grant.expires_s)
        key = self._ring.by_id(grant.key_id)
        if key is None:
            return invalid_run_token()
        workflow = key.workflow if grant.workflow is None else grant.workflow
        return replace(key, role=Role.DATA, workflow=workflow, run=grant)

    def denial(self, headers: Iterable[tuple[bytes, bytes]]) -> ApiError:
        """Why `authenticate` knows nobody; one error for every wrong key."""
        credential = read_credential(headers)
        if credential is not None and credential.startswith(PREFIX):
            found = self._holder(credential)
            if isinstance(found, ApiError):
                return found
        return unauthorized()

    def run_token(self, grant: RunGrant) -> str:
        """The token of a run."""
        return sign(self._secret.run_key, grant)

    def create(self, new: NewKey, now_ms: int) -> tuple[KeyRecord, str]:
        """Make a key and return it with its record: the only time it can be seen.

        Raise KeyRegistryError for a name, team or workflow that cannot be charged to.
        """
        _check_new(new)
        key = new_key()
        record = KeyRecord(
            key_id=f"k{secrets.token_hex(5)}",
            name=new.name,
            team=new.team,
            workflow=new.workflow,
            role=new.role,
            policy=new.policy,
            created_ms=now_ms,
            revoked_ms=None,
        )
        self._connection.execute(
            "INSERT INTO api_key(key_id, digest, name, team, workflow, role, policy, created_ms) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.key_id,
                digest_of(self._secret, key.encode()),
                record.name,
                record.team,
                record.workflow,
                record.role.value,
                record.policy,
                record.created_ms,
            ),
        )
        self._ring = self._load_ring()
        return record, key

    def list(self) -> Sequence[KeyRecord]:
        """Every key ever made, the oldest first."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM api_key ORDER BY created_ms, key_id"
        )
        return [_record(row) for row in rows]

    def revoke(self, key_id: str, now_ms: int) -> KeyRecord | None:
        """End a key for good; None for an unknown id. A second revocation changes nothing."""
        self._connection.execute(
            "UPDATE api_key SET revoked_ms = ? WHERE key_id = ? AND revoked_ms IS NULL",
            (now_ms, key_id),
        )
        self._ring = self._load_ring()
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM api_key WHERE key_id = ?", (key_id,)
        ).fetchone()
        return None if row is None else _record(row)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _refresh(self) -> None:
        version = self._data_version()
        if version != self._version:
            self._version = version
            self._ring = self._load_ring()

    def _load_ring(self) -> KeyRing:
        by_digest = dict(self._built_in)
        rows = self._connection.execute(
            f"SELECT digest, {_COLUMNS} FROM api_key WHERE revoked_ms IS NULL"
        )
        for digest, *columns in rows:
            record = _record(columns)
            by_digest[digest] = Principal(
                key_id=record.key_id,
                name=record.name,
                org=self._org,
                team=record.team,
                workflow=record.workflow,
                role=record.role,
                policy=record.policy,
            )
        return KeyRing(self._secret, by_digest)


def _built_in_keys(secret: Secret, org: str, *, demo: bool) -> dict[bytes, Principal]:
    admin = Principal(
        ADMIN_KEY_ID, "Built-in admin key", org, ADMIN_KEY_ID, ADMIN_KEY_ID, Role.ADMIN
    )
    keys = {digest_of(secret, secret.admin_key.encode()): admin}
    if demo:
        keys[digest_of(secret, secret.demo_key.encode())] = Principal(
            DEMO_KEY_ID, "Built-in demo key", org, DEMO_KEY_ID, DEMO_KEY_ID, Role.DATA
        )
    return keys


def _record(row: Sequence[Any]) -> KeyRecord:
    key_id, name, team, workflow, role, policy, created_ms, revoked_ms = row
    return KeyRecord(key_id, name, team, workflow, Role(role), policy, created_ms, revoked_ms)


def _check_new(new: NewKey) -> None:
    if not _NAME.fullmatch(new.name):
        raise KeyRegistryError("name: expected 1 to 128 characters without control characters")
    if not TEAM_NAME.fullmatch(new.team):
        raise KeyRegistryError(
            "team: expected 1 to 128 letters, digits or ._:@+- beginning with a letter or digit, "
            f"got {new.team!r}"
        )
    if not WORKFLOW_NAME.fullmatch(new.workflow):
        raise KeyRegistryError(
            "workflow: expected 1 to 128 letters, digits, spaces or ._:@+/- beginning with a "
            f"letter or digit, got {new.workflow!r}"
        )
