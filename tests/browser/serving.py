"""The dashboard on a real socket: its router in a small app, over a real DuckDB file."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import uvicorn
from fastapi import FastAPI

from budgets.money import NANO_PER_USD
from gateway.routes.dashboard import DashboardServices, dashboard_router
from telemetry.queries import QueryBook
from telemetry.warehouse import Warehouse
from tests.browser.sample import NOW_MS, TIERS

ADMIN_KEY = "sk-weir-admin-for-tests"
START_WITHIN_S = 20.0


def budget_rows() -> list[dict[str, Any]]:
    """Budgets far apart in size: a cent, a hundred dollars, one overdrawn, one with money held."""
    described = (
        ("org:acme", "month", 100, 0.42, 0.02),
        ("team:finance", "month", 2, 0.93, 0.05),
        ("key:key_1", "day", 0.01, 0.30, 0.40),
        ("workflow:code-review", "week", 5, 1.04, 0.0),
    )
    return [
        {
            "name": f"{scope}/{window}",
            "scope": scope,
            "window": window,
            "unit": "usd",
            "timezone": "UTC",
            "limit_nano": round(limit_usd * NANO_PER_USD),
            "posted_nano": round(limit_usd * spent * NANO_PER_USD),
            "held_nano": round(limit_usd * held * NANO_PER_USD),
            "resets_at_s": NOW_MS // 1000 + 3_600,
        }
        for scope, window, limit_usd, spent, held in described
    ]


@dataclass(slots=True)
class Backstage:
    """What a test may look at or change behind a running dashboard."""

    warehouse: Warehouse
    book: QueryBook = field(default_factory=QueryBook.load)
    budgets: list[dict[str, Any]] = field(default_factory=budget_rows)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    lag_rows: int = 0
    stand_ins: tuple[str, ...] = ("smollm2",)
    base_url: str = ""

    async def run_query(self, name: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        self.asked.append((name, params))
        return await asyncio.to_thread(self.book.run, self.warehouse, name, **params)

    async def budget_rows(self) -> list[dict[str, Any]]:
        return self.budgets

    def freshness(self) -> dict[str, Any]:
        return {"lag_rows": self.lag_rows, "last_batch_ms": NOW_MS - 2_000}

    def services(self, base_url: str) -> DashboardServices:
        return DashboardServices(
            run_query=self.run_query,
            budgets=self.budget_rows,
            check_admin=lambda key: key == ADMIN_KEY,
            freshness=self.freshness,
            base_url=self.base_url or base_url,
            tiers=TIERS,
            stand_ins=self.stand_ins,
            now_ms=lambda: NOW_MS,
        )


@contextmanager
def served(backstage: Backstage) -> Iterator[str]:
    """Serve the dashboard from a thread and give its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = FastAPI()
    app.include_router(dashboard_router(backstage.services(base_url)))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline_s = time.monotonic() + START_WITHIN_S
        while not server.started:
            assert thread.is_alive(), "the server ended before it started"
            assert time.monotonic() < deadline_s, "the server did not start in time"
            thread.join(0.02)
        yield base_url
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, headers by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Client:
    """A plain HTTP client that follows no redirect and keeps one cookie."""

    base_url: str
    cookie: str = ""

    def ask(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
        """One request; header names with `_` for `-`."""
        connection = http.client.HTTPConnection(urlsplit(self.base_url).netloc, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            sent.setdefault("Cookie", self.cookie)
        connection.request(method, path, body or None, sent)
        answer = connection.getresponse()
        got = Answer(
            answer.status,
            {name.lower(): value for name, value in answer.getheaders()},
            answer.read(),
        )
        connection.close()
        return got

    def log_in(self, key: str = ADMIN_KEY, **headers: str) -> Answer:
        """Send the login form as a browser does, and keep the cookie."""
        sent = {
            "Origin": self.base_url,
            "Content_Type": "application/x-www-form-urlencoded",
            **headers,
        }
        form = urlencode({"username": "admin", "key": key}).encode()
        answer = self.ask("/dashboard/login", "POST", form, **sent)
        if answer.status == 303:
            self.cookie = answer.headers["set-cookie"].split(";")[0]
        return answer
