"""Prints the part of requirements.lock that some packages need, hashes and all.

    python deploy/runtime_lock.py                    what a gateway needs to run
    python deploy/runtime_lock.py setuptools wheel   what these need

The lock says of each pin which packages asked for it; that is followed backwards.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)
NAME = re.compile(r"[A-Za-z0-9._-]+")


def parts_needed(lock: str, roots: Iterable[str]) -> str:
    """The pins of these packages, and of everything that one of them asked for."""
    pins = {pin.split("==")[0].split("[")[0]: pin for pin in PIN.split(lock)[1:]}
    missing = set(roots) - set(pins)
    if missing:
        raise SystemExit(f"not in the lock: {', '.join(sorted(missing))}")
    asked_by = {name: _asked_by(pin) for name, pin in pins.items()}
    needed = set(roots)
    while grown := {name for name in pins if asked_by[name] & needed} - needed:
        needed |= grown
    return "".join(pin for name, pin in pins.items() if name in needed)


def _asked_by(pin: str) -> set[str]:
    """The names after `# via`, on its line or on those that follow."""
    _, _, via = pin.partition("# via")
    names = (line.strip("# ").partition(" ")[0] for line in via.splitlines())
    return {name for name in names if NAME.fullmatch(name)}


def main(arguments: list[str]) -> None:
    """Print the part for the given packages, or for the program's own dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [match[0].lower() for need in project["dependencies"] if (match := NAME.match(need))]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    print(parts_needed(lock, arguments or own), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
