"""A local model's child process, seen from its parent: start it, hear its address, end it."""

import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

CHILD_FILE = Path(__file__).with_name("local_model_child.py")
# What a child gets of the environment: never the gateway's keys.
CHILD_ENVIRONMENT = (
    "DYLD_LIBRARY_PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "TMPDIR",
    "VIRTUAL_ENV",
)
MAX_LOG_BYTES = 1024 * 1024
TERMINATE_S = 5.0


@dataclass(frozen=True, slots=True)
class LocalModelSettings:
    """The model file and what its server may use. Every one of `parallel` has `context_tokens`."""

    model_file: Path
    alias: str
    threads: int = 1
    context_tokens: int = 4096
    parallel: int = 1

    def arguments(self) -> list[str]:
        return [
            f"--model-file={self.model_file}",
            f"--alias={self.alias}",
            f"--threads={self.threads}",
            f"--context-tokens={self.context_tokens}",
            f"--parallel={self.parallel}",
        ]


class BoundedLog:
    """Appends to a file that never exceeds `max_bytes`; the part before lies in `<name>.1`."""

    def __init__(self, path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self.last_line = ""

    def append(self, text: bytes) -> None:
        """Write, or let it be: a full disk must not take the model down."""
        text = text[-self._max_bytes :]
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size + len(text) > self._max_bytes:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
            with self._path.open("ab") as file:
                file.write(text)
        lines = text.decode(errors="replace").strip().splitlines()
        if lines:
            self.last_line = lines[-1][:200]


class ChildProcess:
    """One run of the child: `start`, `address`, `wait`, `end`."""

    def __init__(self, process: asyncio.subprocess.Process, api_key: str, log: BoundedLog) -> None:
        self._process = process
        self._log = log
        self._log_pump = asyncio.create_task(self._pump_log(), name="local-model-log")
        self.api_key = api_key

    @classmethod
    async def start(
        cls, settings: LocalModelSettings, log: BoundedLog, env: Mapping[str, str]
    ) -> "ChildProcess":
        """Start the child; raise OSError where that cannot be done."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the child's own folder is no place to import from
            str(CHILD_FILE),
            *settings.arguments(),
            f"--parent-pid={os.getpid()}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: env[name] for name in CHILD_ENVIRONMENT if name in env},
            start_new_session=True,  # Ctrl-C is the gateway's to handle
        )
        api_key = secrets.token_urlsafe(32)
        if process.stdin is not None:
            process.stdin.write(api_key.encode() + b"\n")
        return cls(process, api_key, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def address(self) -> str | None:
        """The base URL of the child's server once the model is loaded; None if it ended first."""
        if self._process.stdout is None:
            return None
        while line := await self._process.stdout.readline():
            if line.startswith(b'{"address"'):
                return str(orjson.loads(line)["address"])
        return None

    async def wait(self) -> int:
        """The exit code, once the child is gone and its log is written."""
        code = await self._process.wait()
        await self._log_pump
        return code

    async def end(self) -> None:
        """Ask the child to go, then make it; harmless on one that is gone."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(TERMINATE_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        await self._log_pump

    async def _pump_log(self) -> None:
        if self._process.stderr is not None:
            while text := await self._process.stderr.read(16 * 1024):
                self._log.append(text)
