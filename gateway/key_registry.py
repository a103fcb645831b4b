"""The API keys of this installation: made, listed and revoked; a lookup reads memory only.

Keys are kept by a store that other processes use too. `refresh` takes over what they changed; a
gateway calls it twice a second, so a revoked key stops working within a second.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from budgets.config import TEAM_NAME, WORKFLOW_NAME
from gateway.auth import KeyRing, Principal, Role, Secret, digest_of, new_key, read_credential
from gateway.errors import ApiError, unauthorized
from gateway.registries.port import KeyRecord, KeyStore, StoredKey
from gateway.run_errors import invalid_run_token, run_token_expired
from gateway.run_grants import PREFIX, InvalidRunTokenError, RunGrant, read, sign

DEMO_KEY_ID = "demo"
ADMIN_KEY_ID = "admin"
KEY_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")


class KeyRegistryError(ValueError):
    """A key that cannot be made; the message begins with the field at fault."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a new key stands for; `policy` None means the default policy."""

    name: str
    team: str
    workflow: str
    role: Role = Role.DATA
    policy: str | None = None


class KeyRegistry:
    """Every key of the installation, with the derived demo and admin keys among them.

    `org` is the organisation all keys belong to. With `demo` false the demo key is unknown. Until
    the first `refresh` only the derived keys are known. Where the store fails, every method that
    asks it raises RegistryError.
    """

    def __init__(
        self,
        store: KeyStore,
        secret: Secret,
        *,
        org: str,
        demo: bool = True,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._secret = secret
        self._org = org
        self._now_s = now_s
        self._built_in = _built_in_keys(secret, org, demo=demo)
        self._ring = KeyRing(secret, self._built_in)
        self._version: str | None = None

    def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal | None:
        """The caller of a request by its headers (lower-case names), or None."""
        credential = read_credential(headers)
        return None if credential is None else self.find(credential)

    def find(self, credential: bytes) -> Principal | None:
        """The caller a key stands for, or None; as of the last refresh."""
        if credential.startswith(PREFIX):
            found = self._holder(credential)
            return found if isinstance(found, Principal) else None
        return self._ring.find(credential)

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

    async def refresh(self) -> bool:
        """Know what the store knows now; whether anything had changed."""
        if await self._store.version() == self._version:
            return False
        await self._load()
        return True

    async def create(self, new: NewKey, now_ms: int) -> tuple[KeyRecord, str]:
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
        await self._store.add([StoredKey(digest_of(self._secret, key.encode()), record)])
        await self._load()
        return record, key

    async def list(self) -> Sequence[KeyRecord]:
        """Every key ever made, the oldest first."""
        _, keys = await self._store.load()
        return [key.record for key in keys]

    async def revoke(self, key_id: str, now_ms: int) -> KeyRecord | None:
        """End a key for good; None for an unknown id. A second revocation changes nothing."""
        record = await self._store.revoke(key_id, now_ms)
        await self._load()
        return record

    async def aclose(self) -> None:
        """Let go of the store."""
        await self._store.aclose()

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

    async def _load(self) -> None:
        version, keys = await self._store.load()
        by_digest = dict(self._built_in)
        for key in keys:
            record = key.record
            if record.revoked:
                continue
            by_digest[key.digest] = Principal(
                key_id=record.key_id,
                name=record.name,
                org=self._org,
                team=record.team,
                workflow=record.workflow,
                role=record.role,
                policy=record.policy,
            )
        self._ring = KeyRing(self._secret, by_digest)
        self._version = version


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


def _check_new(new: NewKey) -> None:
    if not KEY_NAME.fullmatch(new.name):
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
