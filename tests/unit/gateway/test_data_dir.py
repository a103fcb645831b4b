"""One gateway at a time owns the data directory, and leaves word where it listens."""

import json
import os
from pathlib import Path

import pytest

from gateway.data_dir import DataDir, DataDirError


def test_it_is_made_where_it_is_missing_and_knows_its_files(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "a" / "b")
    with data.owned():
        assert data.path.is_dir()
    names = {path.name for path in (data.ledger, data.keys, data.warehouse)}
    assert names == {"ledger.sqlite3", "keys.sqlite3", "weir.duckdb"}


def test_a_second_owner_is_refused_until_the_first_has_gone(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    with (
        data.owned(),
        pytest.raises(DataDirError, match="in use by another gateway"),
        DataDir(tmp_path).owned(),
    ):
        pass
    with data.owned():
        pass


def test_the_lock_is_let_go_of_when_the_owner_fails(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    with pytest.raises(ValueError, match="why"), data.owned():
        raise ValueError("why")
    with data.owned():
        pass


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirError, match="WEIR_DATA_DIR"), DataDir(tmp_path / "file").owned():
        pass


def test_word_is_left_whole_and_taken_back(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.announce("http://127.0.0.1:1")
    data.announce("http://127.0.0.1:2")
    [note] = tmp_path.iterdir()
    assert json.loads(note.read_text()) == {"pid": os.getpid(), "base_url": "http://127.0.0.1:2"}
    data.withdraw()
    data.withdraw()
    assert list(tmp_path.iterdir()) == []
