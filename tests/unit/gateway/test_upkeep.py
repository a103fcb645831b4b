"""What any process has beside its requests: work done again and again, and its providers."""

import asyncio
import logging
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from budgets.ledger import Hold, HoldState, LedgerError, Reservation
from budgets.stores.in_memory import InMemoryLedger
from gateway.composition import sweep
from gateway.ledger_watch import LedgerWatch
from gateway.ownership import Owners
from gateway.providers.borrowed_model import BorrowedModel
from gateway.providers.http1_client import Http1Client
from gateway.providers.http_client import parse_base_url
from gateway.registries.objects import ObjectKind
from gateway.registries.objects_in_sqlite import SqliteObjects
from gateway.registries.port import RegistryError
from gateway.roles import ServeRole
from gateway.tally import LedgerOutcome, Tally
from gateway.translated import bare
from gateway.upkeep import beside, keep_owners, keep_up, keepers, start_providers, timeouts_of
from tests.unit.gateway.desks import SHAPER, run
from tests.unit.gateway.gateways import CONFIG, settings_in

LOCAL = CONFIG.replace(
    "[models.tiny]", '[providers.local]\nkind = "local_model"\nmodel = "smollm2"\n[models.tiny]'
)


def test_a_hold_whose_lease_ran_out_is_ended_while_the_gateway_runs() -> None:
    async def wait() -> None:
        ledger, tally = InMemoryLedger(SHAPER), Tally()
        held = await ledger.reserve(Reservation("req_a", 5, (), 0, 1))
        assert isinstance(held, Hold)
        async with AsyncExitStack() as stack, asyncio.timeout(5):
            watch = LedgerWatch(ledger, tally)
            beside(stack, keep_up("holds", 0.01, watch, partial(sweep, ledger, tally)))
            while await ledger.oldest_hold_ms() is not None:
                await asyncio.sleep(0.01)
        assert tally.expired == {HoldState.EXPIRED_FREED: 1}

    run(wait())


def test_work_goes_on_after_failures_and_the_first_in_a_row_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults: list[Exception | None] = [LedgerError("away"), RegistryError("away"), None]
    faults += [OSError("full"), LedgerError("away"), None]
    done: list[str] = []
    tally = Tally()
    watch = LedgerWatch(InMemoryLedger(SHAPER), tally)

    async def first() -> None:
        fault = faults.pop(0) if faults else None
        if fault is not None:
            raise fault

    async def second() -> None:
        done.append("done")

    async def wait() -> None:
        async with AsyncExitStack() as stack, asyncio.timeout(5):
            beside(stack, keep_up("it is late", 0.001, watch, first, second))
            while faults or len(done) < 3:
                await asyncio.sleep(0.001)

    with caplog.at_level(logging.ERROR, "weir.app"):
        run(wait())
    assert [one.getMessage() for one in caplog.records] == ["it is late: away", "it is late: full"]
    assert tally.ledger_errors == {(LedgerOutcome.RETRIED, "failed"): 2}


def test_work_ends_with_its_stack_even_where_it_swallows_a_cancellation() -> None:
    async def swallow() -> None:
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError as error:
            raise RegistryError("the connection was closed") from error

    async def wait() -> None:
        async with AsyncExitStack() as stack:
            watch = LedgerWatch(InMemoryLedger(SHAPER), Tally())
            beside(stack, keep_up("it is late", 0.001, watch, swallow))
            await asyncio.sleep(0.05)

    run(wait())


@pytest.mark.parametrize(
    ("role", "started"),
    [
        (ServeRole.ALL, {"here": "ScriptedProvider", "local": "LocalModelProvider"}),
        (ServeRole.GATEWAY, {"here": "ScriptedProvider", "local": "LocalModelProvider"}),
        (ServeRole.COLLECTOR, {}),
        (ServeRole.PARENT, {"local": "LocalModelProvider"}),
        (ServeRole.WORKER, {"here": "ScriptedProvider", "local": "BorrowedModel"}),
    ],
)
def test_each_role_has_the_providers_it_needs(
    tmp_path: Path, role: ServeRole, started: dict[str, str]
) -> None:
    settings = settings_in(tmp_path, LOCAL)

    async def look() -> None:
        async with AsyncExitStack() as stack:
            lender = None
            if role is ServeRole.WORKER:
                lender = Http1Client(parse_base_url("http://127.0.0.1:9").origin)
            providers = await start_providers(settings, role.duties, lender, "k", stack)
            kinds = {name: type(bare(one)).__name__ for name, one in providers.items()}
            assert kinds == started
            assert all(one.name == name for name, one in providers.items())
            local = bare(providers.get("local"))
            assert isinstance(local, BorrowedModel) is (lender is not None)

    run(look())


def test_a_provider_has_the_gateways_own_limit_where_that_is_tighter(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    section = settings.providers["here"]
    tight = settings.server.model_copy(update={"request_timeout_s": 1.0})
    assert timeouts_of(section, tight).total_s == 1.0
    own = section.timeouts.to_port().total_s
    loose = settings.server.model_copy(update={"request_timeout_s": own + 1})
    assert timeouts_of(section, loose).total_s == own


def test_responses_that_could_not_be_written_are_written_and_old_ones_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.upkeep.SWEEP_S", 0.01)
    monkeypatch.setattr("gateway.upkeep.TRIM_S", 0.01)
    watch = LedgerWatch(InMemoryLedger(SHAPER), Tally())

    async def wait() -> None:
        store = SqliteObjects(tmp_path / "keys.sqlite3")
        now, old = Owners(store, ["main"]), Owners(store, ["main"], now_ms=lambda: 5)
        old.learn("lab", "resp_old", 70, "main")
        await old.save("resp_old")
        now.learn("lab", "resp_new", 70, "main")

        async def kept() -> list[str]:
            found = await store.listed(ObjectKind.RESPONSE, "lab", None, 10)
            return [one.object_id for one in found]

        assert await kept() == ["resp_old"]
        async with AsyncExitStack() as stack, asyncio.timeout(5):
            keep_owners(now, watch, stack, trims=True)
            while await kept() != ["resp_new"]:
                await asyncio.sleep(0.01)
        await store.aclose()

    run(wait())


def test_a_provider_keeps_responses_that_speaks_of_them_and_is_real(tmp_path: Path) -> None:
    openai = """
[providers.real]
kind = "openai_http"
base_url = "http://127.0.0.1:9/v1"
dialects = ["chat", "responses"]
[providers.plain]
kind = "openai_http"
base_url = "http://127.0.0.1:9/v1"
"""
    assert keepers(settings_in(tmp_path, CONFIG + openai).providers) == ["real"]
