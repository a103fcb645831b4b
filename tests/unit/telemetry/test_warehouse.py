"""The DuckDB handle: who may open it, what SQL may reach, many readers, and a full disk."""

import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from telemetry.warehouse import Warehouse, WarehouseError
from tests.unit.telemetry.events import make_event, rows_of

ROOT = Path(__file__).resolve().parents[3]


def run_child(source: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python source in a process of its own, as if from the repository's root."""
    return subprocess.run(
        [sys.executable, "-c", source, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_file_that_another_process_holds_is_refused_with_what_to_do(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    child = run_child(
        "import sys; from pathlib import Path; from telemetry.warehouse import Warehouse\n"
        "Warehouse.open(Path(sys.argv[1]))",
        tmp_path / "weir.duckdb",
    )
    assert child.returncode == 1
    assert "another process has this file open" in child.stderr


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "weir.duckdb"
    path.write_bytes(b"x" * 20_000)
    with pytest.raises(WarehouseError, match=r"weir\.duckdb"):
        Warehouse.open(path)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY (SELECT 1) TO 'copied.csv'",
        "ATTACH 'other.duckdb'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '64GB'",
        "SET lock_configuration = false",
    ],
)
def test_sql_reaches_nothing_but_the_warehouse(warehouse: Warehouse, sql: str) -> None:
    with pytest.raises(duckdb.Error):
        warehouse.query(sql)


def test_readers_see_whole_batches_while_a_writer_writes(warehouse: Warehouse) -> None:
    batches, batch_rows = 30, 50
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(warehouse.query("SELECT count(*) AS n FROM event")[0]["n"])

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for batch in range(batches):
        first = batch * batch_rows
        events = [make_event(first + place) for place in range(batch_rows)]
        warehouse.insert_batch("ledger", rows_of(*events, first_seq=first + 1))
    done.set()
    for reader in readers:
        reader.join()
    assert seen
    assert {count % batch_rows for count in seen} == {0}
    assert warehouse.query("SELECT count(*) AS n FROM event") == [{"n": batches * batch_rows}]


def test_a_closed_warehouse_says_so(tmp_path: Path) -> None:
    warehouse = Warehouse.open(tmp_path / "weir.duckdb")
    warehouse.close()
    with pytest.raises(WarehouseError, match="closed"):
        warehouse.query("SELECT 1")


# A limit on file size stands in for a full disk: writes fail in the middle of a batch.
FULL_DISK = """
import os, resource, sys
from pathlib import Path
import duckdb
from telemetry.warehouse import Warehouse
from tests.unit.telemetry.events import make_event, rows_of

warehouse = Warehouse.open(Path(sys.argv[1]))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), hard))
COUNT = "SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM event"

def batch(first):
    events = [
        make_event(number, decision_json=os.urandom(300).hex())
        for number in range(first, first + 1000)
    ]
    return rows_of(*events, first_seq=first + 1)

written = 0
try:
    while written < 100_000 and not warehouse.reopened:
        written = warehouse.insert_batch("ledger", batch(written))
except duckdb.Error as error:
    print("refused", type(error).__name__, file=sys.stderr)
assert warehouse.query(COUNT) == [{"n": written, "ids": written}], written
assert warehouse.last_seq("ledger") == written
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert warehouse.insert_batch("ledger", batch(written)) == written + 1000
assert warehouse.query(COUNT) == [{"n": written + 1000, "ids": written + 1000}]
print(warehouse.reopened)
warehouse.close()
with Warehouse.open(Path(sys.argv[1])) as again:
    assert again.query(COUNT) == [{"n": written + 1000, "ids": written + 1000}]
"""


@pytest.mark.parametrize(
    ("limit_bytes", "reopened"),
    [
        pytest.param(3_000_000, "0", id="while the log is written"),
        pytest.param(18_000_000, "1", id="while the log is moved into the file"),
    ],
)
def test_a_full_disk_loses_nothing_and_collecting_goes_on_by_itself(
    tmp_path: Path, limit_bytes: int, reopened: str
) -> None:
    child = run_child(FULL_DISK, tmp_path / "weir.duckdb", limit_bytes)
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip() == reopened
