"""A worker process: answers requests on its parent's port, and ends with its parent.

SIGTERM has it finish what is under way, however often it comes. SIGINT is its parent's to handle: a
terminal sends it to both.
"""

import asyncio
import logging
import os
import signal
import socket
import sys

import uvloop

from gateway.config import load_settings
from gateway.config_errors import ConfigError
from gateway.front import build_front, open_front
from gateway.roles import ServeRole
from gateway.serving import (
    LOG_FORMAT,
    STARTUP_ERRORS,
    Server,
    settle_garbage_collection,
    uvicorn_config,
)
from gateway.workers import READY, Handoff

STDIN, STDOUT = 0, 1
MAX_HANDOFF_BYTES = 16 * 1024 * 1024
REPORT_S = 1.0


def main() -> int:
    """Serve until told to end, or until the parent is gone; the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format=f"{LOG_FORMAT} [{os.getpid()}]")
    line = _read_line()
    if not line:
        return 0  # the parent went before it said anything
    handoff = Handoff.from_line(line)
    try:
        with (
            socket.socket(fileno=handoff.listener) as listener,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(_serve(handoff, listener))
    except (*STARTUP_ERRORS, ConfigError, OSError) as error:
        print(f"weir: {error}", file=sys.stderr)
        return 1
    return 0


def _read_line() -> bytes:
    """The parent's line; empty where it ended before its end. Nothing after it is read."""
    line = bytearray()
    while not line.endswith(b"\n"):
        part = os.read(STDIN, 65_536)
        if not part or len(line) > MAX_HANDOFF_BYTES:
            return b""
        line += part
    return bytes(line)


async def _serve(handoff: Handoff, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    settings = load_settings(handoff.config, os.environ, handoff.text.encode())
    async with open_front(settings, ServeRole.WORKER, handoff.control_url) as front:

        def started() -> None:
            settle_garbage_collection()
            _tell(READY)

        config = uvicorn_config(build_front(front), settings.server.drain_s)
        server = Server(config, started, front.drain)

        def finish() -> None:
            server.should_exit = True
            front.drain()

        def heard() -> None:
            if not os.read(STDIN, 1):
                loop.remove_reader(STDIN)
                finish()

        loop.add_signal_handler(signal.SIGTERM, finish)
        loop.add_reader(STDIN, heard)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not serving.done():
            await asyncio.wait([serving], timeout=REPORT_S)
            if server.started:
                report = front.condition.report(front.lifecycle.under_way)
                await asyncio.to_thread(_tell, report.to_line() + b"\n")
        await serving


def _tell(line: bytes) -> None:
    """Say something to the parent, all of it; nothing where it is gone."""
    rest = memoryview(line)
    try:
        while rest:
            rest = rest[os.write(STDOUT, rest) :]
    except BrokenPipeError:
        return


if __name__ == "__main__":
    sys.exit(main())
