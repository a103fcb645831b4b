"""What a worker is told, and a crew of real processes that never get to work."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.workers import Crew, Handoff, WorkerError
from tests.unit.gateway.desks import run

HANDOFF = Handoff(Path("/no/such/config.toml"), "[server]\nport = 'ü'\n", 0, "http://127.0.0.1:9")


def test_a_worker_reads_what_its_parent_wrote() -> None:
    line = HANDOFF.to_line()
    assert b"\n" not in line
    assert Handoff.from_line(line) == HANDOFF


def test_a_worker_whose_parent_is_gone_before_it_spoke_ends_quietly() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.worker"],
        input=b"[half a li",
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_worker_loads_no_engine_that_it_does_not_use() -> None:
    look = "import sys, gateway.worker; print([m for m in ('duckdb', 'fastapi', 'litellm', 'redis')"
    found = subprocess.run(
        [sys.executable, "-c", look + " if m in sys.modules])"],
        capture_output=True,
        check=True,
        timeout=60,
        text=True,
    )
    assert found.stdout == "[]\n"


def test_a_crew_says_that_its_workers_do_not_start_and_ends(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            crew = Crew(2, replace(HANDOFF, listener=listener.fileno()), os.environ)
            crew.load()
            with pytest.raises(WorkerError, match="worker 0 does not start"):
                async with asyncio.timeout(30):
                    await crew.start()
            await crew.end()
        assert [worker["pid"] for worker in crew.told()] == [None, None]

    asyncio.run(story())
    assert "server.port" in capfd.readouterr().err


def test_a_crew_that_is_ended_while_it_loads_leaves_nothing() -> None:
    async def story() -> None:
        crew = Crew(2, HANDOFF, os.environ)
        crew.load()
        while None in [worker["pid"] for worker in crew.told()]:
            await asyncio.sleep(0.01)
        pids = [int(str(worker["pid"])) for worker in crew.told()]
        await crew.end()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    run(story())
