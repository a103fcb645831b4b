"""The admin API over a real registry: who gets in, and what each route answers."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from budgets.config import BudgetSection
from budgets.ledger import LedgerError
from gateway.auth import Role, derive_secret
from gateway.budget_advice import AdviceQuestion
from gateway.key_registry import KeyRegistry, NewKey
from gateway.registries.in_sqlite import SqliteKeys
from gateway.routes.admin import AdminServices, admin_router

SECRET = derive_secret("s" * 32)
ADMIN = {"Authorization": f"Bearer {SECRET.admin_key}"}
ROUTES = [
    ("GET", "/admin/requests/req_1"),
    ("GET", "/admin/audit"),
    ("GET", "/admin/budgets"),
    ("GET", "/admin/status"),
    ("GET", "/admin/keys"),
    ("PUT", "/admin/budgets"),
    ("GET", "/admin/budgets/changes"),
    ("GET", "/admin/budgets/advice"),
    ("GET", "/admin/budgets/key:a/day"),
    ("DELETE", "/admin/budgets/key:a/day"),
    ("POST", "/admin/keys"),
    ("DELETE", "/admin/keys/k1"),
]
NEW = {"name": "Ana's laptop", "team": "research", "workflow": "papers"}


async def find_request(request_id: str) -> dict[str, Any] | None:
    return {"request_id": request_id, "cost_nano": 7} if request_id == "req_1" else None


async def status() -> dict[str, Any]:
    return {"version": "1"}


async def audit() -> dict[str, Any]:
    return {"clean": True}


async def advise(question: AdviceQuestion) -> dict[str, Any]:
    if question.days == 366:
        raise LedgerError("the disk is full")
    return {"asked": [question.workflow, question.days, str(question.stop_share)]}


class Budgets:
    """One budget, and a note of what was asked."""

    async def rows(self) -> list[dict[str, Any]]:
        return [{"name": "key:*/month", "limit_nano": 1}]

    async def show(self, name: str) -> list[dict[str, Any]] | None:
        return await self.rows() if name == "key:*/month" else None

    async def put(self, section: BudgetSection, who: str) -> str:
        if section.scope == "org":
            raise LedgerError("the disk is full")
        assert (section.limit_usd, who) == (1, "admin")
        return "key:*/month"

    async def remove(self, name: str, who: str) -> bool:
        assert who == "admin"
        return name == "workflow:lab/nightly/24h"

    async def changes(self) -> list[dict[str, Any]]:
        return [{"what": "set"}]


def serve(folder: Path, listener: socket.socket, started: Queue[uvicorn.Server]) -> None:
    """The admin API behind a real server, until it is told to exit."""
    registry = KeyRegistry(SqliteKeys(folder / "keys.sqlite3"), SECRET, org="acme")
    services = AdminServices(
        registry=registry,
        policies=frozenset({"default", "cheap"}),
        find_request=find_request,
        audit=audit,
        advise=advise,
        budgets=Budgets(),
        status=status,
        now_ms=lambda: 1_234,
    )
    application = FastAPI()
    application.include_router(admin_router(services))
    server = uvicorn.Server(uvicorn.Config(application, lifespan="off", log_config=None))
    started.put(server)
    server.run(sockets=[listener])
    asyncio.run(registry.aclose())


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    started: Queue[uvicorn.Server] = Queue()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve, args=(tmp_path, listener, started))
        thread.start()
        server = started.get(timeout=30)
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=base_url, trust_env=False, timeout=30) as client:
            yield client
        server.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive()


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("credential", [None, "Bearer sk-weir-wrong", "Basic YTpi"])
def test_no_route_opens_without_a_key(
    client: httpx.Client, method: str, path: str, credential: str | None
) -> None:
    headers = {} if credential is None else {"Authorization": credential}
    answer = client.request(method, path, headers=headers, json=NEW)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_key_that_spends_does_not_open_the_admin_api(
    client: httpx.Client, method: str, path: str
) -> None:
    headers = {"x-api-key": SECRET.demo_key}
    answer = client.request(method, path, headers=headers, json=NEW)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "admin_key_required"


def test_what_the_gateway_knows_is_read(client: httpx.Client) -> None:
    answers = {path: client.get(path, headers=ADMIN).json() for _, path in ROUTES[:4]}
    assert answers == {
        "/admin/requests/req_1": {"request_id": "req_1", "cost_nano": 7},
        "/admin/audit": {"clean": True},
        "/admin/budgets": {"budgets": [{"name": "key:*/month", "limit_nano": 1}]},
        "/admin/status": {"version": "1"},
    }


def test_an_unknown_request_is_not_found(client: httpx.Client) -> None:
    answer = client.get("/admin/requests/req_2", headers=ADMIN)
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": "No request 'req_2'; its id is in the response header `x-weir-request-id`.",
        "type": "invalid_request_error",
        "param": "request_id",
        "code": "request_not_found",
    }


def test_a_key_is_made_listed_used_and_revoked(client: httpx.Client) -> None:
    made = client.post("/admin/keys", headers=ADMIN, json={**NEW, "role": "admin"})
    assert made.status_code == 201
    key = made.json().pop("key")
    record = {name: value for name, value in made.json().items() if name != "key"}
    assert record["created_ms"] == 1_234
    own = {"Authorization": f"Bearer {key}"}
    listed = client.get("/admin/keys", headers=own)
    assert listed.json() == {"keys": [record]}
    assert key not in listed.text
    revoked = client.delete(f"/admin/keys/{record['key_id']}", headers=ADMIN)
    assert revoked.json() == {**record, "revoked_ms": 1_234}
    assert client.get("/admin/keys", headers=own).status_code == 401
    assert client.delete("/admin/keys/unknown", headers=ADMIN).status_code == 404


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"team": "a/b"}, "team"),
        ({"workflow": ""}, "workflow"),
        ({"name": 5}, "name"),
        ({"role": "king"}, "role"),
        ({"policy": "dear"}, "policy"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_key_that_cannot_be_made_is_refused_by_field(
    client: httpx.Client, change: dict[str, Any], param: str
) -> None:
    answer = client.post("/admin/keys", headers=ADMIN, json={**NEW, **change})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert client.get("/admin/keys", headers=ADMIN).json() == {"keys": []}


@pytest.mark.parametrize("body", ["", "{", "[]"])
def test_a_body_that_is_no_key_is_refused(client: httpx.Client, body: str) -> None:
    answer = client.post("/admin/keys", headers=ADMIN, content=body)
    assert answer.status_code == 400
    assert "error" in answer.json()


def test_a_policy_of_the_key_is_kept(client: httpx.Client) -> None:
    made = client.post("/admin/keys", headers=ADMIN, json={**NEW, "policy": "cheap"})
    assert (made.json()["policy"], made.json()["role"]) == ("cheap", Role.DATA)
    assert NewKey("a", "b", "c").role is Role.DATA


def test_a_budget_is_set_shown_and_deleted_by_name(client: httpx.Client) -> None:
    """The routes of `gateway.routes.admin_budgets.add_budget_routes`; names have slashes."""
    terms = {"scope": "key:*", "window": "month", "limit_usd": "0.000000001"}
    rows = [{"name": "key:*/month", "limit_nano": 1}]
    answer = client.put("/admin/budgets", headers=ADMIN, json=terms)
    assert answer.json() == {"name": "key:*/month", "budgets": rows}
    assert client.get("/admin/budgets/key:*/month", headers=ADMIN).json()["budgets"] == rows
    assert client.get("/admin/budgets/changes", headers=ADMIN).json()["changes"] == [
        {"what": "set"}
    ]
    name = "workflow:lab%2Fnightly%2F24h"
    deleted = client.delete(f"/admin/budgets/{name}", headers=ADMIN)
    assert deleted.json() == {"name": "workflow:lab/nightly/24h", "deleted": True}
    for method in ("GET", "DELETE"):
        unknown = client.request(method, "/admin/budgets/org:*/day", headers=ADMIN)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "budget_not_found")


def test_a_budget_that_cannot_be_stored_is_not_in_effect(client: httpx.Client) -> None:
    terms = {"scope": "org", "window": "month", "limit_usd": "1"}
    answer = client.put("/admin/budgets", headers=ADMIN, json=terms)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ledger_unavailable")


def test_advice_is_asked_for_with_the_parts_of_its_address(client: httpx.Client) -> None:
    """The route of `gateway.routes.admin_budgets.add_advice_route`, and no budget of that name."""
    path = "/admin/budgets/advice"
    assert client.get(path, headers=ADMIN).json() == {"asked": [None, 30, "1/50"]}
    asked = {"workflow": "lab/a b", "days": "7", "stop_share": "0.1"}
    answer = client.get(path, headers=ADMIN, params=asked)
    assert answer.json() == {"asked": ["lab/a b", 7, "1/10"]}
    wrong = client.get(path, headers=ADMIN, params={"stop_share": "2"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "stop_share")
    failed = client.get(path, headers=ADMIN, params={"days": "366"})
    assert (failed.status_code, failed.json()["error"]["code"]) == (503, "ledger_unavailable")
