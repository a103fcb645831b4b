"""Runs the gateway behind uvicorn: one process, until a signal; says how to reach it."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

import uvicorn
import uvloop

from gateway.auth import AuthError, load_secret
from gateway.config import Settings
from gateway.data_dir import DataDir, DataDirError
from gateway.key_registry import KeyRegistryError
from gateway.providers.build import ProviderBuildError
from telemetry.warehouse import WarehouseError

GRACE_S = 30
BACKLOG = 2048
KEEP_ALIVE_S = 75
STARTUP_ERRORS = (
    AuthError,
    DataDirError,
    KeyRegistryError,
    ProviderBuildError,
    WarehouseError,
)
OpenGateway = Callable[[Settings], AbstractAsyncContextManager[Any]]
BuildApp = Callable[[Any], Any]


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us: its own handling ends the process before the books."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

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


def run_server(settings: Settings, open_gateway: OpenGateway, build_app: BuildApp) -> int:
    """Serve until SIGINT or SIGTERM, finish what is under way and close the books; exit status.

    A second signal ends it at once; what was under way then is settled at the next start.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    address = (settings.server.host, settings.server.port)
    try:
        listener = socket.create_server(address, backlog=BACKLOG, reuse_port=False)
    except OSError as error:
        print(
            f"weir: cannot listen on {address[0]}:{address[1]}: {error.strerror}; "
            "choose another port with `make run PORT=8099` or --port",
            file=sys.stderr,
        )
        return 1
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, listener, open_gateway, build_app))
    except STARTUP_ERRORS as error:
        print(f"weir: {error}", file=sys.stderr)
        return 1
    finally:
        listener.close()
    return 0


async def _serve(
    settings: Settings, listener: socket.socket, open_gateway: OpenGateway, build_app: BuildApp
) -> None:
    loop = asyncio.get_running_loop()
    async with open_gateway(settings) as gateway:
        data: DataDir = gateway.data

        def started() -> None:
            data.announce(base_url(settings))
            print(_banner(settings), flush=True)

        server = _Server(_uvicorn_config(build_app(gateway)), started)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.end)
        try:
            await server.serve(sockets=[listener])
        finally:
            data.withdraw()


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
    url = base_url(settings)
    body = '{"model":"auto","messages":[{"role":"user","content":"Say hello in one sentence."}]}'
    return "\n".join(
        (
            f"Weir listens on {url}",
            f"base URL:  {url}/v1",
            f"key: {secret.demo_key if settings.server.demo_key else '(make one: weir keys create)'}",
            f"admin: {secret.admin_key}",
            f"dashboard: {url}/dashboard",
            "try:",
            f"  curl -i {url}/v1/chat/completions \\",
            f"    -H 'Authorization: Bearer {secret.demo_key}' \\",
            "    -H 'Content-Type: application/json' -H 'x-weir-workflow: first-steps' \\",
            f"    -d '{body}'",
        )
    )
