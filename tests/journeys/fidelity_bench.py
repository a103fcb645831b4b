"""A gateway between clients of every dialect and one upstream, for measuring what passes."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.canned_server import Canned, canned_server
from tests.journeys.gateway_process import Answer, GatewayProcess, assert_clean, gateway, wait_for

IDENTICAL = "identical"
IDENTICAL_THEN_ERROR = "identical, then an error"
CARRIED = "carried"
REFUSED = "refused"
DROPPED = "dropped"
LOST = "LOST"
KNOWN_LOSS = "lost"
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
    """From a client's dialect to a provider's, by way of litellm where a vendor of its is named.

    `lax` where the provider may drop fields.
    """

    asked: str
    spoken: str
    lax: bool = False
    vendor: str = ""

    @property
    def is_same(self) -> bool:
        return self.asked == self.spoken and not self.vendor

    @property
    def title(self) -> str:
        if self.vendor:
            return f"{self.asked} → litellm, `{self.vendor}`"
        return self.asked if self.is_same else f"{self.asked} → {self.spoken}"

    @property
    def model(self) -> str:
        name = "same" if self.is_same else self.vendor or f"{self.spoken}-only"
        return f"{name}-lax" if self.lax else name


WAYS = (
    *(Way(name, name) for name in ROUTES),
    Way("messages", "chat"),
    Way("responses", "chat"),
    Way("chat", "messages"),
    Way("responses", "messages"),
)
# Each has a dialect of its own, as far as litellm is concerned; the last is asked as it comes.
THROUGH_LITELLM = (
    Way("chat", "messages", vendor="anthropic"),
    Way("chat", "gemini", vendor="gemini"),
    Way("chat", "chat", vendor="openai"),
)
VENDOR_MODELS = {
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-3-pro-preview",
    "openai": "up-openai",
}
ALL_DIALECTS = '["chat", "completions", "responses", "embeddings", "messages"]'


MEDIA = """\
[providers.media]
kind = "openai_http"
base_url = "{base_url}/v1"
dialects = ["images", "speech", "transcriptions"]
""" + "".join(
    f"""\
[models.{name}]
provider = "media"
price = {{{{ {price} }}}}
context_tokens = 4_096
max_output_tokens = 1
"""
    for name, price in {
        "painter": 'per_image = "0.04"',
        "speaker": 'per_million_characters = "15"',
        "listener": 'per_minute = "0.006"',
    }.items()
)


def _provider(name: str, dialects: str, more: str = "") -> str:
    keys = f'kind = "openai_http"\nbase_url = "{{base_url}}/v1"\ndialects = {dialects}\n{more}'
    return _model(name, f"up-{name}", keys)


def _through_litellm(vendor: str, more: str = "") -> str:
    keys = f'kind = "litellm"\nvendor = "{vendor}"\napi_base = "{{base_url}}"\n'
    keys += f'api_key_env = "PROBE_KEY"\n{more}'
    return _model(f"{vendor}-lax" if more else vendor, VENDOR_MODELS[vendor], keys)


def _model(name: str, upstream_model: str, keys: str) -> str:
    return f"""\
[providers.{name}]
{keys}
[models.{name}]
provider = "{name}"
upstream_model = "{upstream_model}"
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
    + "".join(map(_through_litellm, VENDOR_MODELS))
    + "".join(_through_litellm(vendor, "drop_unsupported = true") for vendor in VENDOR_MODELS)
    + MEDIA
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
        gateway(folder, CONFIG.format(base_url=canned.base_url), {"PROBE_KEY": "sk-probe"}) as weir,
    ):
        wait_for(lambda: b'"starting"' not in weir.get("/readyz").body, "litellm is imported", 60)
        yield Bench(weir, canned)
        assert_clean(weir)
