"""Every route is budgeted, free by nature or not there; and errors have the caller's words.

What is opened and kept is put together in gateway.thing_routes.
"""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.dialects.index import BY_ROUTE
from gateway.routes.data_plane import DataPlane
from tests.unit.gateway.batches.made import chat
from tests.unit.gateway.batches.rooms import Room
from tests.unit.gateway.desks import Client, run
from tests.unit.gateway.dialects.requests_made import plain_body
from tests.unit.gateway.gateways import CONFIG, SECRET, Opened, opened, settings_in

DOCS = Path(__file__).resolve().parents[4] / "docs"
SPENT = CONFIG.replace('limit_usd = "5"', 'limit_usd = "0.000000001"')
# Routes that ask no model, so nothing of them can cost anything.
WITHOUT_MODELS = {
    "/v1/models",
    "/v1/models/{id}",
    "/v1/runs",
    "/v1/runs/{id}",
    "/v1/files",
    "/v1/files/{id}",
    "/v1/files/{id}/content",
    "/v1/batches/{id}",
    "/v1/batches/{id}/cancel",
    "/healthz",
    "/health",
    "/readyz",
    "/",
    "/metrics",
}
# What holds the most that many requests may cost before it is sent.
OF_MANY_REQUESTS = {"/v1/batches"}
# What OpenAI and Anthropic have besides; none of it may reach a provider past the budgets.
ELSEWHERE = """
    batches/batch_1/content batches/batch_1/cancel/more conversations edits engines
    files/file_1/more fine_tuning/jobs images/variations messages/batches
    moderations rerank responses/compact responses/input_tokens responses/resp_1 threads uploads
    vector_stores videos realtime chat/completions/1 complete
"""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


async def ask(weir: Opened, method: str, path: str, *headers: tuple[bytes, bytes]) -> Client:
    client = Client(
        plain_body(path, "auto"), headers=[(b"authorization", f"Bearer {SECRET.demo_key}".encode())]
    )
    client.headers = [*client.headers, *headers]
    scope = {"type": "http", "method": method, "path": path, "headers": client.headers}
    await weir.application(scope, client.receive, client.send)
    return client


def test_every_route_is_budgeted_or_asks_no_model(tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path, SPENT)) as weir:
            assert isinstance(weir.application, DataPlane)
            routes = weir.application.routes
            assert set(routes) == WITHOUT_MODELS | OF_MANY_REQUESTS | set(BY_ROUTE)
            for route, dialect in BY_ROUTE.items():
                assert set(routes[route]) == {"POST"}
                answer = await ask(weir, "POST", route)
                assert answer.status == (200 if dialect.is_free else 402), route
            room = Room(weir)
            assert (await room.create(await room.upload(chat()))).status == 402
            provider = weir.gateway.counter.providers["here"]
            assert list(provider.bill) == []  # type: ignore[attr-defined]

    run(look())


@pytest.mark.parametrize("path", ELSEWHERE.split())
def test_what_is_not_budgeted_is_not_there(tmp_path: Path, path: str) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            for method in METHODS:
                assert (await ask(weir, method, f"/v1/{path}")).status == 404
            report = await weir.gateway.audit()
            assert report["entries"] == 0

    run(look())


@pytest.mark.parametrize(
    ("path", "words"),
    [("uploads", "in one piece to /v1/files"), ("messages/batches", "those of /v1/batches are")],
)
def test_what_is_served_in_another_way_says_so(tmp_path: Path, path: str, words: str) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            answer = await ask(weir, "POST", f"/v1/{path}")
            assert answer.status == 404
            assert words.encode() in answer.text

    run(look())


def test_each_dialect_is_answered_and_on_record_in_its_own_name(tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            for route, dialect in BY_ROUTE.items():
                answer = await ask(weir, "POST", route)
                assert answer.status == 200, answer.text
                found = (answer.header(b"x-weir-request-id") or b"").decode()
                row = await weir.gateway.find_request(found)
                assert row is not None
                assert (row["route"], row["ending"]) == (dialect.name, "completed")
                assert (row["cost_nano"] == 0) is dialect.is_free
            assert (await weir.gateway.audit())["clean"] is True

    run(look())


def test_auto_leaves_embeddings_to_the_models_that_are_for_them(tmp_path: Path) -> None:
    text = CONFIG.replace('models = ["tiny"]', 'models = ["vectors", "talker"]')
    for name, output in (("vectors", "0"), ("talker", "2")):
        text += f"""\
[models.{name}]
provider = "here"
price = {{ input = "1", output = "{output}" }}
context_tokens = 4096
max_output_tokens = 1024
"""

    async def look() -> None:
        async with opened(settings_in(tmp_path, text)) as weir:
            for path, model in (("/v1/embeddings", "vectors"), ("/v1/messages", "talker")):
                answer = await ask(weir, "POST", path)
                assert (answer.status, answer.header(b"x-weir-model")) == (200, model.encode())
            refused = await ask(weir, "POST", "/v1/audio/speech")
            assert (refused.status, refused.error["code"]) == (400, "dialect_unsupported")
            assert "Models that speak speech: tiny (here)" in refused.error["message"]

    run(look())


def test_a_websocket_is_told_to_use_http(tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            upgrade = (b"upgrade", b"websocket")
            for route in BY_ROUTE:
                answer = await ask(weir, "GET", route, upgrade)
                assert answer.status == 426
                assert answer.header(b"upgrade") == b"HTTP/1.1"
                assert (await ask(weir, "GET", route)).status == 405

    run(look())


def test_a_method_that_a_route_does_not_take_is_told_those_that_it_does(tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            assert isinstance(weir.application, DataPlane)
            for route, methods in weir.application.routes.items():
                path = route.replace("{id}", "tiny")
                allowed = {*methods, "OPTIONS", *({"HEAD"} if "GET" in methods else ())}
                told = await ask(weir, "OPTIONS", path)
                assert (told.status, told.text) == (204, b""), path
                assert set((told.header(b"allow") or b"").decode().split(", ")) == allowed
                for method in set(METHODS) - allowed:
                    answer = await ask(weir, method, path)
                    assert (answer.status, answer.error["type"]) == (405, "invalid_request_error")
                    assert answer.header(b"allow") == told.header(b"allow")
            assert (await weir.gateway.audit())["entries"] == 0

    run(look())


def test_no_preflight_of_a_browser_is_granted(tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            asked = ((b"origin", b"https://x"), (b"access-control-request-method", b"POST"))
            told = await ask(weir, "OPTIONS", "/v1/chat/completions", *asked)
            assert told.status == 204
            assert told.header(b"access-control-allow-origin") is None

    run(look())


def test_head_is_get_and_asks_no_model(tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            for path in (
                "/v1/models",
                "/v1/models/tiny",
                "/v1/runs/nobody",
                "/healthz",
                "/metrics",
            ):
                got = await ask(weir, "GET", path)
                head = await ask(weir, "HEAD", path)
                assert head.status == got.status, path
                assert head.header(b"content-type") == got.header(b"content-type")
            for route in BY_ROUTE:
                assert (await ask(weir, "HEAD", route)).status == 405
            assert (await weir.gateway.audit())["entries"] == 0

    run(look())


VERSION = (b"anthropic-version", b"2023-06-01")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "words"),
    [
        ("GET", "/v1/messages", (), 405, "anthropic"),
        ("POST", "/v1/messages/batches", (VERSION,), 404, "anthropic"),
        ("GET", "/v1/models/nobody", (VERSION,), 404, "anthropic"),
        ("GET", "/v1/models/nobody", (), 404, "openai"),
        ("POST", "/v1/batches", (), 400, "openai"),
        ("GET", "/v1/embeddings", (), 405, "openai"),
    ],
)
def test_errors_of_routes_are_in_the_callers_words(
    tmp_path: Path, method: str, path: str, headers: Any, status: int, words: str
) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            answer = await ask(weir, method, path, *headers)
            found = orjson.loads(answer.text)
            assert answer.status == status
            assert (found.get("type") == "error") is (words == "anthropic")
            assert found["error"]["message"]

    run(look())


def test_models_are_listed_in_both_shapes(tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            plain = orjson.loads((await ask(weir, "GET", "/v1/models")).text)
            other = orjson.loads((await ask(weir, "GET", "/v1/models", VERSION)).text)
            assert plain["object"] == "list"
            assert other["has_more"] is False
            assert [m["id"] for m in plain["data"]] == [m["id"] for m in other["data"]]
            one = orjson.loads((await ask(weir, "GET", "/v1/models/tiny", VERSION)).text)
            assert (one["type"], one["id"]) == ("model", "tiny")

    run(look())


def test_every_route_is_described() -> None:
    table = (DOCS / "api.md").read_text(encoding="utf-8")
    described = set(re.findall(r"`(?:GET|POST) (/[^`]*)`", table))
    assert set(BY_ROUTE) | {"/v1/models", "/v1/models/{id}"} <= described
