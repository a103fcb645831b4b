"""Starts one server at a time on a core of its own, and stops it whatever happens."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

BENCH = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
KEY_LINE = re.compile(r"key: (sk-weir-\S+)")


class BenchError(Exception):
    """The run cannot go on; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Cores:
    """One core for the server under test, another for all that makes or takes its load."""

    server: int
    load: int

    @classmethod
    def pick(cls) -> "Cores":
        if not sys.platform.startswith("linux"):
            raise BenchError("the bench needs Linux: its load tools use epoll and pin to cores")
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) == 1:
            raise BenchError("the bench needs two cores: one for the server, one for the load")
        return cls(server=cores[0], load=cores[1])


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and what a client needs to call it."""

    name: str
    pid: int
    port: int
    started_at_s: float
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rig:
    """What every measurement of one run shares."""

    cores: Cores
    work: Path
    upstream_port: int


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def pinned(core: int, command: Sequence[str | Path]) -> list[str]:
    return ["taskset", "-c", str(core), *map(str, command)]


def build_tools(work: Path) -> None:
    """Compile the fake upstream and the stream load into `work`."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BenchError(
            "no C compiler found; on Debian or Ubuntu: apt-get install build-essential"
        )
    for tool in ("fake_openai", "sse_load"):
        command = [compiler, "-O2", "-w", "-o", str(work / tool), str(BENCH / f"{tool}.c")]
        subprocess.run(command, check=True)


@contextmanager
def running(
    command: Sequence[str], log: Path, env: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` for as long as the block lasts; its output goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | env
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def accepts(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(0.2)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not accepts(port):
        if process.poll() is not None or time.monotonic() > deadline_s:
            tail = log.read_text(errors="replace")[-2000:]
            raise BenchError(f"{log.stem} did not come up; its last output:\n{tail}")
        time.sleep(0.01)


def key_in(log: Path) -> str:
    """Read the key that the gateway prints when it starts on an empty data directory."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not (found := KEY_LINE.search(log.read_text(errors="replace"))):
        if time.monotonic() > deadline_s:
            raise BenchError(f"the gateway printed no line 'key: sk-weir-…' (see {log})")
        time.sleep(0.01)
    return found[1]


@contextmanager
def upstream(cores: Cores, work: Path) -> Iterator[int]:
    """The fake upstream; gives its port."""
    port = free_port()
    log = work / "upstream.log"
    command = pinned(cores.load, [work / "fake_openai", "--port", str(port)])
    with running(command, log, {}) as process:
        wait_until_up(process, port, log)
        yield port


@contextmanager
def reference(rig: Rig) -> Iterator[Server]:
    """The pass-through on the same stack: uvicorn, uvloop, httptools, aiohttp."""
    port, log = free_port(), rig.work / "reference.log"
    uvicorn = [
        str(BIN / "uvicorn"),
        "--app-dir",
        str(BENCH),
        "--port",
        str(port),
        "--no-access-log",
    ]
    options = ["--loop", "uvloop", "--http", "httptools", "passthrough:asgi_aiohttp"]
    command = pinned(rig.cores.server, [*uvicorn, *options])
    env = {"UPSTREAM": f"http://127.0.0.1:{rig.upstream_port}"}
    started_at_s = time.monotonic()
    with running(command, log, env) as process:
        wait_until_up(process, port, log)
        yield Server("reference", process.pid, port, started_at_s)


@contextmanager
def gateway(rig: Rig, config: Path | None) -> Iterator[Server]:
    """The gateway as a user starts it, on an empty data directory; everything is on.

    Without `config` it is `make run`: the default config and no provider's key, so that the
    local model answers.
    """
    port, log = free_port(), rig.work / "gateway.log"
    data = rig.work / f"data-{port}"
    data.mkdir()
    arguments = ["serve", "--port", str(port)] + (["--config", str(config)] if config else [])
    command = [str(BIN / "weir"), *arguments]
    if config:
        command = pinned(rig.cores.server, command)
    env = {"WEIR_DATA_DIR": str(data), "FAKE_KEY": "sk-x"}
    env |= {name: "" for name in os.environ if name.endswith("_API_KEY")}
    started_at_s = time.monotonic()
    with running(command, log, env) as process:
        wait_until_up(process, port, log)
        headers = {"Authorization": f"Bearer {key_in(log)}", "x-weir-workflow": "bench"}
        yield Server("gateway", process.pid, port, started_at_s, headers)
    shutil.rmtree(data, ignore_errors=True)


def ask(server: Server, body: bytes, timeout_s: float = 60.0) -> tuple[int, bytes]:
    """Send one chat completion; give status and body. Status 0 is a connection that failed."""
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)
    try:
        headers = {"Content-Type": "application/json"} | server.headers
        client.request("POST", "/v1/chat/completions", body, headers)
        response = client.getresponse()
        return response.status, response.read()
    except OSError as error:
        return 0, str(error).encode()
    finally:
        client.close()


def wait_for_answer(server: Server, body: bytes) -> float:
    """Ask until the answer is a 200; give the seconds since the process was started."""
    deadline_s = server.started_at_s + START_TIMEOUT_S
    while True:
        status, answer = ask(server, body)
        if status == http.HTTPStatus.OK:
            json.loads(answer)
            return time.monotonic() - server.started_at_s
        if time.monotonic() > deadline_s:
            raise BenchError(f"{server.name} still answers {status}: {answer[:500]!r}")
        time.sleep(0.02)
