"""Keys in a real SQLite file, shared by a gateway and a command line."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from budgets.runs import RunTerms
from gateway.auth import Role, derive_secret
from gateway.key_registry import KeyRegistry, KeyRegistryError, NewKey
from gateway.registries.in_sqlite import SqliteKeys
from gateway.registries.port import RegistryError
from gateway.run_grants import RunGrant
from tests.unit.gateway.desks import run

SECRET = derive_secret("s" * 32)
PAPERS = NewKey("Ana's laptop", "research", "papers", policy="cheap")


def opened(path: Path, *, demo: bool = True) -> KeyRegistry:
    return KeyRegistry(SqliteKeys(path / "keys.sqlite3"), SECRET, org="acme", demo=demo)


def test_a_new_key_opens_and_says_who_calls(tmp_path: Path) -> None:
    async def story() -> None:
        registry = opened(tmp_path)
        record, key = await registry.create(PAPERS, 5_000)
        caller = registry.find(key.encode())
        assert caller is not None
        assert (caller.key_id, caller.name, caller.org) == (record.key_id, "Ana's laptop", "acme")
        assert (caller.team, caller.workflow, caller.policy) == ("research", "papers", "cheap")
        assert caller.role is Role.DATA
        assert record.created_ms == 5_000
        await registry.aclose()

    run(story())


def test_the_file_holds_no_key(tmp_path: Path) -> None:
    async def story() -> str:
        registry = opened(tmp_path)
        _, key = await registry.create(PAPERS, 0)
        await registry.aclose()
        return key

    key = run(story())
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret_text in (key, SECRET.demo_key, SECRET.admin_key):
        assert secret_text.encode() not in stored


def test_keys_outlive_the_process(tmp_path: Path) -> None:
    async def story() -> None:
        first = opened(tmp_path)
        record, key = await first.create(PAPERS, 0)
        await first.aclose()
        second = opened(tmp_path)
        assert await second.list() == [record]
        assert second.find(key.encode()) is None
        assert await second.refresh()
        assert second.find(key.encode()) is not None
        await second.aclose()

    run(story())


def test_what_another_process_changes_is_known_after_a_refresh(tmp_path: Path) -> None:
    async def story() -> None:
        gateway, command = opened(tmp_path), opened(tmp_path)
        await gateway.refresh()
        record, key = await command.create(PAPERS, 0)
        assert gateway.find(key.encode()) is None
        assert await gateway.refresh()
        assert gateway.find(key.encode()) is not None
        assert not await gateway.refresh()
        await command.revoke(record.key_id, 1)
        assert await gateway.refresh()
        assert gateway.find(key.encode()) is None
        await gateway.aclose()
        await command.aclose()

    run(story())


def test_a_revoked_key_stays_revoked_and_listed(tmp_path: Path) -> None:
    async def story() -> None:
        registry = opened(tmp_path)
        record, key = await registry.create(PAPERS, 1)
        revoked = await registry.revoke(record.key_id, 2)
        again = await registry.revoke(record.key_id, 3)
        assert revoked is not None and again is not None
        assert revoked.revoked and again.revoked_ms == 2
        assert registry.find(key.encode()) is None
        assert await registry.list() == [revoked]
        assert await registry.revoke("unknown", 4) is None
        await registry.aclose()

    run(story())


def test_the_derived_keys_open_their_doors_and_are_not_listed(tmp_path: Path) -> None:
    registry = opened(tmp_path)
    demo = registry.find(SECRET.demo_key.encode())
    admin = registry.find(SECRET.admin_key.encode())
    assert demo is not None and (demo.key_id, demo.role) == ("demo", Role.DATA)
    assert admin is not None and (admin.key_id, admin.role) == ("admin", Role.ADMIN)
    assert run(registry.list()) == []
    run(registry.aclose())


def test_the_demo_key_can_be_shut_off(tmp_path: Path) -> None:
    registry = opened(tmp_path, demo=False)
    assert registry.find(SECRET.demo_key.encode()) is None
    assert registry.find(SECRET.admin_key.encode()) is not None
    run(registry.aclose())


def test_a_request_is_known_by_its_headers(tmp_path: Path) -> None:
    registry = opened(tmp_path)
    bearer = [(b"authorization", b"Bearer " + SECRET.demo_key.encode())]
    assert registry.authenticate(bearer) is not None
    assert registry.authenticate([(b"authorization", b"Bearer sk-weir-wrong")]) is None
    assert registry.authenticate([]) is None
    run(registry.aclose())


@pytest.mark.parametrize(
    ("field", "new"),
    [
        ("name", NewKey("", "research", "papers")),
        ("name", NewKey("line\nbreak", "research", "papers")),
        ("team", NewKey("a", "", "papers")),
        ("team", NewKey("a", "research/other", "papers")),
        ("team", NewKey("a", "a|b", "papers")),
        ("workflow", NewKey("a", "research", "")),
        ("workflow", NewKey("a", "research", "x" * 129)),
    ],
)
def test_a_name_nothing_can_be_charged_to_is_refused(
    tmp_path: Path, field: str, new: NewKey
) -> None:
    registry = opened(tmp_path)
    with pytest.raises(KeyRegistryError, match=f"^{field}: "):
        run(registry.create(new, 0))
    assert run(registry.list()) == []
    run(registry.aclose())


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "keys.sqlite3").write_bytes(b"no database at all, and long enough to be read" * 20)
    with pytest.raises(RegistryError, match=r"keys\.sqlite3"):
        opened(tmp_path)


def test_the_file_refuses_two_keys_with_one_digest(tmp_path: Path) -> None:
    registry = opened(tmp_path)
    run(registry.create(PAPERS, 0))
    run(registry.aclose())
    with sqlite3.connect(tmp_path / "keys.sqlite3") as database:
        row = database.execute("SELECT * FROM api_key").fetchone()
        marks = ", ".join("?" * len(row))
        with pytest.raises(sqlite3.IntegrityError, match="digest"):
            database.execute(f"INSERT INTO api_key VALUES ({marks})", ("other", *row[1:]))
    database.close()


# -- run tokens -------------------------------------------------------------------------------


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


def test_a_run_token_stands_for_its_key_inside_its_run(tmp_path: Path) -> None:
    registry = opened(tmp_path)
    record, _ = run(registry.create(PAPERS, 0))
    grant = RunGrant(record.key_id, 1 << 40, (RunTerms("run~1", 5),), "reports")
    caller = registry.authenticate(bearer(registry.run_token(grant)))
    assert caller is not None
    assert (caller.key_id, caller.team, caller.policy) == (record.key_id, "research", "cheap")
    assert (caller.role, caller.workflow, caller.run) == (Role.DATA, "reports", grant)
    plain = registry.run_token(replace(grant, workflow=None))
    own = registry.find(plain.encode())
    assert own is not None and own.workflow == "papers"
    run(registry.aclose())


def test_a_token_of_the_admin_key_is_no_admin(tmp_path: Path) -> None:
    registry = opened(tmp_path)
    grant = RunGrant("admin", 1 << 40, (RunTerms("run~1", 5),))
    caller = registry.find(registry.run_token(grant).encode())
    assert caller is not None and caller.role is Role.DATA
    run(registry.aclose())


def test_a_token_opens_in_every_process_until_its_key_is_revoked(tmp_path: Path) -> None:
    async def story() -> None:
        gateway, other = opened(tmp_path), opened(tmp_path)
        record, _ = await other.create(PAPERS, 0)
        await gateway.refresh()
        grant = RunGrant(record.key_id, 1 << 40, (RunTerms("run~1", 5),))
        token = other.run_token(grant)
        assert gateway.find(token.encode()) is not None
        await other.revoke(record.key_id, 1)
        await gateway.refresh()
        assert gateway.find(token.encode()) is None
        assert gateway.denial(bearer(token)).code == "invalid_run_token"
        await gateway.aclose()
        await other.aclose()

    run(story())


def test_each_wrong_credential_gets_the_error_that_fits(tmp_path: Path) -> None:
    registry = opened(tmp_path)
    grant = RunGrant("demo", 1_000, (RunTerms("run~1", 5),))
    over, changed = registry.run_token(grant), registry.run_token(grant)[:-2] + "AA"
    codes = {
        credential: registry.denial(bearer(credential)).code
        for credential in ("sk-weir-wrong", over, changed, "weir-run-")
    }
    assert codes == {
        "sk-weir-wrong": "invalid_api_key",
        over: "run_token_expired",
        changed: "invalid_run_token",
        "weir-run-": "invalid_run_token",
    }
    assert registry.denial([]).code == "invalid_api_key"
    run(registry.aclose())
