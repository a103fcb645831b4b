"""The composer: what it opens it closes, and what a dead gateway left open it ends."""

import asyncio
from pathlib import Path

import pytest

from budgets.budget_book import BudgetBook
from budgets.ledger import Hold, LedgerError, Reservation
from budgets.scopes import Scopes
from budgets.stores.in_sqlite import SqliteLedger
from gateway.app import open_gateway
from gateway.clock import now_ms
from gateway.data_dir import DataDirError
from gateway.offline import offline_audit, offline_request
from tests.unit.gateway.desks import SHAPER, chat, run
from tests.unit.gateway.gateways import CONFIG, Opened, json_of, opened, settings_in
from tests.unit.gateway.test_records import begun

CHAT = "/v1/chat/completions"


def test_a_request_is_on_record_in_the_running_gateway_and_in_its_files(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)

    async def talk() -> str:
        async with opened(settings) as weir:
            client = await weir.ask("POST", CHAT, chat("#weir:say=hello"))
            assert client.status == 200
            request_id = (client.header(b"x-weir-request-id") or b"").decode()
            row = await weir.gateway.find_request(request_id)
            assert row is not None
            assert (row["basis"], row["model"]) == ("settled", "tiny")
            assert (await weir.gateway.audit())["clean"]
            [budget] = await weir.gateway.budgets.rows()
            assert (budget["scope"], budget["posted_nano"]) == ("team:demo", row["cost_nano"])
            assert await weir.gateway.find_request("req_none") is None
            return request_id

    request_id = run(talk())
    report = offline_audit(settings)
    assert (report.clean, report.entries, report.outbox_nano) == (True, 1, 0)
    row = offline_request(settings, request_id)
    assert row is not None
    assert row["request_id"] == request_id
    assert offline_request(settings, "req_none") is None


def test_the_data_is_owned_while_the_gateway_is_open_and_free_afterwards(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)

    async def twice() -> None:
        async with opened(settings):
            with pytest.raises(DataDirError):
                async with open_gateway(settings):
                    pass
            with pytest.raises(DataDirError):
                offline_audit(settings)
        async with opened(settings):
            pass

    run(twice())


def test_what_failed_to_open_leaves_nothing_open(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.data_dir.mkdir()
    broken = settings.data_dir / "ledger.sqlite3"
    broken.write_bytes(b"no database" * 1_000)

    async def fail_then_work() -> None:
        with pytest.raises(LedgerError):
            async with open_gateway(settings):
                pass
        broken.unlink()
        async with opened(settings) as weir:
            assert (await weir.ask("POST", CHAT, chat())).status == 200

    run(fail_then_work())


async def leave_holds(path: Path) -> None:
    """A ledger as a killed gateway leaves it: one hold that was sent, one that was not."""
    ledger = SqliteLedger(path, SHAPER)
    draft = begun().to_json()
    for name, sent in (("req_1", True), ("req_2", False)):
        scopes = Scopes("acme", "demo", "demo", "demo/demo", f"demo/{name}")
        charges = BudgetBook([]).charges(scopes, now_ms() // 1000)
        hold = await ledger.reserve(Reservation(name, 700, charges, now_ms(), 60_000))
        assert isinstance(hold, Hold)
        if sent:
            await ledger.dispatch(hold, draft)
    ledger.close()


def test_holds_of_a_dead_gateway_end_at_the_start(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.data_dir.mkdir()
    run(leave_holds(settings.data_dir / "ledger.sqlite3"))

    async def look() -> None:
        async with opened(settings) as weir:
            row = await weir.gateway.find_request("req_1")
            assert row is not None
            assert (row["basis"], row["cost_nano"]) == ("assumed", 700)
            assert await weir.gateway.find_request("req_2") is None
            report = await weir.gateway.audit()
            assert (report["clean"], report["ledger_nano"]) == (True, 700)

    run(look())


def test_routes_that_need_no_key_say_how_the_gateway_is(tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            for path in ("/", "/health", "/healthz"):
                assert (await weir.ask("GET", path, key="none")).status == 200
            ready = await weir.ask("GET", "/readyz", key="none")
            assert ready.status == 200
            found = json_of(ready)
            assert (found["ready"], found["providers"]) == (True, {"here": "ready"})
            assert (await weir.ask("GET", "/v1/models", key="none")).status == 401
            weir.gateway.collector.stop(5.0)
            assert (await weir.ask("GET", "/readyz", key="none")).status == 503

    run(look())


def test_a_provider_gets_no_more_time_than_a_request(tmp_path: Path) -> None:
    config = "[server]\nrequest_timeout_s = 1\nlease_s = 5\n" + CONFIG

    async def wait(weir: Opened) -> float:
        started = asyncio.get_running_loop().time()
        client = await weir.ask("POST", CHAT, chat("#weir:say=x,first_delay_ms=8000"))
        assert (client.status, client.error["code"]) == (504, "upstream_timeout")
        return asyncio.get_running_loop().time() - started

    async def look() -> float:
        async with opened(settings_in(tmp_path, config)) as weir:
            return await wait(weir)

    assert 0.9 < run(look()) < 4
