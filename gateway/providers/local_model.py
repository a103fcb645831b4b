"""A small model on this machine: a child process that is started, watched, and restarted.

The gateway does not wait for it: `start` returns at once and `ready` turns true when the model is
loaded. A call that comes earlier, or while the child is being restarted, waits a little.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.providers.http1_client import Http1Client, PoolLimits
from gateway.providers.http_client import parse_base_url
from gateway.providers.http_provider import HttpProvider, HttpSettings
from gateway.providers.local_process import BoundedLog, ChildProcess, LocalModelSettings
from gateway.providers.port import UpstreamCall, UpstreamError, UpstreamFault, UpstreamReply


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a load, for a call's turn, and between restarts, in seconds."""

    load_s: float = 120.0
    ready_wait_s: float = 10.0
    first_backoff_s: float = 0.25
    max_backoff_s: float = 30.0
    settled_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model answers while its child lives."""

    base_url: str
    api_key: str = field(repr=False)


class LocalModelProvider:
    """Serves calls from a model in a child process of its own (`Provider`)."""

    def __init__(
        self,
        name: str,
        settings: LocalModelSettings,
        log_file: Path,
        env: Mapping[str, str],
        patience: Patience | None = None,
        limits: PoolLimits | None = None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._log_file = log_file
        self._env = env
        self._patience = patience or Patience()
        # llama.cpp closes idle connections after 5 s.
        self._limits = limits or PoolLimits(max_connections=256, max_idle_s=4.0)
        self._supervisor: asyncio.Task[None] | None = None
        self._upstream: HttpProvider | None = None
        self._endpoint: Endpoint | None = None
        self._loaded = asyncio.Event()
        self._child: ChildProcess | None = None
        self._starts = 0
        self._trouble = ""

    def __repr__(self) -> str:
        return f"LocalModelProvider({self._name!r}, '{self._settings.model_file.name}')"

    @property
    def name(self) -> str:
        return self._name

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and its child alive."""
        return self._loaded.is_set()

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        return self._child.pid if self._child is not None else None

    @property
    def starts(self) -> int:
        """How often a child has been started."""
        return self._starts

    @property
    def trouble(self) -> str:
        """Why the last child ended, for the operator; empty while all is well."""
        return self._trouble

    async def start(self) -> None:
        """Have the model loaded in the background."""
        if self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise(), name=f"model-{self._name}")

    async def wait_ready(self, limit_s: float) -> bool:
        """Wait up to `limit_s` seconds for the model; whether it is there."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._loaded.wait()
        return self._loaded.is_set()

    async def lend(self) -> Endpoint | str:
        """Where other processes may ask the model themselves, or why it is not there."""
        await self.wait_ready(self._patience.ready_wait_s)
        return self._endpoint or self._trouble or "it is still loading"

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        """Send the call, after a short wait for the model if need be; raise UpstreamError."""
        if not self._loaded.is_set():
            call = await self._wait_turn(call)
        upstream = self._upstream
        if upstream is None:
            raise UpstreamError(UpstreamFault.CONNECT, f"{self._name}: the local model has gone")
        return await upstream.open(call)

    async def _wait_turn(self, call: UpstreamCall) -> UpstreamCall:
        """Wait for the model; the call comes back with what is left of its time."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        if not await self.wait_ready(min(self._patience.ready_wait_s, call.timeouts.total_s)):
            why = self._trouble or "it is still loading"
            raise UpstreamError(
                UpstreamFault.CONNECT, f"{self._name}: the local model is not ready: {why}"
            )
        left_s = max(call.timeouts.total_s - (loop.time() - started), 0.001)
        return replace(call, timeouts=replace(call.timeouts, total_s=left_s))

    async def stop(self) -> None:
        """End the child; harmless when there is none."""
        supervisor = self._supervisor
        self._supervisor = None
        if supervisor is not None:
            supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await supervisor

    async def _supervise(self) -> None:
        """Keep one child alive until cancelled, with growing pauses while it keeps dying."""
        loop = asyncio.get_running_loop()
        log = BoundedLog(self._log_file)
        backoff_s = self._patience.first_backoff_s
        while True:
            started = loop.time()
            try:
                self._starts += 1
                self._trouble = await self._run_once(log)
            except OSError as error:
                self._trouble = f"cannot start: {error.strerror or error}"
            log.append(f"gateway: {self._trouble}\n".encode())
            if loop.time() - started >= self._patience.settled_s:
                backoff_s = self._patience.first_backoff_s
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, self._patience.max_backoff_s)

    async def _run_once(self, log: BoundedLog) -> str:
        """One child from start to end; returns why it ended."""
        child = self._child = await ChildProcess.start(self._settings, log, self._env)
        try:
            try:
                async with asyncio.timeout(self._patience.load_s):
                    address = await child.address()
            except TimeoutError:
                return f"not loaded within {self._patience.load_s:g} s"
            if address is not None:
                self._endpoint = Endpoint(f"{address}/v1", child.api_key)
                base_url = parse_base_url(self._endpoint.base_url)
                self._upstream = HttpProvider(
                    self._name,
                    HttpSettings(base_url, api_key=child.api_key),
                    Http1Client(base_url.origin, self._limits),
                )
                self._trouble = ""
                self._loaded.set()
            code = await child.wait()
            return f"ended with exit code {code}: {log.last_line}"
        finally:
            self._loaded.clear()
            self._child = self._endpoint = None
            upstream, self._upstream = self._upstream, None
            if upstream is not None:
                await upstream.stop()
            await child.end()
