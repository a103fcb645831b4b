"""Measure what the gateway costs: itself against a pass-through on the same stack.

    python bench/run.py [--rounds 3] [--seconds 8]

Both run alone on one core, in turns, with the load and the fake upstream on the other; figures
are medians over the rounds. Absolute figures move from machine to machine, ratios hardly.
Prints a table and writes bench/results/latest.json.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from rig import (
    BENCH,
    BenchError,
    Cores,
    Rig,
    Server,
    build_tools,
    gateway,
    pinned,
    reference,
    upstream,
    wait_for_answer,
)

CONNECTIONS = 16
WARM_UP_S = 1
SETTLE_S = 2.0
MEBIBYTE = 1024 * 1024
SENTENCE = "The invoice of October is higher than the forecast, and the finance team asks why. "
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: a figure, and the target it is held to, if it has one."""

    title: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    def verdict(self) -> str:
        if self.at_least is not None:
            met = self.value >= self.at_least
            return f"{'met' if met else 'MISSED'} (at least {self.at_least:g})"
        if self.at_most is not None:
            met = self.value <= self.at_most
            return f"{'met' if met else 'MISSED'} (at most {self.at_most:g})"
        return ""


def chat(stream: bool) -> bytes:
    """Make a request body of about 600 bytes: a system message, a turn, and a question."""
    messages = [
        {"role": "system", "content": "You answer in one sentence. " + SENTENCE * 2},
        {"role": "assistant", "content": "Understood."},
        {"role": "user", "content": SENTENCE * 3 + "Name the likeliest cause."},
    ]
    request: dict[str, object] = {"model": "auto", "messages": messages}
    if stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(request, separators=(",", ":")).encode()


def wrk(rig: Rig, server: Server, connections: int, seconds: int) -> Figures:
    """Load plain requests with wrk; every answer must be a 2xx."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(BENCH / "post.lua")]
    command += [f"http://127.0.0.1:{server.port}/v1/chat/completions"]
    body_file = rig.work / "body.json"
    body_file.write_bytes(chat(stream=False))
    headers = "|".join(f"{name}: {value}" for name, value in server.headers.items())
    env = os.environ | {"BODY_FILE": str(body_file), "HDR": headers}
    done = subprocess.run(
        pinned(rig.cores.load, command), env=env, capture_output=True, text=True, check=False
    )
    found = [line[5:] for line in done.stdout.splitlines() if line.startswith("JSON ")]
    if not found:
        raise BenchError(f"wrk printed no figures:\n{done.stdout}{done.stderr}")
    figures: Figures = json.loads(found[0])
    if figures["non2xx"] or figures["broken"]:
        raise BenchError(f"{server.name} did not answer every request: {found[0]}")
    return figures


def sse(rig: Rig, server: Server, seconds: int) -> Figures:
    """Load streams as fast as they come; every one must end with [DONE]."""
    command = [str(rig.work / "sse_load"), "--port", str(server.port), "--seconds", str(seconds)]
    command += ["--conns", str(CONNECTIONS), "--body", chat(stream=True).decode()]
    for name, value in server.headers.items():
        command += ["--header", f"{name}: {value}"]
    done = subprocess.run(
        pinned(rig.cores.load, command), capture_output=True, text=True, check=True
    )
    figures: Figures = json.loads(done.stdout)
    if figures["bad"] or figures["unfinished"]:
        raise BenchError(f"{server.name} broke streams: {done.stdout}")
    return figures


def measure(rig: Rig, server: Server, seconds: int) -> Figures:
    """Take one server's figures for one round."""
    wait_for_answer(server, chat(stream=False))
    wrk(rig, server, CONNECTIONS, WARM_UP_S)
    alone = wrk(rig, server, 1, seconds)
    loaded = wrk(rig, server, CONNECTIONS, seconds)
    streams = sse(rig, server, seconds)
    return {
        "c1_rps": alone["rps"],
        "c1_p50_ms": alone["p50_ms"],
        "c1_p99_ms": alone["p99_ms"],
        "c16_rps": loaded["rps"],
        "c16_p50_ms": loaded["p50_ms"],
        "c16_p99_ms": loaded["p99_ms"],
        "sse_streams_per_s": streams["streams_s"],
        "sse_chunks_per_s": streams["events_s"],
        "sse_ttft_p50_ms": streams["ttft_p50"],
        "rss_mb": rss_mb(psutil.Process(server.pid)),
    }


def rss_mb(process: psutil.Process) -> float:
    """Resident memory of the process itself, without its children."""
    return float(process.memory_info().rss / MEBIBYTE)


def first_minute(rig: Rig) -> Figures:
    """Start the gateway as `make run` does: time to the local model's first answer, idle memory."""
    body = json.dumps(
        {
            "model": "auto",
            "max_tokens": 16,
            "messages": [{"role": "user", "content": "Say hello."}],
        }
    ).encode()
    with gateway(rig, config=None) as server:
        first_answer_s = wait_for_answer(server, body)
        time.sleep(SETTLE_S)
        process = psutil.Process(server.pid)
        children_mb = sum(rss_mb(child) for child in process.children(recursive=True))
        return {
            "first_answer_s": first_answer_s,
            "idle_rss_mb": rss_mb(process),
            "children_rss_mb": children_mb,
        }


def medians(rounds: list[Figures]) -> Figures:
    return {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}


def run(rounds: int, seconds: int, work: Path) -> dict[str, list[Figures]]:
    """Measure everything, the servers in turns so that a slow minute hits each of them."""
    cores = Cores.pick()
    build_tools(work)
    taken: dict[str, list[Figures]] = {"direct": [], "reference": [], "gateway": [], "start": []}
    with upstream(cores, work) as port:
        rig = Rig(cores, work, port)
        config = work / "bench.toml"
        template = (BENCH / "bench.toml").read_text()
        config.write_text(template.replace("UPSTREAM_PORT", str(port)))
        for number in range(1, rounds + 1):
            print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
            bare = Server("direct", 0, port, time.monotonic())
            taken["direct"].append({"c1_p50_ms": wrk(rig, bare, 1, 2)["p50_ms"]})
            with reference(rig) as server:
                taken["reference"].append(measure(rig, server, seconds))
            with gateway(rig, config) as server:
                taken["gateway"].append(measure(rig, server, seconds))
            taken["start"].append(first_minute(rig))
    return taken


def lines(taken: dict[str, list[Figures]]) -> list[Line]:
    """Turn the rounds into the table's lines; pure."""
    direct, ref, weir, start = (
        medians(taken[key]) for key in ("direct", "reference", "gateway", "start")
    )

    def ratio(key: str) -> float:
        pairs = zip(taken["gateway"], taken["reference"], strict=True)
        return statistics.median(ours[key] / theirs[key] for ours, theirs in pairs)

    return [
        Line("throughput, 16 connections: pass-through", ref["c16_rps"], "req/s"),
        Line("throughput, 16 connections: gateway", weir["c16_rps"], "req/s"),
        Line("  gateway / pass-through", ratio("c16_rps"), "x", at_least=0.6),
        Line("p50, 1 connection: direct", direct["c1_p50_ms"], "ms"),
        Line("  added by the pass-through", ref["c1_p50_ms"] - direct["c1_p50_ms"], "ms"),
        Line("  added by the gateway", weir["c1_p50_ms"] - direct["c1_p50_ms"], "ms", at_most=0.6),
        Line("p99, 1 connection: gateway", weir["c1_p99_ms"], "ms"),
        Line("p99, 16 connections: gateway", weir["c16_p99_ms"], "ms"),
        Line("chunks, 16 streams: pass-through", ref["sse_chunks_per_s"], "chunks/s"),
        Line("chunks, 16 streams: gateway", weir["sse_chunks_per_s"], "chunks/s"),
        Line("  gateway / pass-through", ratio("sse_chunks_per_s"), "x"),
        Line("first token p50, 16 streams: pass-through", ref["sse_ttft_p50_ms"], "ms"),
        Line("first token p50, 16 streams: gateway", weir["sse_ttft_p50_ms"], "ms"),
        Line("memory after load: gateway", weir["rss_mb"], "MB"),
        Line("memory idle, default start: gateway", start["idle_rss_mb"], "MB", at_most=150),
        Line("  its child processes (local model)", start["children_rss_mb"], "MB"),
        Line("start to the local model's answer", start["first_answer_s"], "s", at_most=5),
    ]


def report(taken: dict[str, list[Figures]], rounds: int, seconds: int) -> None:
    """Print the table and write the JSON beside it."""
    table = lines(taken)
    print(f"\n{'':44}{'median':>12} unit       target")
    for line in table:
        print(f"{line.title:44}{line.value:12,.2f} {line.unit:10} {line.verdict()}".rstrip())
    results = BENCH / "results" / "latest.json"
    results.parent.mkdir(exist_ok=True)
    summary = [
        {"title": line.title.strip(), "value": line.value, "unit": line.unit} for line in table
    ]
    document = {
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cores": os.cpu_count(), "cpu": platform.machine()},
        "python": platform.python_version(),
        "rounds": rounds,
        "seconds_each": seconds,
        "summary": summary,
        "by_round": taken,
    }
    results.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\nwritten to {results.relative_to(BENCH.parent)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8, help="length of each measurement")
    options = parser.parse_args()
    for tool in ("wrk", "taskset"):
        if shutil.which(tool) is None:
            package = {"wrk": "wrk", "taskset": "util-linux"}[tool]
            hint = f"on Debian or Ubuntu: apt-get install {package}"
            print(f"bench: {tool} not found; {hint}", file=sys.stderr)
            return 1
    try:
        with tempfile.TemporaryDirectory(prefix="weir-bench-") as work:
            report(
                run(options.rounds, options.seconds, Path(work)), options.rounds, options.seconds
            )
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
