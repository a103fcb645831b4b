"""Batches as clients send them, at a provider that outlives the gateway.

with provider() as up, gateway(tmp_path, config(up)) as weir:
    file_id = upload(weir, lines(5))
    batch = create(weir, file_id, script="done=3,end=expired")
    ended(weir, batch)
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from openai import OpenAI

from tests.contracts.upstreams import ScriptedServer, scripted_server
from tests.journeys.gateway_process import Answer, GatewayProcess, wait_for

URL = "/v1/chat/completions"
INPUT_NANO, OUTPUT_NANO = 1_000, 2_000
NEVER_S = 3_600
ENDS = ("completed", "failed", "expired", "cancelled")


@contextmanager
def provider() -> Iterator[ScriptedServer]:
    """The scripted provider over HTTP, in a thread of its own for the length of the block."""
    loop = asyncio.new_event_loop()
    started, closing = threading.Event(), asyncio.Event()
    found: list[ScriptedServer] = []

    async def serve() -> None:
        async with scripted_server() as server:
            found.append(server)
            started.set()
            await closing.wait()
            await server.scripted.stop()

    def run() -> None:
        with contextlib.closing(loop):
            loop.run_until_complete(serve())

    thread = threading.Thread(target=run, name="provider", daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(closing.set)
        thread.join(10)


def config(up: ScriptedServer, *, poll_s: float = NEVER_S, more: str = "") -> str:
    """One model: a dollar for a million tokens in, two for those out, in a batch or not."""
    return f"""\
[providers.up]
kind = "openai_http"
base_url = "http://127.0.0.1:{up.port}/v1"
dialects = ["chat", "responses", "batches"]
[models.tiny]
provider = "up"
upstream_model = "up-tiny"
price = {{ input = "1", output = "2" }}
context_tokens = 100_000
max_output_tokens = 4_096
[tiers.small]
models = ["tiny"]
[policies.default]
tier = "small"
[batches]
poll_s = {poll_s}
{more}
"""


def line(number: int, message: str = "Hello there", **fields: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": message}]
    body = {"model": "tiny", "max_tokens": 20, "messages": said, **fields}
    return {"custom_id": f"c{number}", "method": "POST", "url": URL, "body": body}


def lines(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [line(number, **fields) for number in range(count)]


def jsonl(made: Sequence[object]) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in made).encode()


def sdk(weir: GatewayProcess, key: str | None = None) -> OpenAI:
    client = httpx.Client(trust_env=False)
    return OpenAI(
        base_url=f"{weir.base_url}/v1", api_key=key or weir.key, http_client=client, max_retries=0
    )


def upload(weir: GatewayProcess, made: Sequence[object], key: str | None = None) -> str:
    """A file for a batch; its id."""
    file = sdk(weir, key).files.create(file=("in.jsonl", jsonl(made)), purpose="batch")
    return file.id


def ask(weir: GatewayProcess, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """One request with the demo key, or that in `Authorization`."""
    text = None if body is None else json.dumps(body).encode()
    return weir.ask(method, path, text, **{"Authorization": f"Bearer {weir.key}", **headers})


def create(weir: GatewayProcess, file_id: str, script: str = "", **headers: str) -> Answer:
    """A batch of a file, which goes as its script says."""
    body = {"input_file_id": file_id, "endpoint": URL, "completion_window": "24h"}
    return ask(weir, "POST", "/v1/batches", {**body, "metadata": {"script": script}}, **headers)


def ended(weir: GatewayProcess, created: Answer, **headers: str) -> Answer:
    """The batch once its end was seen by asking for it."""
    path = f"/v1/batches/{created.json['id']}"
    wait_for(lambda: ask(weir, "GET", path, **headers).json["status"] in ENDS, "the end of a batch")
    return ask(weir, "GET", path, **headers)


def working(weir: GatewayProcess, created: Answer, done: int) -> None:
    """Wait until so many of its lines are answered."""
    path = f"/v1/batches/{created.json['id']}"

    def is_there() -> bool:
        return bool(ask(weir, "GET", path).json["request_counts"]["completed"] == done)

    wait_for(is_there, f"{done} answered lines")


def billed_nano(up: ScriptedServer) -> int:
    """What the provider charges for all it did."""
    return sum(
        INPUT_NANO * bill.prompt_tokens + OUTPUT_NANO * bill.completion_tokens for bill in up.bill()
    )
