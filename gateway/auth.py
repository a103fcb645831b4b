"""Who is calling: API keys as digests, and the secret they are digested with.

A key is never stored. What is kept is its HMAC-SHA-256 under a secret of this installation, so a
stolen database holds nothing that opens a door. The demo key and the admin key are derived from the
secret; they can be shown at every start without being written anywhere.

The secret is `WEIR_SECRET` where set, else the file `secret` in the data directory, created with
mode 0600 at the first start. Another secret makes every key unknown.
"""

import hmac
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gateway.run_grants import RunGrant

KEY_PREFIX = "sk-weir-"
SECRET_FILE = "secret"
SECRET_ENV = "WEIR_SECRET"
MIN_SECRET_CHARS = 32
MAX_CREDENTIAL_BYTES = 512


class AuthError(RuntimeError):
    """The secret cannot be used; the message says which file or variable and what to do."""


class Role(StrEnum):
    """What a key opens: the data plane spends money, the admin API looks and manages."""

    DATA = "data"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller a key stands for. `workflow` holds where a request names none.

    With a `run` it is the holder of a run token, who acts as the key inside that run.
    """

    key_id: str
    name: str
    org: str
    team: str
    workflow: str
    role: Role
    policy: str | None = None
    run: RunGrant | None = None


@dataclass(frozen=True, slots=True)
class Secret:
    """The installation's secret as separate keys, so that no use of it answers for another.

    `internal_key` is what its processes know each other by; `fingerprint` tells two secrets apart
    and may be seen by anyone.
    """

    digest_key: bytes
    run_key: bytes
    demo_key: str
    admin_key: str
    internal_key: str
    fingerprint: str

    def __repr__(self) -> str:
        return "Secret(***)"


def derive_secret(material: str) -> Secret:
    """Split the secret text into the keys for digests and run tokens, and two API keys."""
    root = material.encode()
    return Secret(
        digest_key=hmac.digest(root, b"weir/digest", "sha256"),
        run_key=hmac.digest(root, b"weir/run-token", "sha256"),
        demo_key=KEY_PREFIX + hmac.digest(root, b"weir/demo", "sha256").hex()[:48],
        admin_key=KEY_PREFIX + hmac.digest(root, b"weir/admin", "sha256").hex()[:48],
        internal_key=hmac.digest(root, b"weir/internal", "sha256").hex(),
        fingerprint=hmac.digest(root, b"weir/fingerprint", "sha256").hex()[:16],
    )


def load_secret(data_dir: Path, env: Mapping[str, str]) -> Secret:
    """The installation's secret, made at the first call; raise AuthError where it is no good."""
    given = env.get(SECRET_ENV)
    if given is not None:
        return derive_secret(_checked(given.strip(), SECRET_ENV))
    path = data_dir / SECRET_FILE
    try:
        if not path.exists():
            _create_secret(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise AuthError(f"{path} can be read by others (mode {mode:o}); run: chmod 600 {path}")
        return derive_secret(_checked(path.read_text(encoding="ascii").strip(), str(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise AuthError(f"{path}: {error}; make it readable or set {SECRET_ENV}") from error


def _checked(text: str, source: str) -> str:
    if len(text) < MIN_SECRET_CHARS:
        raise AuthError(
            f"{source} holds {len(text)} characters, {MIN_SECRET_CHARS} or more are needed; "
            "make one with: openssl rand -hex 32"
        )
    return text


def _create_secret(path: Path) -> None:
    """Write a new secret whole or not at all; of two processes, the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{SECRET_FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def new_key() -> str:
    """A fresh API key with 192 random bits."""
    return KEY_PREFIX + secrets.token_hex(24)


def digest_of(secret: Secret, credential: bytes) -> bytes:
    """The 32 bytes under which a key is known."""
    return hmac.digest(secret.digest_key, credential, "sha256")


def read_credential(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The key a request carries as `Authorization: Bearer KEY` or `x-api-key: KEY`, else None.

    Header names are lower case, as ASGI gives them. A bearer token wins over `x-api-key`.
    """
    api_key = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() == b"bearer" and token.strip():
                return token.strip()
        elif name == b"x-api-key" and value.strip():
            api_key = value.strip()
    return api_key


class KeyRing:
    """The principals of all valid keys by digest; a lookup says who, or None."""

    __slots__ = ("_by_digest", "_by_id", "_secret")

    def __init__(self, secret: Secret, by_digest: Mapping[bytes, Principal]) -> None:
        self._secret = secret
        self._by_digest = {digest: (digest, who) for digest, who in by_digest.items()}
        self._by_id = {who.key_id: who for who in by_digest.values()}

    def find(self, credential: bytes) -> Principal | None:
        """The caller, or None for an unknown key.

        The table is searched by a keyed digest, so its timing tells nothing about stored keys; the
        whole digest is then compared in constant time.
        """
        if len(credential) > MAX_CREDENTIAL_BYTES:
            return None
        digest = hmac.digest(self._secret.digest_key, credential, "sha256")
        found = self._by_digest.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    def by_id(self, key_id: str) -> Principal | None:
        """The caller a valid key stands for, by the key's id."""
        return self._by_id.get(key_id)
