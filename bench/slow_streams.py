"""Two thousand streams of one chunk a second at once, two hundred of them to clients that do not
read: do all end, in how much memory, and how long does anybody else wait?

    python bench/slow_streams.py

Needs Linux, a C compiler and file descriptors for four sockets a stream. While the streams run, the
health page is asked twenty times a second from the other core: what that takes bounds how long the
event loop was busy with something else. Clients that do not read keep their connections to the end.
Prints a table.
"""

import asyncio
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rig import BenchError, Cores, Rig, Server, build_tools, gateway, upstream
from under_fire import CONFIG, PROMPT, told

STREAMS, SILENT = 2_000, 200
CHUNKS, CHUNK_MS = 30, 1_000
POLL_S = 0.05
OPEN_WITHIN_S = 30.0
END_WITHIN_S = CHUNKS * CHUNK_MS / 1_000 + 60
FULL_BUDGET = '[[budgets]]\nscope = "key:*"\nwindow = "month"\nlimit_usd = "100000"\n'
BODY = json.dumps({"model": "mini", "messages": PROMPT, "stream": True, "max_tokens": 100})


@dataclass(slots=True)
class Seen:
    """What the clients saw, and how long the health page took, in milliseconds."""

    whole: int = 0
    broken: int = 0
    open: int = 0
    waits_ms: list[float] = field(default_factory=list)


def request(server: Server) -> bytes:
    head = [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: bench",
        "Content-Type: application/json",
        f"Content-Length: {len(BODY)}",
        *[f"{name}: {text}" for name, text in server.headers.items()],
    ]
    return ("\r\n".join(head) + "\r\n\r\n" + BODY).encode()


async def read(server: Server, seen: Seen) -> None:
    """One stream to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request(server))
    tail = b""
    try:
        async with asyncio.timeout(END_WITHIN_S):
            while b"data: [DONE]" not in tail:
                some = await reader.read(65_536)
                if not some:
                    break
                seen.open += not tail
                tail = (tail + some)[-200:]
    except (TimeoutError, OSError):
        pass
    finally:
        writer.close()
    if b"data: [DONE]" in tail:
        seen.whole += 1
    else:
        seen.broken += 1


async def be_silent(server: Server, over: asyncio.Event) -> None:
    """Ask for a stream and never read it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    writer.write(request(server))
    await over.wait()
    writer.close()
    del reader


async def watch(server: Server, seen: Seen, over: asyncio.Event) -> None:
    """Ask the health page again and again, on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    while not over.is_set():
        began_s = time.perf_counter()
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n")
        await reader.readuntil(b"}")
        seen.waits_ms.append((time.perf_counter() - began_s) * 1_000)
        await asyncio.sleep(POLL_S)
    writer.close()


def rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


async def run(server: Server, port: int) -> str:
    seen, over = Seen(), asyncio.Event()
    before_kib, peak_kib = rss_kib(server.pid), 0
    silent, readers = list[asyncio.Task[None]](), list[asyncio.Task[None]]()
    for number in range(STREAMS):
        if number % (STREAMS // SILENT):
            readers.append(asyncio.create_task(read(server, seen)))
        else:
            silent.append(asyncio.create_task(be_silent(server, over)))
        # Spread over two seconds: clients do not begin, nor providers answer, in step.
        await asyncio.sleep(2 / STREAMS)
    give_up_s = time.monotonic() + OPEN_WITHIN_S
    while told(port, "/__stats")["streams_started"] < STREAMS:
        if time.monotonic() > give_up_s:
            raise BenchError(f"only {told(port, '/__stats')} streams have begun")
        await asyncio.sleep(POLL_S)
    looking = asyncio.create_task(watch(server, seen, over))
    while not all(task.done() for task in readers):
        peak_kib = max(peak_kib, rss_kib(server.pid))
        await asyncio.sleep(0.5)
    give_up_s = time.monotonic() + END_WITHIN_S
    while told(port, "/__stats")["streams_done"] < STREAMS and time.monotonic() < give_up_s:
        await asyncio.sleep(POLL_S)
    done = told(port, "/__stats")["streams_done"]
    over.set()
    await asyncio.gather(looking, *silent)
    waits = sorted(seen.waits_ms)
    each_kib = (peak_kib - before_kib) / STREAMS
    return (
        f"| {STREAMS} ({SILENT} do not read) | {seen.whole} whole, {seen.broken} broken | "
        f"{done} | {before_kib / 1024:.0f} MB | {peak_kib / 1024:.0f} MB | {each_kib:.0f} KiB | "
        f"{waits[len(waits) // 2]:.1f} / {waits[int(len(waits) * 0.99)]:.1f} / {waits[-1]:.1f} |"
    )


@contextmanager
def many_files() -> Iterator[None]:
    """As many open files as this user may have, here and in what is started from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 5 * STREAMS:
        raise BenchError(f"needs {5 * STREAMS} open files and may have {hard}; raise `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (5 * STREAMS, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def config_text(port: int) -> str:
    models = CONFIG.partition("[[budgets]]")[0].replace("UPSTREAM_PORT", str(port))
    more = "max_connections = 4_000\n"
    key = 'api_key_env = "FAKE_KEY"\n'
    return models.replace(key, key + more).replace(
        "port = 8080\n", f"port = 8080\nmax_concurrent_requests = {2 * STREAMS}\n"
    ) + (FULL_BUDGET)


def main() -> int:
    work = Path(tempfile.mkdtemp(prefix="weir-slow-streams-"))
    cores = Cores.pick()
    try:
        build_tools(work)
        with many_files(), upstream(cores, work) as port:
            config = work / "config.toml"
            config.write_text(config_text(port))
            told(port, f"/__set?latency_ms=0&chunk_delay_ms={CHUNK_MS}&chunks={CHUNKS}")
            with gateway(Rig(cores, work, port), config) as server:
                row = asyncio.run(run(server, port))
        print(
            "| streams | as clients saw them | ended upstream | memory before | at most | each | "
            "health page, p50 / p99 / max ms |"
        )
        print("|---|---|---|---|---|---|---|")
        print(row)
        return 0
    except BenchError as error:
        print(f"slow_streams: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
