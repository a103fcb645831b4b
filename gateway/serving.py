"""Runs the gateway behind uvicorn: one process, until a signal; says how to reach it."""

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
from gateway.budget_registry import BudgetRegistryError
from gateway.config import Settings
from gateway.data_dir import DataDir, DataDirError
from gateway.key_registry import KeyRegistryError
from gateway.providers.build import ProviderBuildError
from gateway.run_registry import RunRegistryError
from telemetry.warehouse import WarehouseError

GRACE_S = 30
BACKLOG = 2048
KEEP_ALIVE_S = 75
STARTUP_ERRORS = (
    AuthError,
    DataDirError,
    BudgetRegistryError,
    KeyRegistryError,
    LedgerError,
    ProviderBuildError,
    RunRegistryError,
    WarehouseError,
)
OpenGateway = Callable[[Settings], AbstractAsyncContextManager[Any]]
BuildApp = Callable[[Any], Any]


class _Server(uvicorn.Server):
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

    def end(self) -> None:
        """Finish what is under way; at once, when asked a second time."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._on_ending()


def run_server(settings: Settings, open_gateway: OpenGateway, build_app: BuildApp) -> int:
    """Serve until SIGINT or SIGTERM, finish what is under way and close the books; exit status.

    A second signal ends it at once; what was under way then is settled at the next start.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    address = (settings.server.host, settings.server.port)
    family = socket.AF_INET6 if ":" in settings.server.host else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        print(
            f"weir: cannot listen on {address[0]}:{address[1]}: {error.strerror}; "
            "choose another port with `make run PORT=8099` or --port",
            file=sys.stderr,
        )
        return 1
    settings = _at_port(settings, listener.getsockname()[1])
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, listener, open_gateway, build_app))
    except STARTUP_ERRORS as error:
        print(f"weir: {error}", file=sys.stderr)
        return 1
    finally:
        listener.close()
    return 0


def _at_port(settings: Settings, port: int) -> Settings:
    """The settings with the port that is really listened on: port 0 means any free one."""
    return replace(settings, server=settings.server.model_copy(update={"port": port}))


async def _serve(
    settings: Settings, listener: socket.socket, open_gateway: OpenGateway, build_app: BuildApp
) -> None:
    loop = asyncio.get_running_loop()
    async with open_gateway(settings) as gateway:
        data: DataDir = gateway.data

        def started() -> None:
            _settle_garbage_collection()
            data.announce(base_url(settings))
            print(_banner(settings), flush=True)

        server = _Server(_uvicorn_config(build_app(gateway)), started, gateway.drain)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.end)
        try:
            await server.serve(sockets=[listener])
        finally:
            data.withdraw()


def _settle_garbage_collection() -> None:
    """Leave what lives as long as the gateway alone, and look less often for what does not.

    A request makes few reference cycles and many objects, so collecting every 700 objects is work
    for nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def _uvicorn_config(application: Any) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )


def base_url(settings: Settings) -> str:
    """The address clients use; `/v1` follows it."""
    host = settings.server.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.server.port}"


def _banner(settings: Settings) -> str:
    """How to reach the gateway; both keys are derived from the secret, so each start shows them."""
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
