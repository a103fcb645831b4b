"""A gateway opened in the test's own process, on real files, with its ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from gateway.app import Gateway, build_app, open_gateway
from gateway.auth import derive_secret
from gateway.config import Settings, load_settings
from gateway.routes.data_plane import DataPlane
from tests.unit.gateway.desks import Client

MATERIAL = "s" * 32
SECRET = derive_secret(MATERIAL)
CONFIG = """\
[providers.here]
kind = "scripted"
[models.tiny]
provider = "here"
price = { input = "1", output = "2" }
context_tokens = 4096
max_output_tokens = 1024
answers = ["text", "embeddings", "images", "speech", "transcriptions"]
[tiers.small]
models = ["tiny"]
[policies.default]
tier = "small"
[[budgets]]
scope = "team:demo"
window = "day"
limit_usd = "5"
"""


def settings_in(folder: Path, config: str = CONFIG) -> Settings:
    (folder / "config.toml").write_text(config)
    return load_settings(folder / "config.toml", {"WEIR_SECRET": MATERIAL})


@dataclass(frozen=True, slots=True)
class Opened:
    """An open gateway and its application."""

    gateway: Gateway
    application: DataPlane

    async def ask(
        self, method: str, path: str, body: bytes = b"", key: str = SECRET.demo_key
    ) -> Client:
        """One request to the application."""
        client = Client(body, headers=[(b"authorization", f"Bearer {key}".encode())])
        await self.send(client, method, path)
        return client

    async def send(self, client: Client, method: str, path: str) -> None:
        """The request of a client with headers of its own."""
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": list(client.headers),
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "scheme": "http",
        }
        await self.application(scope, client.receive, client.send)

    async def admin(self, *path: str) -> Client:
        return await self.ask("GET", "/admin/" + "/".join(path), key=SECRET.admin_key)


def json_of(client: Client) -> dict[str, object]:
    found = orjson.loads(client.text)
    assert isinstance(found, dict)
    return found


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Opened]:
    async with open_gateway(settings) as gateway:
        yield Opened(gateway, build_app(gateway))
