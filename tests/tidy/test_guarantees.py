"""docs/guarantees.md: every promise names tests that are there, and the night does what it says."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
PROMISE = re.compile(r"^### ([IBP]\d+): (.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
PROMISES = dict(PROMISE.findall(PAGE))
PROMISED = {
    *(f"I{number}" for number in range(1, 14)),
    *(f"B{number}" for number in (*range(1, 21), *range(22, 30), 31, 32)),
    *(f"P{number}" for number in (2, 4, 11)),
}
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def names_in(path: Path) -> set[str]:
    """What a file has at its top: functions, classes, and classes that it gives a name."""
    names = set[str]()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if name.lower().startswith("test")}


def test_no_promise_is_missing() -> None:
    assert PROMISES.keys() == PROMISED


@pytest.mark.parametrize("number", sorted(PROMISES, key=lambda name: (name[0], int(name[1:]))))
def test_every_promise_says_how_it_is_proven_and_names_tests_that_are_there(number: str) -> None:
    text = PROMISES[number]
    _, promise, proof, _ = re.split(r"\n\n", text, maxsplit=3)
    assert promise and proof.startswith("*Proven by:* ")
    named = NAMED.findall(text)
    assert named and len(named) == text.count("::")
    missing = [f"{path}::{name}" for path, name in named if name not in names_in(ROOT / path)]
    assert missing == []


def test_every_part_of_the_night_is_listed_with_the_number_that_it_uses() -> None:
    script = (ROOT / ".ci/nightly").read_text(encoding="utf-8")
    [parts] = re.findall(r"^parts=\((.+)\)$", script, re.MULTILINE)
    rows = re.findall(r"^\| `(\w+)` \| .+ \| ([\d,]+) \| (?:`(\w+)`)? ?\|$", PAGE, re.MULTILINE)
    assert [part for part, _, _ in rows] == parts.split()
    for _, night, variable in rows:
        if variable:
            assert f"{variable}=${{{variable}:-{night.replace(',', '')}}}" in script
            tests = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
            assert any(f'"{variable}"' in text for text in tests)
