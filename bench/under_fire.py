"""A budget for ten requests and two hundred at once: who is served, and what is spent.

    python bench/under_fire.py

The upstream takes 500 ms for an answer and keeps its own count; one request costs 0.00125 USD and
the budget of its key 0.0125. First come 200 requests at once, then 20 workers for 4 s. Clients
honour `Retry-After`, as SDKs do, and give up after ten tries. Then one stream alone that is worth
3.2 budgets. Each case starts on an empty data directory. Prints a table.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from rig import BenchError, Cores, Rig, Server, build_tools, gateway, upstream

AT_ONCE, WORKERS, WORK_S = 200, 20, 4.0
LATENCY_MS = 500
CHUNKS, PROMPT_TOKENS = 50, 25  # what the upstream bills for one request
REQUEST_NANO = 1_250_000
BUDGET_NANO = 10 * REQUEST_NANO
INPUT_NANO, OUTPUT_NANO = 10_000, 20_000
TRIES = 10
STREAM_CHUNKS = 32 * CHUNKS
PROMPT = [{"role": "user", "content": "Tell me about foxes, please."}]
CONFIG = """
[server]
port = 8080
[providers.fake]
kind = "openai_http"
base_url = "http://127.0.0.1:UPSTREAM_PORT/v1"
api_key_env = "FAKE_KEY"
[models.mini]
provider = "fake"
upstream_model = "gpt-4o-mini"
price = { input = "10", output = "20" }
context_tokens = 128000
max_output_tokens = 16384
[tiers.small]
models = ["mini"]
[policies.default]
tier = "small"
[[budgets]]
scope = "key:*"
window = "month"
limit_usd = "0.0125"
"""


@dataclass(slots=True)
class Tally:
    """What clients saw of one case."""

    statuses: Counter[int] = field(default_factory=Counter)
    first_try: int = 0
    waits: int = 0
    reserved_usd: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    title: str
    body: dict[str, Any]


CASES = (
    Case("no max_tokens", {}),
    Case("max_tokens=50", {"max_tokens": CHUNKS}),
    Case("stream, no max_tokens", {"stream": True}),
    Case("stream, max_tokens=50", {"stream": True, "max_tokens": CHUNKS}),
)


def told(port: int, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


async def ask(session: aiohttp.ClientSession, url: str, body: dict[str, Any], tally: Tally) -> None:
    """One request as an SDK sends it: a 429 is tried again when it says so, a 402 never."""
    for number in range(TRIES):
        async with session.post(url, json=body) as answer:
            sent = await answer.read()
            tally.statuses[answer.status] += 1
            if answer.status == 200:
                tally.first_try += number == 0
                if b"budget_exceeded" in sent:
                    tally.statuses[-200] += 1
                return
            if answer.status != 429:
                return
            tally.waits += 1
            await asyncio.sleep(float(answer.headers["Retry-After"]))


async def fire(server: Server, case: Case) -> tuple[Tally, Tally]:
    url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
    body = {"model": "mini", "messages": PROMPT, **case.body}
    burst, later = Tally(), Tally()
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(
        headers=server.headers, connector=connector, timeout=timeout
    ) as session:
        await asyncio.gather(*[ask(session, url, body, burst) for _ in range(AT_ONCE)])
        until_s = time.monotonic() + WORK_S

        async def work() -> None:
            while time.monotonic() < until_s:
                await ask(session, url, body, later)

        await asyncio.gather(*[work() for _ in range(WORKERS)])
    return burst, later


def spent_nano(server: Server, log: Path) -> int:
    """The gateway's own counter."""
    admin = log.read_text().partition("admin: ")[2].split()[0]
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/admin/budgets",
        headers={"Authorization": f"Bearer {admin}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        rows = json.load(answer)["budgets"]
    return int(next(row["posted_nano"] for row in rows if row["scope"].startswith("key:")))


def bill_nano(before: dict[str, Any], after: dict[str, Any]) -> int:
    """What the upstream served: whole answers by the piece, streams by the tokens that left it."""
    grew = {name: after[name] - before[name] for name in before}
    streams = grew["streams_started"]
    answers = grew["requests"] - streams
    # A stream's first chunk has no token, and neither has its last.
    tokens = grew["chunks"] - streams - grew["streams_done"] + CHUNKS * answers
    return (answers + streams) * PROMPT_TOKENS * INPUT_NANO + tokens * OUTPUT_NANO


def run_case(rig: Rig, config: Path, case: Case) -> str:
    port = rig.upstream_port
    told(port, f"/__set?latency_ms={LATENCY_MS}&chunk_delay_ms=10&chunks={CHUNKS}")
    before = told(port, "/__stats")
    with gateway(rig, config) as server:
        began_s = time.monotonic()
        burst, later = asyncio.run(fire(server, case))
        took_s = time.monotonic() - began_s
        counter = spent_nano(server, rig.work / "gateway.log")
    bill = bill_nano(before, told(port, "/__stats"))
    return (
        f"| {case.title} | {burst.statuses[200]} of {AT_ONCE} ({burst.first_try} at once) | "
        f"{later.statuses[200]} | {burst.statuses[-200] + later.statuses[-200]} | "
        f"{bill / BUDGET_NANO:.3f} | {counter / BUDGET_NANO:.3f} | {burst.waits} | {took_s:.1f} |"
    )


def run_stream(rig: Rig, config: Path, delay_ms: int) -> str:
    """One stream worth 3.2 budgets, whose upstream obeys no limit."""
    port = rig.upstream_port
    told(port, f"/__set?latency_ms=0&chunk_delay_ms={delay_ms}&chunks={STREAM_CHUNKS}")
    before = told(port, "/__stats")
    with gateway(rig, config) as server:
        tally = Tally()

        async def one() -> None:
            url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
            body = {"model": "mini", "messages": PROMPT, "stream": True}
            async with aiohttp.ClientSession(headers=server.headers) as session:
                await ask(session, url, body, tally)

        asyncio.run(one())
        counter = spent_nano(server, rig.work / "gateway.log")
    after = told(port, "/__stats")
    bill = bill_nano(before, after)
    past = (bill - counter) / OUTPUT_NANO
    cut = "cut" if tally.statuses[-200] else "NOT CUT"
    return (
        f"| one stream worth 3.2 budgets, a token every {delay_ms} ms | {cut} | - | - | "
        f"{bill / BUDGET_NANO:.3f} | {counter / BUDGET_NANO:.3f} | {past:+.0f} tokens | - |"
    )


def main() -> int:
    work = Path(tempfile.mkdtemp(prefix="weir-under-fire-"))
    try:
        build_tools(work)
        with upstream(Cores.pick(), work) as port:
            rig = Rig(Cores.pick(), work, port)
            config = work / "config.toml"
            config.write_text(CONFIG.replace("UPSTREAM_PORT", str(port)))
            print(
                "| case | burst served | then | cut | bill / budget | counter / budget | "
                "429s or past the cut | seconds |\n|---|---|---|---|---|---|---|---|"
            )
            for case in CASES:
                print(run_case(rig, config, case), flush=True)
            for delay_ms in (10, 0):
                print(run_stream(rig, config, delay_ms), flush=True)
    except BenchError as error:
        print(f"under_fire: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
