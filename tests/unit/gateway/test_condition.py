"""`gateway.condition`: what anybody may know, what administrators see, and when it is not ready."""

from pathlib import Path

import orjson
import pytest

from budgets.ledger import LedgerError
from gateway.ledger_watch import LedgerState
from gateway.registries.port import RegistryError
from gateway.tally import LedgerOutcome
from routing.health import DEFAULT_LIMITS
from tests.unit.gateway.desks import chat, run
from tests.unit.gateway.gateways import Opened, json_of, opened, settings_in

CHAT = "/v1/chat/completions"


async def ready(weir: Opened) -> tuple[int, dict[str, object]]:
    client = await weir.ask("GET", "/readyz", key="none")
    return client.status, json_of(client)


def test_a_gateway_that_works_is_ready_and_says_so_in_a_small_body(tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            status, told = await ready(weir)
            assert (status, told["ready"]) == (200, True)
            assert told["ledger"] == {
                "store": "sqlite",
                "state": "ok",
                "pending_endings": 0,
                "rejected_endings": 0,
            }
            assert told["providers"] == {"here": "ready"}
            assert len(orjson.dumps(told)) < 400

    run(look())


def test_a_ledger_that_failed_is_told_without_its_message_until_it_works(tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            error = LedgerError("/home/me/ledger.sqlite3: the disk is full")
            weir.gateway.watch.failed(LedgerOutcome.DENIED, error)
            status, told = await ready(weir)
            assert (status, told["ready"]) == (503, False)
            assert b"/home/me" not in orjson.dumps(told)
            [state, remedy] = [dict(told["ledger"])[key] for key in ("state", "remedy")]  # type: ignore[call-overload]
            assert (state, remedy) == ("failed", "the log of the gateway tells what happened")
            admin = json_of(await weir.admin("status"))
            assert admin["ready"] is False
            assert "/home/me" in admin["ledger"]["last_error"]  # type: ignore[index]
            assert (await weir.ask("POST", CHAT, chat())).status == 200
            assert (await ready(weir))[0] == 200

    run(look())


def test_a_provider_whose_models_all_rest_says_so(tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            card = weir.gateway.settings.catalog.models["tiny"]
            for _ in range(DEFAULT_LIMITS.failures_at_once):
                weir.gateway.health.failed(card, "connect")
            assert (await ready(weir))[1]["providers"] == {"here": "resting"}
            reading = await weir.gateway.condition.read(lambda: 0)
            assert reading.breakers == {("here", "tiny", "tiny"): "open"}
            assert list(weir.gateway.health.health.breakers) == ["here/tiny/tiny"]

    run(look())


def test_books_that_cannot_be_read_leave_out_what_they_would_have_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look() -> None:
        async with opened(settings_in(tmp_path)) as weir:
            condition = weir.gateway.condition
            assert (await condition.read(lambda: 3)).open_holds == 0
            (weir.gateway.data.ledger).rename(tmp_path / "elsewhere")
            reading = await condition.read(lambda: 3)
            assert (reading.open_holds, reading.standings) == (None, None)
            assert (reading.state, reading.in_flight) == (LedgerState.OK, 3)
            assert weir.gateway.tally.ledger_errors == {(LedgerOutcome.RETRIED, "failed"): 1}
            (tmp_path / "elsewhere").rename(weir.gateway.data.ledger)

            async def broken(_: object) -> dict[str, int]:
                raise RegistryError("locked")

            monkeypatch.setattr(type(condition.alerts), "counts", broken)
            assert (await condition.read(lambda: 3)).alerts is None

    run(look())
