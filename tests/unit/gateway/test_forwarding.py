"""The control plane of another process, asked over a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from gateway.forwarding import HOST_HEADER, ControlDoor, ControlForward
from gateway.providers.borrowed_model import INTERNAL_KEY, BorrowedModel
from gateway.providers.http1_client import Http1Client
from gateway.providers.http_client import parse_base_url
from gateway.providers.local_model import Endpoint, LocalModelProvider
from gateway.providers.port import Provider, UpstreamCall, UpstreamError, UpstreamFault
from gateway.response import Receive, Scope, Send, read_body
from gateway.serving import Server, uvicorn_config
from tests.unit.gateway.desks import TIMEOUTS, Client, run

KEY = "internal"


class Plane:
    """A control plane that tells what it was asked."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(scope, receive, 1_000)
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
        told = {"path": scope["path"], "query": scope["query_string"].decode(), "headers": headers}
        answer = orjson.dumps({**told, "method": scope["method"], "body": body.decode()})
        head = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-own", b"1")]
        await send({"type": "http.response.start", "status": 207, "headers": head})
        for start in range(0, len(answer), 7):
            part = {"body": answer[start : start + 7], "more_body": True}
            await send({"type": "http.response.body", **part})
        await send({"type": "http.response.body", "body": b""})


class Model(LocalModelProvider):
    """A local model that is where a test says."""

    def __init__(self, *answers: Endpoint | str) -> None:
        self.answers = list(answers)

    async def lend(self) -> Endpoint | str:
        return self.answers.pop(0)


@asynccontextmanager
async def serving(application: Any) -> AsyncIterator[str]:
    """An application behind the gateway's own web server; its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    up = asyncio.Event()
    server = Server(uvicorn_config(application), up.set, lambda: None)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await up.wait()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.end()
        await task


@asynccontextmanager
async def forward(url: str, key: str = KEY, path: str = "") -> AsyncIterator[ControlForward]:
    base = parse_base_url(url + path)
    client = Http1Client(base.origin)
    yield ControlForward(client, base, key, 500)
    await client.aclose()


def scope(method: str, path: str, *headers: tuple[bytes, bytes], query: bytes = b"") -> Scope:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": list(headers),
    }


async def ask(application: Any, asked: Scope, body: bytes = b"") -> Client:
    client = Client(body)
    await application(asked, client.receive, client.send)
    return client


def door(models: Mapping[str, Provider] | None = None) -> ControlDoor:
    return ControlDoor(Plane(), KEY, models or {})


def test_a_request_arrives_as_it_was_sent_and_its_answer_comes_back_as_it_was_given() -> None:
    async def story() -> None:
        async with serving(door()) as url, forward(url) as application:
            client = await ask(
                application,
                scope(
                    "PUT",
                    "/admin/budgets/key:a/day",
                    (b"host", b"weir.example:8080"),
                    (b"authorization", b"Bearer k"),
                    (b"connection", b"keep-alive"),
                    (b"content-length", b"4"),
                    (b"cookie", b"weir_dashboard=t"),
                    query=b"a=1&b=%20",
                ),
                b"body",
            )
            assert (client.status, client.ended) == (207, True)
            cookies = [value for name, value in client.sent[0]["headers"] if name == b"set-cookie"]
            assert (cookies, client.header(b"x-own")) == ([b"a=1", b"b=2"], b"1")
            told = orjson.loads(client.text)
            assert (told["method"], told["path"]) == ("PUT", "/admin/budgets/key:a/day")
            assert (told["query"], told["body"]) == ("a=1&b=%20", "body")
            headers = dict(told["headers"])
            assert headers["host"] == "weir.example:8080"
            assert (headers["authorization"], headers["cookie"]) == ("Bearer k", "weir_dashboard=t")

    run(story())


def test_only_who_knows_the_key_may_say_which_host_was_asked() -> None:
    async def story() -> None:
        async with serving(door()) as url, forward(url, "wrong") as application:
            spoofed = scope("GET", "/admin/x", (b"host", b"other.example"))
            told = orjson.loads((await ask(application, spoofed)).text)
            assert dict(told["headers"])["host"] == url.removeprefix("http://")
        async with serving(door()) as url, forward(url) as application:
            own = scope("GET", "/admin/x", (HOST_HEADER, b"evil"), (b"host", b"good"))
            told = orjson.loads((await ask(application, own)).text)
            assert dict(told["headers"])["host"] == "good"

    run(story())


def test_a_collector_behind_a_path_is_asked_there() -> None:
    async def story() -> None:
        async with serving(door()) as url, forward(url, path="/weir") as application:
            told = orjson.loads((await ask(application, scope("GET", "/dashboard"))).text)
            assert told["path"] == "/weir/dashboard"

    run(story())


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        (scope("GET", "/elsewhere"), 404, "unknown_url"),
        (scope("GET", "/internal/models/m"), 404, "unknown_url"),
        (scope("HEAD", "/admin/status"), 405, "method_not_allowed"),
        (scope("GET", "/admin/status"), 503, "control_plane_unreachable"),
    ],
)
def test_what_cannot_be_forwarded_is_answered_here(asked: Scope, status: int, code: str) -> None:
    async def story() -> None:
        async with forward("http://127.0.0.1:9") as application:
            client = await ask(application, asked)
            assert (client.status, client.error["code"]) == (status, code)
            assert client.header(b"allow") == (b"GET" if status == 405 else None)

    run(story())


def test_a_body_that_is_too_large_is_not_forwarded() -> None:
    async def story() -> None:
        async with serving(door()) as url, forward(url) as application:
            client = await ask(application, scope("PUT", "/admin/budgets"), b"x" * 501)
            assert client.status == 413

    run(story())


def test_without_an_address_the_client_is_told_where_to_ask() -> None:
    async def story() -> None:
        client = await ask(ControlForward(None, None, KEY, 500), scope("GET", "/admin/status"))
        assert (client.status, client.error["code"]) == (503, "control_plane_elsewhere")
        assert client.header(b"x-should-retry") == b"false"
        assert "server.control_url" in client.error["message"]

    run(story())


# -- lent models -----------------------------------------------------------------------------


CALL = UpstreamCall("/chat/completions", b"{}", (), TIMEOUTS)


@asynccontextmanager
async def borrowed(url: str, key: str = KEY) -> AsyncIterator[BorrowedModel]:
    lender = Http1Client(parse_base_url(url).origin)
    model = BorrowedModel("my model/1", lender, key)
    yield model
    await model.stop()
    await lender.aclose()


def test_a_lent_model_is_called_where_it_is_and_found_again_where_it_went() -> None:
    async def story() -> None:
        async with serving(Plane()) as first, serving(Plane()) as second:
            nowhere = "http://127.0.0.1:9/v1"
            model = Model(*(Endpoint(f"{url}/v1", "k") for url in (first, nowhere, second)))
            async with serving(door({"my model/1": model})) as url, borrowed(url) as provider:
                assert not provider.ready
                told = orjson.loads(await (await provider.open(CALL)).read())
                assert provider.ready
                assert told["path"] == "/v1/chat/completions"
                assert dict(told["headers"])["authorization"] == "Bearer k"
                await provider._forget()
                with pytest.raises(UpstreamError):
                    await provider.open(CALL)
                told = orjson.loads(await (await provider.open(CALL)).read())
                assert dict(told["headers"])["host"] == second.removeprefix("http://")
                assert model.answers == []

    run(story())


@pytest.mark.parametrize(
    ("key", "message"), [(KEY, "not ready: it is still loading"), ("wrong", "not ready")]
)
def test_a_model_that_is_not_lent_is_one_that_cannot_be_reached(key: str, message: str) -> None:
    async def story() -> None:
        model = Model("it is still loading")
        async with serving(door({"my model/1": model})) as url, borrowed(url, key) as provider:
            with pytest.raises(UpstreamError, match=message) as caught:
                await provider.open(CALL)
            assert caught.value.kind is UpstreamFault.CONNECT

    run(story())


def test_a_model_is_found_in_the_background_as_soon_as_there_is_one() -> None:
    async def story() -> None:
        model = Model(Endpoint("http://127.0.0.1:9/v1", "k"))
        async with serving(door({"my model/1": model})) as url, borrowed(url) as provider:
            await provider.start()
            while not provider.ready:
                await asyncio.sleep(0.01)

    run(story())


def test_nobody_without_the_key_learns_where_a_model_is() -> None:
    async def story() -> None:
        model = Model(Endpoint("http://127.0.0.1:9/v1", "k"))
        asked = scope("GET", "/internal/models/my%20model%2F1", (INTERNAL_KEY, b"guess"))
        told = orjson.loads((await ask(door({"my model/1": model}), asked)).text)
        assert told["path"].startswith(
            "/internal/"
        )  # handed on, to a plane that knows no such path
        assert len(model.answers) == 1

    run(story())
