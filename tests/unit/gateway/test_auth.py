"""The secret and the keys: made once, never shown, compared whole."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.auth import (
    MAX_CREDENTIAL_BYTES,
    AuthError,
    KeyRing,
    Principal,
    Role,
    derive_secret,
    digest_of,
    load_secret,
    new_key,
    read_credential,
)

SECRET = derive_secret("s" * 32)
ANA = Principal("k1", "Ana's laptop", "default", "research", "papers", Role.DATA)


def test_the_secret_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    first = load_secret(tmp_path / "data", {})
    again = load_secret(tmp_path / "data", {})
    path = tmp_path / "data" / "secret"
    assert first == again
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(bytes.fromhex(path.read_text().strip())) == 32
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]


def test_processes_that_start_together_agree_on_one_secret(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from gateway.auth import load_secret; "
        "print(load_secret(pathlib.Path(sys.argv[1]), {}).demo_key)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    keys = {process.communicate(timeout=60)[0] for process in started}
    assert len(keys) == 1
    assert keys.pop().strip() == load_secret(tmp_path, {}).demo_key


def test_a_secret_of_the_environment_wins_and_leaves_no_file(tmp_path: Path) -> None:
    given = load_secret(tmp_path, {"WEIR_SECRET": "e" * 40})
    assert given == derive_secret("e" * 40)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", ["", "short", "x" * 31])
def test_a_short_secret_is_refused_with_the_way_to_make_one(tmp_path: Path, given: str) -> None:
    with pytest.raises(AuthError, match=r"WEIR_SECRET.*openssl rand -hex 32"):
        load_secret(tmp_path, {"WEIR_SECRET": given})


def test_a_secret_others_can_read_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    load_secret(tmp_path, {})
    os.chmod(tmp_path / "secret", 0o644)
    with pytest.raises(AuthError, match=r"chmod 600"):
        load_secret(tmp_path, {})


def test_a_damaged_secret_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    with pytest.raises(AuthError, match="secret"):
        load_secret(tmp_path, {})


def test_derived_keys_differ_from_each_other_and_between_secrets() -> None:
    other = derive_secret("t" * 32)
    keys = {SECRET.demo_key, SECRET.admin_key, other.demo_key, other.admin_key}
    assert len(keys) == 4
    assert all(key.startswith("sk-weir-") for key in keys)
    assert derive_secret("s" * 32) == SECRET


def test_a_secret_does_not_show_itself() -> None:
    shown = repr(SECRET)
    assert SECRET.demo_key not in shown
    assert SECRET.digest_key.hex() not in shown


def test_new_keys_are_long_and_never_the_same() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) == len("sk-weir-") + 48 for key in keys)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"authorization", b"Bearer abc")], b"abc"),
        ([(b"authorization", b"bearer  abc ")], b"abc"),
        ([(b"x-api-key", b" abc ")], b"abc"),
        ([(b"x-api-key", b"two"), (b"authorization", b"Bearer one")], b"one"),
        ([(b"authorization", b"Basic abc"), (b"x-api-key", b"two")], b"two"),
        ([(b"authorization", b"Bearer "), (b"x-api-key", b"two")], b"two"),
        ([(b"authorization", b"Bearer")], None),
        ([(b"authorization", b"abc")], None),
        ([(b"x-api-key", b"")], None),
        ([(b"host", b"example")], None),
        ([], None),
    ],
)
def test_a_credential_is_read_from_either_header(
    headers: list[tuple[bytes, bytes]], expected: bytes | None
) -> None:
    assert read_credential(headers) == expected


def test_a_ring_knows_its_keys_and_no_others() -> None:
    key = new_key().encode()
    ring = KeyRing(SECRET, {digest_of(SECRET, key): ANA})
    assert ring.find(key) is ANA
    assert ring.find(key[:-1]) is None
    assert ring.find(key + b"0") is None
    assert ring.find(b"") is None
    assert ring.find(b"x" * (MAX_CREDENTIAL_BYTES + 1)) is None
    assert ring.find(digest_of(SECRET, key)) is None


def test_another_secret_makes_every_key_unknown() -> None:
    key = new_key().encode()
    ring = KeyRing(derive_secret("t" * 32), {digest_of(SECRET, key): ANA})
    assert ring.find(key) is None


def test_the_labels_of_derived_keys_open_nothing() -> None:
    by_digest = {digest_of(SECRET, SECRET.demo_key.encode()): ANA}
    ring = KeyRing(SECRET, by_digest)
    assert ring.find(SECRET.demo_key.encode()) is ANA
    assert ring.find(b"weir/demo") is None
