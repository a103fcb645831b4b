"""Directories that one process holds at a time, also when it dies."""

import subprocess
import sys
from pathlib import Path

from gateway.slots import left_slots, take_slot

HOLD = "import sys; from pathlib import Path; from gateway.slots import take_slot\n"
HOLD += "slot = take_slot(Path(sys.argv[1])); print(slot.path.name, flush=True); input()"


def test_each_takes_the_first_that_nobody_holds(tmp_path: Path) -> None:
    with take_slot(tmp_path) as first:
        with take_slot(tmp_path) as second:
            assert [first.path.name, second.path.name] == ["worker-0", "worker-1"]
            assert list(left_slots(tmp_path)) == []
        assert [slot.path.name for slot in left_slots(tmp_path)] == ["worker-1"]
        with take_slot(tmp_path) as again:
            assert again.path == second.path


def test_what_a_killed_process_held_is_found_by_the_next(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None and child.stdin is not None
    assert child.stdout.readline() == b"worker-0\n"
    with take_slot(tmp_path) as other:
        assert other.path.name == "worker-1"
    child.kill()
    child.wait()
    with take_slot(tmp_path) as found:
        assert found.path.name == "worker-0"
    child.stdin.close()
    child.stdout.close()


def test_a_slot_that_is_looked_at_is_held_meanwhile(tmp_path: Path) -> None:
    with take_slot(tmp_path):
        pass
    for left in left_slots(tmp_path):
        assert left.path.name == "worker-0"
        with take_slot(tmp_path) as other:
            assert other.path.name == "worker-1"
