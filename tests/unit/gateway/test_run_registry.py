"""Opened runs in a real SQLite file."""

from pathlib import Path

import pytest

from budgets.runs import RunTerms
from gateway.run_grants import RunGrant
from gateway.run_registry import KEPT_S, OpenedRun, RunRegistry, RunRegistryError


def a_run(number: int, created_s: int = 1_000, ttl_s: int = 60) -> OpenedRun:
    chain = (RunTerms(f"run~{number}", 5, None, 7, 100), RunTerms("top~1", 9))
    grant = RunGrant("k1", created_s + ttl_s, chain, "reports", {"a": "1"})
    return OpenedRun("lab", "run", grant, created_s)


def test_a_run_is_found_as_it_was_opened_by_its_team(tmp_path: Path) -> None:
    registry = RunRegistry(tmp_path / "keys.sqlite3")
    registry.add(a_run(1))
    registry.close()
    again = RunRegistry(tmp_path / "keys.sqlite3")
    assert again.find("lab", "run~1") == a_run(1)
    assert again.find("bar", "run~1") is None
    assert again.find("lab", "run~2") is None
    with pytest.raises(RunRegistryError):
        again.add(a_run(1))
    again.close()


def test_runs_are_kept_until_a_month_after_their_end(tmp_path: Path) -> None:
    registry = RunRegistry(tmp_path / "keys.sqlite3")
    registry.add(a_run(1))
    registry.add(a_run(2, created_s=1_060 + KEPT_S))
    assert registry.find("lab", "run~1") is not None
    registry.add(a_run(3, created_s=1_061 + KEPT_S))
    assert registry.find("lab", "run~1") is None
    assert registry.find("lab", "run~2") is not None
    registry.close()


def test_a_file_that_is_no_registry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys.sqlite3").write_bytes(b"not a database" * 100)
    with pytest.raises(RunRegistryError, match=r"keys\.sqlite3"):
        RunRegistry(tmp_path / "keys.sqlite3")
