"""Which server a gateway believes, and which it does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from budgets.ledger import LedgerError
from budgets.stores.redis_life import (
    Epoch,
    EpochMemory,
    LedgerEvictingError,
    LedgerFullError,
    LedgerLostError,
    LedgerReadOnlyError,
    LedgerUnreachableError,
    Server,
    check_life,
    check_server,
    gateway_name,
    read_info,
)

INFO = {"run_id": "r1", "role": "master", "maxmemory_policy": "noeviction"}
SERVER = Server.of(INFO, [b"2-bb", b"r1", b"17", b"me"], 1_790)


def test_a_server_is_known_by_what_it_says() -> None:
    info = read_info(b"# Server\r\nrun_id:r1\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n")
    assert info == INFO
    assert Server("r1", "master", "noeviction", Epoch(2, "bb"), "r1", 17, "me", 1_790) == SERVER
    empty = Server.of(INFO, [None, None, None, None], 1_790)
    assert (empty.epoch, empty.bound_to, empty.newest_seq) == (None, "", 0)


def test_a_server_that_evicts_or_is_no_primary_keeps_no_ledger() -> None:
    check_server(SERVER)
    with pytest.raises(LedgerEvictingError, match="set maxmemory-policy noeviction"):
        check_server(replace(SERVER, policy="allkeys-lru"))
    with pytest.raises(LedgerReadOnlyError, match="address of the primary"):
        check_server(replace(SERVER, role="slave"))


def test_every_failure_of_a_server_is_one_of_not_reaching_it_and_names_its_cause() -> None:
    kinds = (LedgerLostError, LedgerReadOnlyError, LedgerEvictingError, LedgerFullError)
    assert all(issubclass(kind, LedgerUnreachableError) for kind in kinds)
    causes = [kind.cause for kind in (LedgerUnreachableError, *kinds)]
    assert causes == ["unreachable", "lost", "read_only", "evicting", "full"]


def test_only_the_same_or_a_later_life_on_the_same_run_is_believed() -> None:
    for known in (None, Epoch(2, "bb"), Epoch(1, "aa")):
        assert check_life(SERVER, known) == Epoch(2, "bb")
    for known in (Epoch(3, "cc"), Epoch(2, "other")):
        with pytest.raises(LedgerLostError, match="older ledger"):
            check_life(SERVER, known)
    with pytest.raises(LedgerLostError, match="restarted or replaced"):
        check_life(replace(SERVER, run_id="r2"), Epoch(2, "bb"))
    with pytest.raises(LedgerLostError, match="no ledger any more"):
        check_life(replace(SERVER, epoch=None), None)


def test_an_epoch_is_later_than_all_before_it() -> None:
    assert Epoch.after().number == 1
    later = Epoch.after(Epoch(2, "a"), None, Epoch(7, "b"))
    assert later.number == 8
    assert Epoch.parse(later.text) == later
    assert Epoch.parse("") is None
    for text in ("7", "x-1", "-1"):
        with pytest.raises(LedgerLostError, match="no epoch"):
            Epoch.parse(text)


def test_a_gateway_remembers_its_name_and_the_newest_epoch(tmp_path: Path) -> None:
    memory = EpochMemory(tmp_path / "epoch")
    assert memory.known is None
    memory.remember(Epoch(3, "cc"))
    assert EpochMemory(tmp_path / "epoch").known == Epoch(3, "cc")
    assert gateway_name(tmp_path / "gateway") == gateway_name(tmp_path / "gateway")
    assert gateway_name(tmp_path / "gateway") != gateway_name(tmp_path / "another")
    with pytest.raises(LedgerError, match="cannot be written"):
        EpochMemory(tmp_path / "nowhere" / "epoch").remember(Epoch(1, "a"))
    (tmp_path / "epoch").write_bytes(b"\xff")
    with pytest.raises(LedgerError, match="cannot be read"):
        EpochMemory(tmp_path / "epoch")
