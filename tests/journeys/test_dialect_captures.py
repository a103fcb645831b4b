"""Captured streams pass through a real gateway byte for byte, and are settled as they report."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.canned_server import JSON, STREAM, Canned, canned_server
from tests.journeys.gateway_process import GatewayProcess, assert_clean, gateway
from tests.unit.gateway.dialects.captures import FINDINGS, FOLDER, capture

ROUTES = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
}
SAID = [{"role": "user", "content": "Hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "chat": {"messages": SAID, "stream_options": {"include_usage": True}},
    "completions": {"prompt": "Hi", "stream_options": {"include_usage": True}},
    "messages": {"messages": SAID},
    "responses": {"input": "Hi"},
}
LIMITS = {"responses": "max_output_tokens"}
# These say how they end, so a stream that is torn before is ended with an error.
SAY_THEIR_END = ("messages", "responses")
NANO_PER_TOKEN = {
    "fresh": 1_000,
    "cached": 100,
    "cache_write": 1_250,
    "cache_write_1h": 2_000,
    "output": 2_000,
}
CONFIG = """\
[providers.up]
kind = "openai_http"
base_url = "{base_url}/v1"
dialects = ["chat", "completions", "responses", "embeddings", "messages", "count_tokens"]
[models.tiny]
provider = "up"
upstream_model = "up-tiny"
price = {{ input = "1", output = "2", cached = "0.1", cache_write = "1.25" }}
context_tokens = 1_000_000
max_output_tokens = 4_096
[tiers.small]
models = ["tiny"]
[policies.default]
tier = "small"
"""


@pytest.fixture(scope="module")
def canned() -> Iterator[Canned]:
    with canned_server() as server:
        yield server


@pytest.fixture(scope="module")
def weir(tmp_path_factory: pytest.TempPathFactory, canned: Canned) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("weir")
    with gateway(folder, CONFIG.format(base_url=canned.base_url)) as running:
        yield running
        assert_clean(running)


def body_of(kind: str, **fields: Any) -> bytes:
    limit = {LIMITS.get(kind, "max_tokens"): 2_000}
    body = {"model": "tiny", "stream": True, **BODIES[kind], **limit, **fields}
    return json.dumps(body, indent=1).encode()


def asked(weir: GatewayProcess, kind: str, body: bytes, query: str = "") -> Any:
    key = {"Authorization": f"Bearer {weir.key}", "anthropic-version": "2023-06-01"}
    return weir.ask("POST", ROUTES[kind] + query, body, **key)


def test_every_capture_is_replayed() -> None:
    assert set(FINDINGS) == {
        str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.sse")
    }


@pytest.mark.parametrize("name", FINDINGS)
def test_a_stream_passes_byte_for_byte_and_costs_what_it_reports(
    weir: GatewayProcess, canned: Canned, name: str
) -> None:
    kind, whole, finding = name.partition("/")[0], capture(name), FINDINGS[name]
    canned.say(200, STREAM, *[whole[at : at + 97] for at in range(0, len(whole), 97)])
    answer = asked(weir, kind, body_of(kind), "?beta=true")
    row = weir.ended(answer.request_id)
    torn = kind in SAY_THEIR_END and not (finding.finished or finding.failed)
    if torn:
        events = whole[: whole.rindex(b"\n\n") + 2]
        assert answer.body.startswith(events)
        assert b"upstream_broken" in answer.body[len(events) :]
    else:
        assert answer.body == whole
    failed = torn or finding.failed
    assert row["ending"] == ("upstream_failed" if failed else "completed")
    usage = finding.usage
    if usage is None:
        assert row["usage_source"] == "estimated"
        assert row["cost_nano"] > 0
        return
    assert row["usage_source"] == "provider"
    assert (row["input_tokens"], row["all_output_tokens"]) == (
        usage.input_tokens,
        usage.output_tokens,
    )
    fresh = usage.fresh + usage.audio_input
    expected = (
        NANO_PER_TOKEN["fresh"] * fresh
        + NANO_PER_TOKEN["cached"] * usage.cached
        + NANO_PER_TOKEN["cache_write"] * usage.cache_write
        + NANO_PER_TOKEN["cache_write_1h"] * usage.cache_write_1h
        + NANO_PER_TOKEN["output"] * usage.output_tokens
    )
    assert row["cost_nano"] == expected
    path, sent = canned.asked[-1]
    assert path == f"{ROUTES[kind]}?beta=true"
    assert sent == body_of(kind).replace(b'"tiny"', b'"up-tiny"', 1)


@pytest.mark.parametrize("kind", ROUTES)
def test_a_whole_answer_passes_byte_for_byte(
    weir: GatewayProcess, canned: Canned, kind: str
) -> None:
    usage = {"input_tokens": 9, "output_tokens": 4}
    if kind in ("chat", "completions"):
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    whole = json.dumps({"id": "x1", "odd": [1.50, {"é": None}], "usage": usage}, indent=3).encode()
    canned.say(200, JSON, whole)
    fields: dict[str, Any] = {"stream": False, "unknown": {"kept": 1.0}}
    body = body_of(kind, **fields).replace(
        b',\n "stream_options": {\n  "include_usage": true\n }', b""
    )
    answer = asked(weir, kind, body)
    assert (answer.status, answer.body) == (200, whole)
    assert weir.request(answer.request_id)["cost_nano"] == 9 * 1_000 + 4 * 2_000
    assert canned.asked[-1][1] == body.replace(b'"tiny"', b'"up-tiny"', 1)


def test_an_error_of_the_provider_passes_as_it_is(weir: GatewayProcess, canned: Canned) -> None:
    told = b'{"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}'
    canned.say(400, JSON, told)
    answer = asked(weir, "messages", body_of("messages"))
    assert (answer.status, answer.body) == (400, told)
    assert weir.ended(answer.request_id)["cost_nano"] == 0
