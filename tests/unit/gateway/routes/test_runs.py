"""`/v1/runs` of an open gateway on real files: open a run, spend it, ask about it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.key_registry import NewKey
from gateway.routes.runs import PATH
from tests.unit.gateway.desks import Client, chat, run
from tests.unit.gateway.gateways import CONFIG, SECRET, Opened, json_of, opened, settings_in

CHAT = "/v1/chat/completions"
Story = Callable[[Opened], Awaitable[None]]


def tell(folder: Path, story: Story, config: str = CONFIG) -> None:
    async def told() -> None:
        async with opened(settings_in(folder, config)) as weir:
            await story(weir)
            assert (await weir.gateway.audit())["clean"]

    run(told())


async def open_run(weir: Opened, key: str = SECRET.demo_key, **fields: Any) -> Client:
    body = {"budget": {"limit_usd": "0.01"}, **fields}
    return await weir.ask("POST", PATH, orjson.dumps(body), key)


async def a_run(weir: Opened, key: str = SECRET.demo_key, **fields: Any) -> tuple[str, str]:
    """The id and the token of a new run."""
    client = await open_run(weir, key, **fields)
    assert client.status == 201, client.text
    found = json_of(client)
    return str(found["id"]), str(found["token"])


async def say(weir: Opened, token: str, **fields: Any) -> Client:
    return await weir.ask("POST", CHAT, chat("#weir:say=one", max_tokens=10, **fields), token)


async def look(weir: Opened, run_id: str, key: str) -> Mapping[str, Any]:
    client = await weir.ask("GET", f"{PATH}/{run_id}", key=key)
    assert client.status == 200, client.text
    return json_of(client)


def test_a_run_is_opened_spent_and_told_of(tmp_path: Path) -> None:
    async def story(weir: Opened) -> None:
        budget = {"limit_usd": "0.01", "limit_requests": 2}
        client = await open_run(weir, budget=budget, name="job", workflow="sum", tags={"a": "1"})
        found = json_of(client)
        assert (client.status, found["object"], found["parent"]) == (201, "weir.run", None)
        assert found["budget"] == {
            "limit_usd": "0.010000000",
            "limit_tokens": None,
            "limit_requests": 2,
        }
        run_id, token = str(found["id"]), str(found["token"])
        before = await look(weir, run_id, token)
        assert (before["state"], before["requests"], before["left"]) == (
            "open",
            0,
            {"usd": "0.010000000", "tokens": None, "requests": 2},
        )
        answers = [await say(weir, token) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 402]
        assert answers[0].header(b"x-weir-run") == run_id.encode()
        assert (answers[2].error["scope"], answers[2].error["unit"]) == (
            f"run:demo/{run_id}",
            "requests",
        )
        row = await weir.gateway.find_request(answers[0].header(b"x-weir-request-id").decode())  # type: ignore[union-attr]
        assert row is not None
        assert (row["run_id"], row["run_source"], row["workflow"]) == (run_id, "token", "sum")
        assert row["tags_json"] == '{"a":"1"}'
        for key in (token, SECRET.demo_key):
            after = await look(weir, run_id, key)
            assert (after["state"], after["requests"]) == ("spent", 2)
            assert after["spent"]["usd"] == f"0.{2 * row['cost_nano']:09d}"
            assert after["spent"]["tokens"] == 2 * (row["input_tokens"] + row["all_output_tokens"])
            assert after["held"] == {"usd": "0.000000000", "tokens": 0, "requests": 0}
            assert after["left"]["requests"] == 0
            assert "token" not in after

    tell(tmp_path, story)


def test_what_a_run_spends_counts_for_the_runs_above_it(tmp_path: Path) -> None:
    async def story(weir: Opened) -> None:
        top_id, top = await a_run(weir, budget={"limit_requests": 3})
        low_id, low = await a_run(weir, top, budget={"limit_requests": 3})
        other_id, other = await a_run(weir, top, budget={"limit_requests": 3})
        statuses = [(await say(weir, token)).status for token in (low, other, top, low, other)]
        assert statuses == [200, 200, 200, 402, 402]
        refused = await say(weir, low)
        assert refused.error["scope"] == f"run:demo/{top_id}"
        told = await look(weir, top_id, top)
        assert (told["requests"], told["state"]) == (3, "spent")
        for run_id, token in ((low_id, low), (other_id, other)):
            told = await look(weir, run_id, token)
            assert (told["requests"], told["left"]["requests"], told["state"]) == (1, 0, "spent")
            assert (told["parent"], (await look(weir, run_id, top))["id"]) == (top_id, run_id)

    tell(tmp_path, story)


def test_of_many_at_once_in_a_run_and_its_runs_exactly_those_that_fit_are_admitted(
    tmp_path: Path,
) -> None:
    async def story(weir: Opened) -> None:
        _, top = await a_run(weir, budget={"limit_requests": 7})
        tokens = [top]
        for _ in range(4):
            tokens.append((await a_run(weir, top, budget={"limit_requests": 7}))[1])
        answers = await asyncio.gather(*[say(weir, tokens[n % 5]) for n in range(30)])
        assert [answer.status for answer in answers].count(200) == 7

    tell(tmp_path, story)


def test_nobody_else_can_name_the_run_or_ask_about_it(tmp_path: Path) -> None:
    async def story(weir: Opened) -> None:
        run_id, token = await a_run(weir)
        _, other_token = await a_run(weir)
        _, foreign = await weir.gateway.registry.create(NewKey("Bo", "demo", "x"), 0)
        _, stranger = await weir.gateway.registry.create(NewKey("Cy", "other", "x"), 0)
        body = chat("#weir:say=one", max_tokens=10)
        for key in (SECRET.demo_key, foreign, stranger):
            client = Client(body, headers=[(b"authorization", f"Bearer {key}".encode())])
            client.headers = [*client.headers, (b"x-weir-run", run_id.encode())]
            await weir.send(client, "POST", CHAT)
            assert (client.status, client.error["param"]) == (400, "x-weir-run")
            named = await weir.ask("POST", CHAT, chat(metadata={"weir_run": run_id}), key)
            assert (named.status, named.error["param"]) == (400, "metadata.weir_run")
        for key in (foreign, stranger, other_token):
            client = await weir.ask("GET", f"{PATH}/{run_id}", key=key)
            assert (client.status, client.error["code"]) == (404, "run_not_found")
        assert (await look(weir, run_id, token))["requests"] == 0

    tell(tmp_path, story)


@pytest.mark.parametrize(
    ("header", "param"),
    [
        ((b"x-weir-run", b"other"), "header x-weir-run"),
        ((b"x-weir-run", b""), "header x-weir-run"),
        ((b"x-weir-workflow", b"other"), "x-weir-workflow"),
        ((b"x-weir-tags", b"a=2"), "x-weir-tags"),
    ],
)
def test_a_token_cannot_say_otherwise_than_its_run(
    tmp_path: Path, header: tuple[bytes, bytes], param: str
) -> None:
    async def story(weir: Opened) -> None:
        run_id, token = await a_run(weir, workflow="sum", tags={"a": "1"})
        bearer = (b"authorization", f"Bearer {token}".encode())
        client = Client(chat(max_tokens=5), headers=[bearer, header])
        await weir.send(client, "POST", CHAT)
        assert (client.status, client.error["code"], client.error["param"]) == (
            403,
            "run_fixed",
            param,
        )
        named = await say(weir, token, metadata={"weir_run": "other"})
        assert (named.status, named.error["code"]) == (403, "run_fixed")
        same = await say(weir, token, metadata={"weir_run": run_id, "run": "whatever"})
        assert same.status == 200

    tell(tmp_path, story)


def test_a_token_opens_no_admin_route_even_of_an_admin_key(tmp_path: Path) -> None:
    async def story(weir: Opened) -> None:
        for key in (SECRET.demo_key, SECRET.admin_key):
            _, token = await a_run(weir, key)
            client = await weir.ask("GET", "/admin/keys", key=token)
            assert (client.status, client.error["code"]) == (403, "admin_key_required")
            client = await weir.ask("GET", "/metrics", key=token)
            assert client.status == 403
            assert (await weir.ask("GET", "/v1/models", key=token)).status == 200

    tell(tmp_path, story)


def test_a_revoked_key_ends_its_runs_and_a_changed_token_is_none(tmp_path: Path) -> None:
    async def story(weir: Opened) -> None:
        registry = weir.gateway.registry
        record, key = await registry.create(NewKey("Bo", "demo", "x"), 0)
        run_id, token = await a_run(weir, key)
        assert (await say(weir, token)).status == 200
        changed = await say(weir, f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'}")
        await registry.revoke(record.key_id, 0)
        for client in (
            changed,
            await say(weir, token),
            await open_run(weir, token),
            await weir.ask("GET", f"{PATH}/{run_id}", key=token),
            await weir.ask("GET", "/v1/models", key=token),
        ):
            assert (client.status, client.error["code"]) == (401, "invalid_run_token")
            assert client.header(b"x-should-retry") == b"false"
            assert token.encode() not in client.text

    tell(tmp_path, story)


def test_a_run_ends_with_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(weir: Opened) -> None:
        registry = weir.gateway.registry
        run_id, token = await a_run(weir, ttl_s=60)
        assert (await say(weir, token)).status == 200
        later_s = registry._now_s() + 61
        monkeypatch.setattr(registry, "_now_s", lambda: later_s)
        for client in (await say(weir, token), await open_run(weir, token)):
            assert (client.status, client.error["code"]) == (401, "run_token_expired")
            assert client.error["expired_at"]
        assert (await look(weir, run_id, SECRET.demo_key))["state"] == "open"

    tell(tmp_path, story)


def test_a_run_that_a_budget_killed_is_told_so(tmp_path: Path) -> None:
    config = CONFIG + (
        '[[budgets]]\nscope = "run:*"\nwindow = "total"\nlimit_usd = "0.0001"\n'
        'at = [{ share = 0.01, action = "kill_run" }]\n'
    )

    async def story(weir: Opened) -> None:
        run_id, token = await a_run(weir)
        assert [(await say(weir, token)).status for _ in range(2)] == [200, 402]
        assert (await look(weir, run_id, token))["state"] == "killed"

    tell(tmp_path, story, config)


def test_a_team_opens_only_so_many_runs_in_an_hour(tmp_path: Path) -> None:
    async def story(weir: Opened) -> None:
        opened_ones = [await open_run(weir) for _ in range(4)]
        assert [client.status for client in opened_ones] == [201, 201, 201, 429]
        assert opened_ones[3].error["code"] == "too_many_runs"

    tell(tmp_path, story, "[server]\nmax_new_ids_per_hour = 3\n" + CONFIG)


def test_a_run_with_a_strip_lands_once_and_says_whether_it_has(tmp_path: Path) -> None:
    async def story(weir: Opened) -> None:
        opened_one = await open_run(weir, budget={"limit_requests": 3}, landing="0.3")
        found = json_of(opened_one)
        run_id, token = str(found["id"]), str(found["token"])
        assert found["landing"] == {"share": "0.3", "available": True}
        told = await look(weir, run_id, token)
        assert (told["left"]["requests"], told["landing"]) == (2, found["landing"])
        assert [(await say(weir, token)).status for _ in range(3)] == [200, 200, 402]
        bearer = (b"authorization", f"Bearer {token}".encode())
        statuses = []
        for _ in range(2):
            client = Client(
                chat("#weir:say=one", max_tokens=10), headers=[bearer, (b"x-weir-landing", b"use")]
            )
            await weir.send(client, "POST", CHAT)
            statuses.append(client.status)
        assert statuses == [200, 402]
        told = await look(weir, run_id, token)
        assert (told["requests"], told["landing"]) == (3, {"share": "0.3", "available": False})

    tell(tmp_path, story)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", PATH, b"", 405, "method_not_allowed"),
        ("DELETE", f"{PATH}/x", b"", 405, "method_not_allowed"),
        ("GET", f"{PATH}/none~1", b"", 404, "run_not_found"),
        ("GET", f"{PATH}/", b"", 404, "run_not_found"),
        ("POST", PATH, b"x" * 70_000, 413, "request_too_large"),
        ("POST", PATH, b"{}", 400, "invalid_value"),
    ],
)
def test_what_is_no_run_gets_an_error_in_openais_shape(
    tmp_path: Path, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    async def story(weir: Opened) -> None:
        client = await weir.ask(method, path, body)
        assert (client.status, client.error["code"]) == (status, code)
        nobody = await weir.ask(method, path, body, key="wrong")
        assert nobody.status in (401, 405, 413)

    tell(tmp_path, story)
