"""A gateway in the test's own process, asked for files and batches by two teams."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gateway.key_registry import NewKey
from gateway.providers.scripted import ScriptedProvider
from tests.unit.gateway.batches.made import CHAT, jsonl
from tests.unit.gateway.desks import Client, run
from tests.unit.gateway.gateways import CONFIG, SECRET, Opened, opened, settings_in

BOUNDARY = "b0undary"
ENDS = ("completed", "failed", "expired", "cancelled")
WITHOUT_WATCHER = CONFIG + "[batches]\npoll_s = 3600\n"


def form(content: bytes, purpose: str | None = "batch", field: str = "file") -> bytes:
    """A form with a file."""
    said = "" if purpose is None else _part('name="purpose"', purpose)
    head = _part(f'name="{field}"; filename="in.jsonl"', "")
    return f"{said}{head}"[:-2].encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def _part(disposition: str, content: str) -> str:
    return f"--{BOUNDARY}\r\ncontent-disposition: form-data; {disposition}\r\n\r\n{content}\r\n"


@dataclass(frozen=True, slots=True)
class Room:
    """One caller of an open gateway."""

    weir: Opened
    key: str = SECRET.demo_key

    @property
    def provider(self) -> ScriptedProvider:
        found = self.weir.gateway.counter.providers["here"]
        assert isinstance(found, ScriptedProvider)
        return found

    async def stranger(self) -> "Room":
        """The same gateway for somebody of another team."""
        new = NewKey("n", "others", "w")
        _, key = await self.weir.gateway.registry.create(new, 1)
        await self.weir.gateway.registry.refresh()
        return Room(self.weir, key)

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> Client:
        """One request; what follows a `?` is its query."""
        path, _, query = path.partition("?")
        own = [(b"authorization", f"Bearer {self.key}".encode()), *headers]
        client = Client(body, headers=own)
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": own,
        }
        await self.weir.application(scope, client.receive, client.send)
        return client

    async def json(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The object of an answer that is one."""
        answer = await self.ask(method, path, b"" if body is None else orjson.dumps(body))
        assert answer.status == 200, answer.text
        found = orjson.loads(answer.text)
        assert isinstance(found, dict)
        return found

    async def upload(self, *lines: object) -> str:
        answer = await self.ask("POST", "/v1/files", form(jsonl(*lines)))
        assert answer.status == 200, answer.text
        return str(orjson.loads(answer.text)["id"])

    async def create(self, file_id: str, script: str = "", **fields: Any) -> Client:
        body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
        body |= {"metadata": {"script": script}, **fields}
        return await self.ask("POST", "/v1/batches", orjson.dumps(body))

    async def ended(self, batch_id: str) -> Client:
        """The batch once it has ended."""
        while True:
            answer = await self.ask("GET", f"/v1/batches/{batch_id}")
            if orjson.loads(answer.text)["status"] in ENDS:
                return answer
            await asyncio.sleep(0)


def inside(folder: Path, story: Callable[[Room], Awaitable[None]]) -> None:
    """Tell a story of a gateway that nobody watches; its books are clean at the end."""

    async def look() -> None:
        async with opened(settings_in(folder, WITHOUT_WATCHER)) as weir:
            await story(Room(weir))
            assert (await weir.gateway.audit())["clean"]

    run(look())
