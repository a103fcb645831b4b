"""Alerts to a real receiver, from a real ledger, told once and tried again."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from budgets.actions import Action, Threshold
from budgets.budget_book import BudgetBook
from budgets.ledger import Account
from budgets.rolling import RollingWindow
from budgets.scopes import AnyWindow, Budget, ScopeKind, Unit, Window
from gateway.alerts import AlertWatch, pause_ms
from gateway.ledger_watch import LedgerWatch
from gateway.registries.in_sqlite import SqliteAlerts
from gateway.registries.port import RegistryError
from gateway.tally import Tally
from gateway.webhook import Receiver, Webhook
from tests.unit.gateway.desks import new_ledger, run

NOON_MS = 1_793_534_400_000
HALF, ALL = Threshold(500, Action.ALERT), Threshold(1_000, Action.ALERT)
DAY = Budget(
    ScopeKind.KEY, "*", Window.DAY, 1_000, "UTC", (HALF, Threshold(700, Action.DEGRADE), ALL)
)


@dataclass
class Books:
    """What the budget's scopes have spent."""

    spent: dict[str, int] = field(default_factory=dict)

    def accounts(self, _: ScopeKind, __: AnyWindow, ___: Any, ____: Unit) -> dict[str, Account]:
        return {name: Account(nano) for name, nano in self.spent.items()}


@dataclass
class Post:
    """A webhook's receiver that answers with each of `statuses` in turn, then 204."""

    statuses: list[int] = field(default_factory=list)
    got: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(await request.json())
        self.keys.append(request.headers["Idempotency-Key"])
        status = self.statuses.pop(0) if self.statuses else 204
        return web.Response(status=status, headers={"Location": self.url} if status == 302 else {})


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Post]:
    post = Post(list(statuses))
    application = web.Application()
    application.router.add_post("/hook", post.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    post.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield post
    await runner.cleanup()


@dataclass
class Clock:
    now_ms: int = NOON_MS

    def __call__(self) -> int:
        return self.now_ms


def watching(
    path: Path, books: Books, clock: Clock, url: str | None, budget: Budget = DAY, attempts: int = 5
) -> tuple[AlertWatch, SqliteAlerts]:
    store = SqliteAlerts(path / "keys.sqlite3")
    webhook = None if url is None else Webhook(Receiver(url, 5, attempts))
    book = BudgetBook([budget])
    ledger = LedgerWatch(new_ledger(), Tally())
    watch = AlertWatch(book, lambda: nullcontext(books.accounts), store, webhook, clock, ledger)  # type: ignore[arg-type, return-value]
    return watch, store


async def look_and_deliver(watch: AlertWatch) -> None:
    await watch.look()
    await watch.deliver()
    if watch._webhook is not None:
        await watch._webhook.close()


def test_each_crossing_is_told_once_in_a_window_and_across_restarts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        books, clock = Books({"a": 499, "b": 0}), Clock()
        async with receiving() as post:
            for spent in (499, 500, 700, 1_200, 1_200):
                books.spent["a"] = spent
                for _ in range(2):  # each time by a gateway that has just started
                    watch, store = watching(tmp_path, books, clock, post.url)
                    await look_and_deliver(watch)
                    await store.aclose()
            assert [got["threshold"] for got in post.got] == [0.5, 1.0]
            clock.now_ms += 86_400_000
            watch, store = watching(tmp_path, books, clock, post.url)
            await look_and_deliver(watch)
            await store.aclose()
            assert [got["threshold"] for got in post.got] == [0.5, 1.0, 0.5, 1.0]
            assert post.got[0] == {
                "type": "budget.threshold",
                "alert_id": 1,
                "budget": "key:*/day",
                "scope": "key:a",
                "threshold": 0.5,
                "limit_usd": "0.000001000",
                "spent_usd": "0.000000500",
                "window_start": "2026-11-01T00:00:00+00:00",
                "crossed_at": "2026-11-01T12:00:00.000+00:00",
            }
            assert post.keys == [f"weir-alert-{number}" for number in (1, 2, 3, 4)]

    with caplog.at_level(logging.WARNING, "weir.alerts"):
        run(story())
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4
    assert lines[0] == (
        "budget key:*/day: key:a has spent $0.000000500, which is 50 % or more of $0.000001000"
    )


def test_a_rolling_budget_alerts_again_after_it_has_been_below(tmp_path: Path) -> None:
    async def story() -> None:
        budget = Budget(ScopeKind.KEY, "*", RollingWindow(86_400), 1_000, "UTC", (HALF,))
        books, clock = Books(), Clock()
        async with receiving() as post:
            watch, store = watching(tmp_path, books, clock, post.url, budget)
            for spent in (600, 700, 400, 450, 600, 900):
                clock.now_ms += 2_000
                books.spent["a"] = spent
                await look_and_deliver(watch)
            await store.aclose()
            assert [got["spent_usd"] for got in post.got] == ["0.000000600", "0.000000600"]
            assert post.got[0]["window_start"] is None

    run(story())


def test_an_alert_that_is_not_taken_is_tried_again_with_pauses_and_then_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        books, clock = Books({"a": 600}), Clock()
        async with receiving(500, 302, 429, 500, 404) as post:
            watch, store = watching(tmp_path, books, clock, post.url)
            for tries in range(1, 6):
                await look_and_deliver(watch)
                assert len(post.got) == tries
                clock.now_ms += pause_ms(tries - 1) - 1
                await look_and_deliver(watch)
                assert len(post.got) == tries
                clock.now_ms += 1
            clock.now_ms += 10_000_000
            await look_and_deliver(watch)
            assert len(post.got) == 5
            assert {got["alert_id"] for got in post.got} == {1}
            assert post.url not in caplog.text
            await store.aclose()

    with caplog.at_level(logging.WARNING, "weir.alerts"):
        run(story())
    assert "given up: status 404" in caplog.records[-1].getMessage()


def test_an_alert_waits_for_a_receiver_that_is_down_and_survives_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        books, clock = Books({"a": 600}), Clock()
        watch, store = watching(tmp_path, books, clock, "http://127.0.0.1:9/hook")
        await look_and_deliver(watch)
        await store.aclose()
        clock.now_ms += pause_ms(0)
        async with receiving() as post:
            watch, store = watching(tmp_path, books, clock, post.url)
            await look_and_deliver(watch)
            assert [got["threshold"] for got in post.got] == [0.5]
            assert await store.take(clock.now_ms + 10**9, 10**15) is None
            await store.aclose()

    run(story())


def test_without_a_webhook_the_log_alone_tells(tmp_path: Path) -> None:
    async def story() -> None:
        watch, store = watching(tmp_path, Books({"a": 600}), Clock(), None)
        await look_and_deliver(watch)
        assert await store.told(DAY.name, "key:a", NOON_MS // 1_000 - 43_200) == {500}
        assert await store.take(10**15, 10**16) is None
        await store.aclose()

    run(story())


def test_only_the_shares_with_an_alert_are_told_of(tmp_path: Path) -> None:
    async def story() -> None:
        watch, store = watching(tmp_path, Books({"a": 800}), Clock(), None)
        await look_and_deliver(watch)
        assert await store.told(DAY.name, "key:a", NOON_MS // 1_000 - 43_200) == {500}
        await store.aclose()

    run(story())


@pytest.mark.parametrize("fault", [OSError("the disk is gone"), RegistryError("it is away")])
def test_the_watch_goes_on_after_a_look_that_failed(tmp_path: Path, fault: Exception) -> None:
    async def story() -> None:
        books, clock = Books({"a": 600}), Clock()
        watch, store = watching(tmp_path, books, clock, None)
        failed = asyncio.Event()

        def fail(*_: object) -> list[dict[str, Any]]:
            failed.set()
            raise fault

        watch._rows = fail  # type: ignore[method-assign]
        task = asyncio.create_task(watch.run())
        await failed.wait()
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.aclose()

    run(story())
