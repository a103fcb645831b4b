"""A gateway between clients of every dialect and one upstream, for measuring what passes."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.canned_server import Canned, canned_server
from tests.journeys.gateway_process import Answer, GatewayProcess, assert_clean, gateway

IDENTICAL = "identical"
IDENTICAL_THEN_ERROR = "identical, then an error"
CARRIED = "carried"
REFUSED = "refused"
DROPPED = "dropped"
LOST = "LOST"
ROUTES = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "embeddings": "/v1/embeddings",
}
SAID = [{"role": "user", "content": "Hi"}]
SMALLEST: Mapping[str, dict[str, Any]] = {
    "chat": {"messages": SAID, "max_tokens": 2_000},
    "completions": {"prompt": "Hi", "max_tokens": 2_000},
    "responses": {"input": "Hi", "max_output_tokens": 2_000},
    "messages": {"messages": SAID, "max_tokens": 2_000},
    "embeddings": {"input": "Hi"},
}


@dataclass(frozen=True)
class Way:
    """From a client's dialect to a provider's; `lax` where the provider may drop fields."""

    asked: str
    spoken: str
    lax: bool = False

    @property
    def is_same(self) -> bool:
        return self.asked == self.spoken

    @property
    def title(self) -> str:
        return self.asked if self.is_same else f"{self.asked} → {self.spoken}"

    @property
    def model(self) -> str:
        return "same" if self.is_same else f"{self.spoken}-only{'-lax' if self.lax else ''}"


WAYS = (
    *(Way(name, name) for name in ROUTES),
    Way("messages", "chat"),
    Way("responses", "chat"),
    Way("chat", "messages"),
    Way("responses", "messages"),
)
ALL_DIALECTS = '["chat", "completions", "responses", "embeddings", "messages"]'


def _provider(name: str, dialects: str, more: str = "") -> str:
    return f"""\
[providers.{name}]
kind = "openai_http"
base_url = "{{base_url}}/v1"
dialects = {dialects}
{more}
[models.{name}]
provider = "{name}"
upstream_model = "up-{name}"
price = {{{{ input = "1", output = "2", cached = "0.1", cache_write = "1.25" }}}}
context_tokens = 1_000_000
max_output_tokens = 4_096
capabilities = ["tools", "vision", "audio", "files", "schema", "reasoning"]
"""


CONFIG = (
    _provider("same", ALL_DIALECTS)
    + _provider("chat-only", '["chat"]')
    + _provider("messages-only", '["messages"]')
    + _provider("chat-only-lax", '["chat"]', "drop_unsupported = true")
    + _provider("messages-only-lax", '["messages"]', "drop_unsupported = true")
    + '[tiers.small]\nmodels = ["same"]\n[policies.default]\ntier = "small"\n'
)


@dataclass(frozen=True)
class Bench:
    """The gateway, and what its upstream says to everyone."""

    weir: GatewayProcess
    canned: Canned

    def ask(self, way: Way, fields: Mapping[str, Any]) -> Answer:
        """One request of a dialect with further fields; a stream is asked for its usage."""
        key = {"Authorization": f"Bearer {self.weir.key}", "anthropic-version": "2023-06-01"}
        return self.weir.ask("POST", ROUTES[way.asked], body_of(way, fields), **key)


def body_of(way: Way, fields: Mapping[str, Any]) -> bytes:
    """The smallest request of a dialect with further fields."""
    options: dict[str, Any] = {}
    if fields.get("stream") and way.asked in ("chat", "completions"):
        options = {"stream_options": {"include_usage": True}}
    body = {"model": way.model, **SMALLEST[way.asked], **options, **fields}
    return json.dumps(body, indent=1).encode()


def dropped_in(answer: Answer) -> set[str]:
    """Everything that the gateway says it left out: in the header, or in a stream's comment."""
    comments = re.findall(rb"^: x-weir-dropped: (.*)$", answer.body, re.MULTILINE)
    told = [answer.headers.get("x-weir-dropped", ""), *(found.decode() for found in comments)]
    return {name.strip() for names in told for name in names.split(",") if name.strip()}


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """A gateway process and its upstream, on sockets of their own."""
    with (
        canned_server() as canned,
        gateway(folder, CONFIG.format(base_url=canned.base_url)) as weir,
    ):
        yield Bench(weir, canned)
        assert_clean(weir)
