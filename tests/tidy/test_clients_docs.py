"""What docs/clients.md says of each client is what its test sets and raises."""

import json
import re

import pytest

from tests.clients import test_sdk_clients
from tests.clients.client_list import AGENTS, SDKS
from tests.clients.real_clients import Client
from tests.journeys.gateway_process import ROOT

LOCKS = ROOT / "tests" / "clients" / "locks"
TEXT = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
CLIENTS = {**SDKS, **AGENTS}
ROWS = {
    cells[0].strip("` "): cells
    for cells in (line.strip("|").split("|") for line in TEXT.splitlines() if line[:3] == "| `")
}


def pinned(client: Client) -> str:
    """The version of a client in its lock."""
    listed = LOCKS / client.lock / "package-lock.json"
    if listed.exists():
        packages = json.loads(listed.read_text())["packages"]
        return str(packages[f"node_modules/{client.package}"]["version"])
    lock = (LOCKS / f"{client.lock}.txt").read_text()
    found = re.search(rf"^{re.escape(client.package)}==(\S+)", lock, re.MULTILINE)
    assert found is not None
    return found[1]


def in_code(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def test_every_client_has_a_row_and_no_other() -> None:
    assert sorted(ROWS) == sorted(CLIENTS)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_row_has_the_version_and_all_that_is_set(name: str) -> None:
    client = CLIENTS[name]
    _, package, settings, quiet, files, error = ROWS[name]
    assert in_code(package) == {f"{client.package} {pinned(client)}"}
    assert in_code(settings) == set(client.settings)
    assert in_code(quiet) == {f"{key}={value}" for key, value in client.quiet.items()}
    assert in_code(files) == {f"~/{path}" for path in client.files}
    if name in test_sdk_clients.CASES:
        assert in_code(error) == {test_sdk_clients.CASES[name].error}


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("*.txt")), ids=lambda lock: lock.name)
def test_every_pin_of_a_python_client_has_its_hash(lock: object) -> None:
    pins = re.split(r"^(?=[A-Za-z0-9])", LOCKS.joinpath(str(lock)).read_text(), flags=re.MULTILINE)
    assert [pin.split()[0] for pin in pins[1:] if "--hash=sha256:" not in pin] == []
    assert len(pins) > 1


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("*/package-lock.json")), ids=str)
def test_every_pin_of_a_node_client_has_its_hash_and_no_address(lock: object) -> None:
    packages = json.loads(LOCKS.joinpath(str(lock)).read_text())["packages"]
    pins = {name: pin for name, pin in packages.items() if name}
    assert pins
    assert [name for name, pin in pins.items() if "integrity" not in pin] == []
    assert [name for name, pin in pins.items() if "resolved" in pin] == []
