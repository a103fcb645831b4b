"""Runs an application behind uvicorn in this process until a signal; says how to reach it."""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from typing import Any

import uvicorn
import uvloop

from budgets.ledger import LedgerError
from gateway.auth import AuthError, load_secret
from gateway.config import Settings
from gateway.data_dir import DataDir, DataDirError
from gateway.http_protocol import LimitedProtocol
from gateway.providers.build import ProviderBuildError
from gateway.registries.port import RegistryError
from gateway.roles import ServeRole

GRACE_S = 30
# What a request that was ended may take to be settled and said goodbye to.
END_S = 5.0
BACKLOG = 2048
KEEP_ALIVE_S = 75
LOG_FORMAT = "%(asctime)s %(name)s %(message)s"


class ListenError(RuntimeError):
    """The address cannot be listened on; the message says why and what to do."""


STARTUP_ERRORS = (
    AuthError,
    DataDirError,
    LedgerError,
    ListenError,
    ProviderBuildError,
    RegistryError,
)


Open = Callable[[Settings], AbstractAsyncContextManager[Any]]
Build = Callable[[Any], Any]


class Server(uvicorn.Server):
    """uvicorn, with the signals left to us: its own handling ends the process before the books."""

    def __init__(
        self,
        config: uvicorn.Config,
        on_started: Callable[[], None],
        on_ending: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_ending = on_ending

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the handlers as they are."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests finish; those that do not in time are cancelled, and still settled."""
        await super().shutdown(sockets)
        if self.server_state.tasks and not self.force_exit:
            await asyncio.wait(self.server_state.tasks, timeout=END_S)

    def end(self) -> None:
        """Finish what is under way; at once, when asked a second time."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._on_ending()


def listen(settings: Settings) -> tuple[Settings, socket.socket]:
    """A socket at the configured address, and the settings with its port: 0 means any free one.

    Raise ListenError where that is not possible.
    """
    host, port = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {host}:{port}: {error.strerror}; "
            "choose another port with `make run PORT=8099` or --port"
        ) from error
    at = settings.server.model_copy(update={"port": listener.getsockname()[1]})
    return replace(settings, server=at), listener


def run_server(settings: Settings, role: ServeRole, open_gateway: Open, build_app: Build) -> int:
    """Serve until SIGINT or SIGTERM, finish what is under way and close the books; exit status.

    A second signal ends it at once; what was under way then is settled at the next start.
    """
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    try:
        settings, listener = listen(settings)
        with listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, role, listener, open_gateway, build_app))
    except STARTUP_ERRORS as error:
        print(f"weir: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(
    settings: Settings,
    role: ServeRole,
    listener: socket.socket,
    open_gateway: Open,
    build_app: Build,
) -> None:
    loop = asyncio.get_running_loop()
    async with open_gateway(settings) as gateway:
        data: DataDir = gateway.data

        def started() -> None:
            settle_garbage_collection()
            data.announce(base_url(settings))
            print(banner(settings, role), flush=True)

        config = uvicorn_config(build_app(gateway), settings.server.drain_s)
        server = Server(config, started, gateway.drain)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.end)
        try:
            await server.serve(sockets=[listener])
        finally:
            data.withdraw()


def settle_garbage_collection() -> None:
    """Leave what lives as long as the gateway alone, and look less often for what does not.

    A request makes few reference cycles and many objects, so collecting every 700 objects is work
    for nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def _not_of_websockets(record: logging.LogRecord) -> bool:
    """Clients that try a WebSocket first are told to do without; the log need not be."""
    text = record.getMessage()
    return "Unsupported upgrade request" not in text and "No supported WebSocket" not in text


def uvicorn_config(application: Any, grace_s: int = GRACE_S) -> uvicorn.Config:
    """The web server's settings; `grace_s` is how long requests may go on after a signal."""
    logging.getLogger("uvicorn.error").addFilter(_not_of_websockets)
    return uvicorn.Config(
        application,
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=grace_s,
    )


def base_url(settings: Settings) -> str:
    """The address clients use; `/v1` follows it."""
    host = settings.server.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.server.port}"


def banner(settings: Settings, role: ServeRole) -> str:
    """How to reach the gateway; both keys are derived from the secret, so each start shows them.

    Not where it is one process of several hosts: their logs are collected and read by others.
    """
    if role in (ServeRole.GATEWAY, ServeRole.COLLECTOR):
        return f"Weir ({role.duties.name}) listens on {base_url(settings)}"
    secret = load_secret(settings.data_dir, settings.env)
    key = secret.demo_key if settings.server.demo_key else None
    url = base_url(settings)
    body = '{"model":"auto","messages":[{"role":"user","content":"Say hello in one sentence."}]}'
    return "\n".join(
        (
            f"Weir listens on {url}",
            f"base URL:  {url}/v1",
            f"key: {key or '(make one: weir keys create)'}",
            f"admin: {secret.admin_key}",
            f"dashboard: {url}/dashboard",
            "try:",
            f"  curl -i {url}/v1/chat/completions \\",
            f"    -H 'Authorization: Bearer {key or 'YOUR-KEY'}' \\",
            "    -H 'Content-Type: application/json' -H 'x-weir-workflow: first-steps' \\",
            f"    -d '{body}'",
        )
    )
