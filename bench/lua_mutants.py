"""Break the ledger's Lua scripts one small way at a time, and see whether the Redis tests notice.

    python bench/lua_mutants.py [--only reserve.lua ...] [--jobs 2] [--list]

Each mutant changes one operator, constant or condition, or leaves one statement out, in a copy of
the repository; the contract tests run on it with Redis until the first one fails. None of them has
to be fast, so a busy machine notices nothing by itself. The order is fixed. Words (commands,
states, messages) are left alone: a wrong one fails at once and proves nothing. Prints every mutant
with the test that noticed it, and how many were noticed.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
LUA = Path("budgets/lua")
COPIED = ("budgets", "gateway", "dashboards", "routing", "telemetry", "tests", "pyproject.toml")
TESTS = (
    "tests/contracts/test_budget_versions.py",
    "tests/contracts/test_ledger_scripts.py",
    "tests/contracts/test_ledger_seeding.py",
    "tests/contracts/test_ledger_units.py",
    "tests/contracts/test_ledger_extension.py",
    "tests/contracts/test_ledger_openings.py",
    "tests/contracts/test_ledger_store.py",
    "tests/contracts/test_ledger_repeats.py",
    "tests/contracts/test_ledger_shared.py",
    "tests/contracts/test_ledger_races.py",
)
SUITE_WITHIN_S = 240.0
SWAPS = {
    "''": "'x'",
    "'0'": "'1'",
    "'1'": "'0'",
    "'null'": "'\"\"'",
    "==": "~=",
    "~=": "==",
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "+": "-",
    "-": "+",
    "*": "/",
    "/": "*",
    "and": "or",
    "or": "and",
    "not": "",
    "true": "false",
    "false": "true",
}
TOKEN = re.compile(
    r"(?P<comment>--.*)|(?P<text>'[^']*')|(?P<dots>\.\.+)|(?P<word>[A-Za-z_][\w.]*)"
    r"|(?P<number>\d+)|(?P<operator>==|~=|<=|>=|[-+*/<>])"
)
STATEMENT = re.compile(
    r"\s*(redis\.call|post|append|drop_hold|add_entry|end_hold|[\w.\[\]#+ ]+ = )"
)
CONDITION = re.compile(r"(?P<before>\s*(?:else)?if )(?P<condition>.+)(?P<after> then.*)")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One line of one script, as it is and as it shall be."""

    file: str
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}\n  - {self.before.strip()}\n  + {self.after.strip()}"


def swapped(kind: str, token: str) -> str | None:
    """What a token becomes; None where it stays."""
    if kind == "number":
        return str(int(token) + 1)
    return SWAPS.get(token)


def mutants_of_line(line: str) -> Iterator[str]:
    for found in TOKEN.finditer(line):
        kind = found.lastgroup or ""
        if kind == "comment":
            return
        after = swapped(kind, found.group())
        if after is not None:
            yield line[: found.start()] + after + line[found.end() :]
    condition = CONDITION.fullmatch(line)
    if condition is not None:
        for always in ("true", "false"):
            yield f"{condition['before']}{always}{condition['after']}"


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every mutant of a script; a statement over several lines is left out as one."""
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        for after in mutants_of_line(line):
            yield Mutant(path.name, number, line, after)
        if STATEMENT.match(line) and not line.lstrip().startswith(("local", "--", "for")):
            yield Mutant(path.name, number, line, _left_out(lines, number - 1))


def _left_out(lines: list[str], at: int) -> str:
    """The line within a condition that never holds, up to where its parentheses close."""
    depth = 0
    for end in range(at, len(lines)):
        depth += lines[end].count("(") + lines[end].count("{")
        depth -= lines[end].count(")") + lines[end].count("}")
        if depth <= 0:
            break
    if end == at:
        return f"if false then {lines[at].strip()} end"
    # The rest of the statement follows on its own lines: only its effect is taken away.
    return f"local _ = false and {lines[at].strip()}"


def copy_of_repository(folder: Path) -> Path:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    return folder


def noticed_by(folder: Path, mutant: Mutant) -> str:
    """Run the tests on a copy with one mutant in it, which is taken out again; "" for nobody."""
    path = folder / LUA / mutant.file
    original = path.read_text(encoding="utf-8")
    lines = original.split("\n")
    lines[mutant.line - 1] = mutant.after
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        return first_failure(folder)
    finally:
        path.write_text(original, encoding="utf-8")


def first_failure(folder: Path) -> str:
    """The name of the first test that fails; "" where none does."""
    options = ("-x", "-q", "-m", "redis", "-p", "no:cacheprovider", "--timeout=40")
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *TESTS],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=SUITE_WITHIN_S)
        except subprocess.TimeoutExpired:
            return "the time limit"
        finally:
            # A script that never ends outlives its test: its server goes with the group.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) \S+?::(\w+)", output, re.MULTILINE)
    return failed[1] if failed else "the test run itself"


def run(mutants: list[Mutant], jobs: int) -> int:
    with tempfile.TemporaryDirectory(prefix="weir-mutants-") as temporary:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            copies.put(copy_of_repository(Path(temporary) / str(number)))

        def judge(mutant: Mutant) -> str:
            folder = copies.get()
            try:
                return noticed_by(folder, mutant)
            finally:
                copies.put(folder)

        folder = copies.get()
        if failure := first_failure(folder):
            raise SystemExit(f"without any mutant, this fails: {failure}")
        copies.put(folder)
        survivors = 0
        with ThreadPoolExecutor(jobs) as pool:
            judged = zip(mutants, pool.map(judge, mutants), strict=True)
            for number, (mutant, test) in enumerate(judged, 1):
                survivors += not test
                who = f"noticed by {test}" if test else "NOT NOTICED"
                print(f"[{number}/{len(mutants)}] {who}: {mutant}", flush=True)
    noticed = len(mutants) - survivors
    print(f"{noticed} of {len(mutants)} noticed ({100 * noticed / len(mutants):.1f} %)")
    return 0 if survivors == 0 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Break the Lua scripts and see who notices.")
    parser.add_argument("--only", nargs="*", default=[], help="names of scripts")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="say what would be tried")
    given = parser.parse_args()
    files = sorted((ROOT / LUA).glob("*.lua"))
    wanted = [path for path in files if not given.only or path.name in given.only]
    found = [mutant for path in wanted for mutant in mutants_of(path)]
    if given.list:
        print(*found, f"{len(found)} mutants", sep="\n")
        raise SystemExit
    raise SystemExit(run(found, given.jobs))
