"""A process that only answers requests, opened in the test's own process on a real Redis."""

import asyncio
import logging
import secrets
from pathlib import Path

import orjson
import pytest

from budgets.ledger import LedgerError
from gateway import front
from gateway.app import build_app, open_gateway
from gateway.auth import AuthError, derive_secret
from gateway.config import Settings, load_settings
from gateway.front import build_front, new_counter, open_front
from gateway.key_registry import NewKey
from gateway.roles import ServeRole
from tests.contracts.redis_server import RedisServer
from tests.unit.gateway.desks import Client, chat, run
from tests.unit.gateway.gateways import CONFIG, MATERIAL, SECRET
from tests.unit.gateway.test_forwarding import ask, scope

pytestmark = pytest.mark.redis
REDIS = '[ledger]\nstore = "redis"\n'


def settings_on(server: RedisServer, folder: Path, secret: str = MATERIAL) -> Settings:
    folder.mkdir(exist_ok=True)
    env = {"WEIR_SECRET": secret, "WEIR_REDIS_URL": server.url}
    return load_settings(folder / "config.toml", env, (CONFIG + REDIS).encode())


async def asked(application: object, method: str, path: str, key: str, body: bytes = b"") -> Client:
    header = (b"authorization", f"Bearer {key}".encode())
    request = scope(method, path, header)
    client = Client(body, headers=[header])
    await application(request, client.receive, client.send)  # type: ignore[operator]
    return client


def test_a_gateway_answers_with_the_keys_and_budgets_of_the_collector(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        collector = settings_on(server, tmp_path / "collector")
        own = settings_on(server, tmp_path / "gateway")
        async with (
            open_gateway(collector, ServeRole.COLLECTOR) as gateway,
            open_front(own, ServeRole.GATEWAY) as answering,
        ):
            application = build_front(answering)
            record, key = await gateway.registry.create(NewKey("a", "demo", "w"), 1)
            path = "/v1/chat/completions"
            while (await asked(application, "POST", path, key, chat())).status == 401:
                await asyncio.sleep(0.02)
            client = await asked(application, "POST", path, key, chat())
            assert client.status == 200
            await gateway.registry.revoke(record.key_id, 2)
            while (await asked(application, "POST", path, key, chat())).status == 200:
                await asyncio.sleep(0.02)
            request_id = (client.header(b"x-weir-request-id") or b"").decode()
            assert (await gateway.find_request(request_id) or {})["basis"] == "settled"
            assert (await gateway.audit())["clean"]
            elsewhere = await asked(application, "GET", "/admin/status", SECRET.admin_key)
            assert elsewhere.error["code"] == "control_plane_elsewhere"
            refused = await asked(build_app(gateway), "POST", path, SECRET.demo_key, chat())
            assert (refused.status, refused.error["code"]) == (404, "answered_elsewhere")
            path, body = "/v1/runs", b'{"budget": {"limit_requests": 1}}'
            refused = await asked(build_app(gateway), "POST", path, SECRET.demo_key, body)
            assert (refused.status, refused.error["code"]) == (404, "answered_elsewhere")
            granted = await asked(application, "POST", path, SECRET.demo_key, body)
            run_id = orjson.loads(granted.text)["id"]
            seen = await asked(build_app(gateway), "GET", f"{path}/{run_id}", SECRET.demo_key)
            assert (seen.status, orjson.loads(seen.text)["state"]) == (200, "open")

    run(story())


def test_a_gateway_is_ready_as_long_as_its_ledger_is(server: RedisServer, tmp_path: Path) -> None:
    async def story() -> None:
        async with open_gateway(settings_on(server, tmp_path / "c"), ServeRole.COLLECTOR):
            pass
        async with open_front(settings_on(server, tmp_path / "g"), ServeRole.GATEWAY) as answering:
            application = build_front(answering)
            ready = await ask(application, scope("GET", "/readyz"))
            assert (ready.status, orjson.loads(ready.text)["ledger"]["state"]) == (200, "ok")
            server.kill()
            while (away := await ask(application, scope("GET", "/readyz"))).status == 200:
                await asyncio.sleep(0.02)  # it is asked once a second
            told = orjson.loads(away.text)
            assert told["ledger"]["state"] == "unreachable"
            assert "collector" not in told

    run(story())


def test_a_gateway_waits_for_the_collector_to_begin_the_ledger(
    server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        opening = open_front(settings_on(server, tmp_path / "g"), ServeRole.GATEWAY)
        early = asyncio.create_task(opening.__aenter__())
        while not caplog.records:
            await asyncio.sleep(0.01)
        assert not early.done()
        async with open_gateway(settings_on(server, tmp_path / "c"), ServeRole.COLLECTOR):
            await early
            await opening.__aexit__(None, None, None)

    with caplog.at_level(logging.WARNING, "weir.app"):
        run(story())
    assert len(caplog.records) == 1
    assert "waiting for the ledger: Redis holds no ledger" in caplog.records[0].getMessage()


def test_a_gateway_does_not_wait_for_ever(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "COLLECTOR_WAIT_S", 0.1)

    async def story() -> None:
        with pytest.raises(LedgerError, match="holds no ledger"):
            async with open_front(settings_on(server, tmp_path), ServeRole.GATEWAY):
                pass

    run(story())


def test_another_secret_than_that_of_the_others_is_refused(
    server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with open_gateway(settings_on(server, tmp_path / "c"), ServeRole.COLLECTOR):
            other = settings_on(server, tmp_path / "g", secrets.token_hex(16))
            with pytest.raises(AuthError, match="WEIR_SECRET to the same text on every host"):
                async with open_front(other, ServeRole.GATEWAY):
                    pass

    run(story())
    assert derive_secret("a" * 32).fingerprint != derive_secret("b" * 32).fingerprint


def test_a_second_collector_is_refused(server: RedisServer, tmp_path: Path) -> None:
    async def story() -> None:
        async with open_gateway(settings_on(server, tmp_path / "a"), ServeRole.COLLECTOR):
            with pytest.raises(LedgerError, match="another gateway collects"):
                async with open_gateway(settings_on(server, tmp_path / "b"), ServeRole.COLLECTOR):
                    pass
            async with open_gateway(settings_on(server, tmp_path / "b")) as beside:
                assert not beside.collector.state.waiting_rows

    run(story())


def test_runs_are_inferred_as_configured_and_by_one_name_where_others_answer_too(
    tmp_path: Path,
) -> None:
    said = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]

    def inferred(role: ServeRole, line: str = "") -> str | None:
        config = f"[server]\n{line}\n{CONFIG}"
        settings = load_settings(tmp_path / "config.toml", {}, config.encode())
        inference = new_counter(settings, role, {}).inference
        return None if inference is None else str(inference.follow("key", said, "own"))

    assert inferred(ServeRole.ALL) == "None"
    assert str(inferred(ServeRole.WORKER)).startswith("conv-")
    assert inferred(ServeRole.ALL, "infer_runs = false") is None
