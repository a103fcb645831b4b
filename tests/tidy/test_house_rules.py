"""The house rules of the repository, as tests: sizes, names, catches, imports, packaging.

A rule that is only written down is broken within a month; these fail the build instead.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("budgets", "routing", "telemetry", "dashboards", "gateway")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70
COUNTED = {".py", ".sql", ".lua", ".js", ".css", ".html"}
BANNED_NAMES = {"utils", "util", "common", "helpers", "misc"}
BROAD = {"Exception", "BaseException"}

# A supervisor outlives what it watches, so it may catch everything:
# (file, function that catches) -> why.
SUPERVISORS: dict[tuple[str, str], str] = {
    ("gateway/lifecycle.py", "answer"): "a fault of ours is a 500, not a dropped line",
    ("gateway/providers/litellm_bridge.py", "open"): "litellm raises whatever its vendors do",
    ("gateway/providers/litellm_bridge.py", "_run"): "the same, in the middle of a stream",
    ("telemetry/collector.py", "_supervise"): "a batch that fails is tried again, whatever it was",
}

# Spelled in pieces, so that this file does not break its own rule.
BANNED_TEXT = {
    "index" + "-url": "a package index is each machine's own setting",
    "pypi" + ".org": "a registry's host",
    "python" + "hosted.org": "a registry's host",
    "npmjs" + ".org": "a registry's host",
    "deb" + ".debian.org": "a registry's host",
    "/wo" + "rk/": "a path of one machine",
}


@cache
def repository_files() -> tuple[Path, ...]:
    """Give every file that is committed or would be by `git add --all`."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    files = (ROOT / name for name in sorted(set(listing.split("\0"))) if name)
    return tuple(path for path in files if path.is_file())


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def python_files() -> list[Path]:
    return [path for path in repository_files() if path.suffix == ".py"]


def source_files() -> list[Path]:
    return [path for path in python_files() if path.relative_to(ROOT).parts[0] in FLOORS]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=shown(path))


def functions_in(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    counted = [path for path in repository_files() if path.suffix in COUNTED]
    own = [path for path in counted if ".min." not in path.name]
    lengths = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in own}
    assert {name: n for name, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_seventy_lines() -> None:
    lengths = {
        f"{shown(path)}:{function.lineno} {function.name}": function.end_lineno
        - function.lineno
        + 1
        for path in python_files()
        for function in functions_in(tree_of(path))
        if function.end_lineno is not None
    }
    assert {name: n for name, n in lengths.items() if n > MAX_FUNCTION_LINES} == {}


def test_nothing_is_global() -> None:
    found = [
        f"{shown(path)}:{node.lineno}"
        for path in python_files()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Global)
    ]
    assert found == []


def test_no_module_is_a_drawer_for_everything() -> None:
    found = [
        shown(path)
        for path in repository_files()
        if BANNED_NAMES & {part.lower() for part in path.relative_to(ROOT).with_suffix("").parts}
    ]
    assert found == []


def broad_catches(tree: ast.AST, function: str = "<module>") -> Iterator[tuple[str, int]]:
    """Give (function, line) of every bare or broad `except` and `suppress`."""
    for node in ast.iter_child_nodes(tree):
        inside = function
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = node.name
        if isinstance(node, ast.ExceptHandler):
            caught = (
                {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
                if node.type
                else BROAD
            )
            if caught & BROAD:
                yield inside, node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            caught = {ast.unparse(argument) for argument in node.args}
            if caught & BROAD:
                yield inside, node.lineno
        yield from broad_catches(node, inside)


def test_only_named_supervisors_catch_everything() -> None:
    found = {
        (shown(path), function): line
        for path in python_files()
        for function, line in broad_catches(tree_of(path))
    }
    unnamed = {
        f"{name}:{line} {fn}" for (name, fn), line in found.items() if (name, fn) not in SUPERVISORS
    }
    assert unnamed == set()
    assert set(SUPERVISORS) - set(found) == set(), "these catch nothing broad any more"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f():\n    try: pass\n    except Exception: pass", [("f", 3)]),
        ("try: pass\nexcept (ValueError, BaseException): pass", [("<module>", 2)]),
        ("try: pass\nexcept: pass", [("<module>", 2)]),
        ("with contextlib.suppress(Exception): pass", [("<module>", 1)]),
        ("try: pass\nexcept ValueError: pass", []),
    ],
)
def test_the_search_for_broad_catches_finds_them(
    code: str, expected: list[tuple[str, int]]
) -> None:
    assert list(broad_catches(ast.parse(code))) == expected


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def says_something(path: Path) -> bool:
    """Tell whether a module holds more than a docstring and imports."""
    quiet = (ast.Import, ast.ImportFrom, ast.Expr)
    return any(not isinstance(node, quiet) for node in tree_of(path).body)


def mentioned_in_tests() -> set[str]:
    """Collect every dotted name that a test imports or mentions."""
    names: set[str] = set()
    for path in python_files():
        if path.relative_to(ROOT).parts[0] != "tests":
            continue
        names.update(re.findall(r"\b(?:\w+\.)+\w+", path.read_text(encoding="utf-8")))
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
                names.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
    return names


def test_every_module_has_a_test_that_names_it() -> None:
    known = mentioned_in_tests()
    modules = {module_name(path) for path in source_files() if says_something(path)}
    unnamed = {m for m in modules if not any(n == m or n.startswith(m + ".") for n in known)}
    assert unnamed == set()


def test_no_committed_file_knows_a_registry_or_a_machine() -> None:
    found = []
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{shown(path)}: {why}" for banned, why in BANNED_TEXT.items() if banned in text]
    assert found == []


def pyproject() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_listed_in_pyproject() -> None:
    listed = pyproject()["tool"]["setuptools"]["packages"]  # type: ignore[index]
    present = {module_name(path.parent / "__init__.py") for path in source_files()}
    assert set(listed) == present


def test_every_locked_requirement_carries_a_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert pins, "the lock is empty"


def test_every_direct_dependency_is_locked() -> None:
    project = pyproject()["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]  # type: ignore[index]
    names = {re.split(r"[^\w.-]", need)[0].lower() for group in groups for need in group}
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([a-z0-9._-]+)==", lock, flags=re.MULTILINE))
    assert names - locked == set()
