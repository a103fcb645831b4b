"""One host, several processes: a parent that collects, and workers that answer on its port.

All share one listening socket, so a worker that dies takes no waiting connection with it. Each is
started anew from the program and told over its standard input what it needs: the configuration as
the parent read it, the socket, and where the parent's control plane is. That pipe stays open; when
it ends, the parent is gone and the worker finishes what is under way and ends too.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from gateway.config import Settings
from gateway.reports import Report, together
from gateway.roles import ServeRole
from gateway.serving import (
    GRACE_S,
    LOG_FORMAT,
    STARTUP_ERRORS,
    Server,
    banner,
    listen,
    settle_garbage_collection,
    uvicorn_config,
)

LOG = logging.getLogger("weir.workers")
READY = b"ready\n"
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.2, 30.0
# A worker that lived this long was not hindered from starting; the next pause is short again.
SETTLED_S = 30.0
# Beyond the worker's own grace; then it is killed.
END_SLACK_S = 10.0
MAX_REPORT_BYTES = 16 * 1024 * 1024


class WorkerError(RuntimeError):
    """A worker that does not start; the message says which."""


@dataclass(frozen=True, slots=True)
class Handoff:
    """What a worker is told in one line."""

    config: Path
    text: str
    listener: int
    control_url: str

    def to_line(self) -> bytes:
        return json.dumps([str(self.config), self.text, self.listener, self.control_url]).encode()

    @classmethod
    def from_line(cls, line: bytes) -> "Handoff":
        config, text, listener, control_url = json.loads(line)
        return cls(Path(config), text, listener, control_url)


class Seat:
    """The place of one worker: one process after the other until it is closed."""

    def __init__(self, number: int, handoff: Handoff, env: Mapping[str, str]) -> None:
        self.number = number
        self.starts = 0
        self.may_begin = asyncio.Event()
        self.ready = asyncio.Event()
        self.report = Report()
        self.gone = Report()  # what earlier processes in this place had seen
        self._handoff = handoff
        self._env = env
        self._process: asyncio.subprocess.Process | None = None
        self._closing = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The worker's process id, while there is one."""
        return None if self._process is None else self._process.pid

    async def keep(self) -> None:
        """Have a worker in this place until `close`."""
        loop = asyncio.get_running_loop()
        backoff_s = FIRST_BACKOFF_S
        while not self._closing.is_set():
            started_s = loop.time()
            told = await self._run_once()
            if self._closing.is_set():
                return
            if loop.time() - started_s >= SETTLED_S:
                backoff_s = FIRST_BACKOFF_S
            LOG.error("worker %d %s; starting it again in %g s", self.number, told, backoff_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), backoff_s)
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)

    async def _run_once(self) -> str:
        """One process from start to end; how it ended."""
        self.starts += 1
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # the working directory is no place to import from
                "-m",
                "gateway.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=MAX_REPORT_BYTES,
                env=_environment(self._env),
                pass_fds=(self._handoff.listener,),
            )
        except OSError as error:
            return f"cannot be started: {error.strerror or error}"
        if self._closing.is_set():
            process.terminate()
        try:
            if process.stdin is None or process.stdout is None:
                raise AssertionError("a pipe that was asked for is missing")
            await self.may_begin.wait()
            process.stdin.write(self._handoff.to_line() + b"\n")
            if await process.stdout.readline() == READY:
                self.ready.set()
            await self._listen(process.stdout)
            status = await process.wait()
            how = f"signal {-status}" if status < 0 else f"status {status}"
            return f"(process {process.pid}) ended with {how}"
        finally:
            self.ready.clear()
            self._process = None
            self.gone, self.report = together([self.gone, self.report.remains()]), Report()

    async def _listen(self, told: asyncio.StreamReader) -> None:
        """Take every report of the process, until it ends."""
        while line := await told.readline():
            try:
                self.report = Report.from_line(line)
            except (ValueError, KeyError, TypeError) as error:
                LOG.error("worker %d told what is no report: %s", self.number, error)

    def close(self, number: signal.Signals) -> None:
        """Start no more, and send the worker a signal."""
        self._closing.set()
        self.may_begin.set()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """The parent's own, and where this program lies."""
    root = str(Path(__file__).resolve().parents[1])
    path = [root, *filter(None, [env.get("PYTHONPATH")])]
    return {**env, "PYTHONPATH": os.pathsep.join(path)}


class Crew:
    """All workers of a parent."""

    def __init__(
        self, count: int, handoff: Handoff, env: Mapping[str, str], grace_s: float = GRACE_S
    ) -> None:
        """`grace_s` is how long requests may go on after a signal."""
        self._grace_s = grace_s
        self.seats = [Seat(number, handoff, env) for number in range(count)]
        self._keeping: list[asyncio.Task[None]] = []

    def told(self) -> list[Mapping[str, object]]:
        """Each worker for the admin API."""
        return [
            {"pid": seat.pid, "ready": seat.ready.is_set(), "starts": seat.starts}
            for seat in self.seats
        ]

    def reports(self) -> list[Report]:
        """What all workers have seen, those that are gone included."""
        return [report for seat in self.seats for report in (seat.report, seat.gone)]

    def load(self) -> None:
        """Start the processes: each loads its program and waits until it is told to begin."""
        self._keeping = [asyncio.create_task(seat.keep()) for seat in self.seats]

    async def start(self) -> None:
        """Return when every worker answers; raise WorkerError where one ended before that."""
        for seat in self.seats:
            seat.may_begin.set()
        for seat in self.seats:
            while not seat.ready.is_set():
                if seat.starts > 1:
                    raise WorkerError(f"worker {seat.number} does not start; its reason is above")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(seat.ready.wait(), 0.05)

    async def end(self) -> None:
        """Have every worker finish what is under way; one that does not is killed."""
        self._signal(signal.SIGTERM)
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=self._grace_s + END_SLACK_S)
            if any(not keeping.done() for keeping in self._keeping):
                LOG.error("workers that did not end in time are killed")
                self._signal(signal.SIGKILL)
                await asyncio.wait(self._keeping)

    def end_now(self) -> None:
        """Do not wait for what is under way."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for seat in self.seats:
            seat.close(number)


def run_workers(
    settings: Settings,
    count: int,
    open_gateway: Callable[[Settings], AbstractAsyncContextManager[Any]],
    build_app: Callable[[Any, Crew], Any],
) -> int:
    """Serve with so many workers until SIGINT or SIGTERM; the exit status.

    Every worker then finishes what is under way. A second signal ends all at once; what was under
    way then is charged when its lease ends.
    """
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    try:
        settings, listener = listen(settings)
        with listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, count, listener, open_gateway, build_app))
    except (*STARTUP_ERRORS, WorkerError) as error:
        print(f"weir: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(
    settings: Settings,
    count: int,
    listener: socket.socket,
    open_gateway: Callable[[Settings], AbstractAsyncContextManager[Any]],
    build_app: Callable[[Any, Crew], Any],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        control_url = f"http://127.0.0.1:{own.getsockname()[1]}"
        text = settings.raw.decode()
        handoff = Handoff(settings.path, text, listener.fileno(), control_url)
        crew = Crew(count, handoff, settings.env, settings.server.drain_s)
        crew.load()
        try:
            async with open_gateway(settings) as gateway:
                server = Server(uvicorn_config(build_app(gateway, crew)), _nothing, gateway.drain)
                stopping = _on_signals(crew, server)
                serving = asyncio.create_task(server.serve(sockets=[own]))
                try:
                    await _until_stopped(crew, stopping, settings, gateway.data, control_url)
                finally:
                    listener.close()  # what waits there is nobody's any more
                    await crew.end()
                    server.end()
                    await serving
                    gateway.data.withdraw()
        finally:
            await crew.end()


def _nothing() -> None:
    """Nobody but workers and commands is told of the control plane's own address."""


def _on_signals(crew: Crew, server: Server) -> asyncio.Event:
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            crew.end_now()
            server.force_exit = True
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return stopping


async def _until_stopped(
    crew: Crew, stopping: asyncio.Event, settings: Settings, data: Any, control_url: str
) -> None:
    """Start the workers, say how to reach them, and wait for a signal."""
    starting = asyncio.create_task(crew.start())
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        return
    await starting
    settle_garbage_collection()
    data.announce(control_url)
    print(banner(settings, ServeRole.PARENT), flush=True)
    await stopped
