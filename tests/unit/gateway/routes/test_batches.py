"""`/v1/batches`: what is admitted under which budgets, and what is told of it."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from budgets.money import nano_from_usd
from gateway.routes.batches import BatchRoutes
from tests.unit.gateway.batches.made import CHAT, chat
from tests.unit.gateway.batches.rooms import WITHOUT_WATCHER, Room, form
from tests.unit.gateway.desks import Client, run
from tests.unit.gateway.gateways import opened, settings_in

BUDGET = '[[budgets]]\nscope = "{}"\nwindow = "total"\n{}\n'
WEIR_SAYS = b"x-weir-request-id"


def inside(folder: Path, story: Callable[[Room], Awaitable[None]], more: str = "") -> None:
    async def look() -> None:
        async with opened(settings_in(folder, WITHOUT_WATCHER + more)) as weir:
            await story(Room(weir))
            assert (await weir.gateway.audit())["clean"]

    run(look())


async def row_of(room: Room, answer: Client) -> dict[str, Any]:
    row = await room.weir.gateway.find_request((answer.header(WEIR_SAYS) or b"").decode())
    assert row is not None
    return row


async def held_nano(room: Room, account: str) -> int:
    found = await room.weir.gateway.books.ledger.survey([account])
    return found[account].held_nano if found else 0


def test_what_a_batch_may_cost_is_held_until_it_has_ended(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        created = await room.create(await room.upload(chat(1), chat(2)), "after_ms=50")
        batch = orjson.loads(created.text)
        reserved = nano_from_usd((created.header(b"x-weir-reserved-usd") or b"").decode())
        assert await held_nano(room, "org:default|total|0") == reserved > 0
        assert created.header(b"x-weir-cost-usd") is None
        answer = await room.ended(batch["id"])
        cost = (answer.header(b"x-weir-cost-usd") or b"").decode()
        assert 0 < nano_from_usd(cost) <= reserved
        assert await held_nano(room, "org:default|total|0") == 0
        row = await row_of(room, answer)
        assert (row["cost_nano"], row["batch_requests"]) == (nano_from_usd(cost), 2)
        listed = (await room.json("GET", "/v1/batches"))["data"]
        assert [(one["id"], one["status"]) for one in listed] == [(batch["id"], "completed")]

    inside(tmp_path, story)


@pytest.mark.parametrize(
    ("scope", "fields", "metadata"),
    [
        ("key:demo", "limit_usd = '0.000000001'", {}),
        ("workflow:demo/nightly", "limit_tokens = 1", {"weir_workflow": "nightly"}),
        ("run:demo/r1", "limit_requests = 1", {"weir_run": "r1"}),
        ("run:*", "limit_requests = 1", {}),
        ("user:demo/ann", "limit_usd = '0.000000001'", {"weir_user": "ann"}),
        ("tag:demo/feature=x", "limit_tokens = 1", {"weir_tags": "feature=x"}),
        ("model:tiny", "limit_usd = '0.000000001'", {}),
    ],
)
def test_every_budget_of_the_caller_can_refuse_a_batch(
    tmp_path: Path, scope: str, fields: str, metadata: dict[str, str]
) -> None:
    async def story(room: Room) -> None:
        file_id = await room.upload(chat(1), chat(2))
        refused = await room.create(file_id, metadata=metadata)
        assert (refused.status, refused.error["code"]) == (402, "budget_exceeded")
        assert refused.header(b"x-should-retry") == b"false"
        assert list(room.provider.bill) == []
        assert (await room.json("GET", "/v1/batches"))["data"] == []

    inside(tmp_path, story, BUDGET.format(scope, fields))


def test_a_run_that_was_killed_begins_no_batch(tmp_path: Path) -> None:
    kills = 'limit_usd = "0.001"\nat = [{ share = 0.001, action = "kill_run" }]'

    async def story(room: Room) -> None:
        file_id = await room.upload(chat())
        run_is = {"weir_run": "r1"}
        body = orjson.dumps({**chat()["body"], "max_tokens": 60, "metadata": run_is})
        for _ in range(3):
            await room.ask("POST", CHAT, body)
        refused = await room.create(file_id, metadata=run_is)
        assert (refused.status, refused.error["code"]) == (402, "run_killed")

    inside(tmp_path, story, BUDGET.format("run:*", kills))


@pytest.mark.parametrize(
    ("changes", "param", "status"),
    [
        ({"input_file_id": None}, "input_file_id", 400),
        ({"input_file_id": "file-x"}, "id", 404),
        ({"input_file_id": "x" * 300}, "id", 404),
        ({"endpoint": "/v1/responses"}, "endpoint", 400),
        ({"completion_window": None}, "completion_window", 400),
        ({"completion_window": "15d"}, "completion_window", 400),
        ({"metadata": {"weir_workflow": "no\nname"}}, "metadata.weir_workflow", 400),
    ],
)
def test_a_batch_that_cannot_be_is_refused_by_its_field(
    tmp_path: Path, changes: dict[str, Any], param: str, status: int
) -> None:
    async def story(room: Room) -> None:
        file_id = await room.upload(chat())
        refused = await room.create(file_id, **changes)
        assert (refused.status, refused.error["param"]) == (status, param)
        assert (await room.weir.gateway.audit())["entries"] == 0

    inside(tmp_path, story)


def test_only_a_file_for_batches_begins_one(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        answer = await room.ask("POST", "/v1/files", form(b"text", purpose="user_data"))
        refused = await room.create(orjson.loads(answer.text)["id"])
        assert (refused.status, refused.error["param"]) == (400, "input_file_id")

    inside(tmp_path, story)


def test_a_batch_is_held_and_paid_at_the_price_of_batches(tmp_path: Path) -> None:
    card = WITHOUT_WATCHER.replace(
        'price = { input = "1", output = "2" }', 'price_from = "gpt-4o-mini"'
    )

    async def look() -> None:
        async with opened(settings_in(tmp_path, card)) as weir:
            room = Room(weir)
            live = await room.ask("POST", CHAT, orjson.dumps(chat()["body"]))
            created = await room.create(await room.upload(chat()))
            answer = await room.ended(orjson.loads(created.text)["id"])
            rows = [await row_of(room, live), await row_of(room, answer)]
            assert [row["output_tokens"] for row in rows] == [1, 1]
            # 0.15 and 0.60 dollars for a million tokens, and half of it.
            assert [row["cost_nano"] for row in rows] == [750, 375]
            assert rows[1]["reserved_nano"] < rows[0]["reserved_nano"]

    run(look())


def test_cancelling_is_for_the_owner_and_settles_what_was_done(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        created = await room.create(await room.upload(chat(1), chat(2)), "done=1,end=never")
        batch_id = orjson.loads(created.text)["id"]
        stranger = await room.stranger()
        refused = await stranger.ask("POST", f"/v1/batches/{batch_id}/cancel")
        assert (refused.status, refused.error["code"]) == (404, "object_not_found")
        assert (await room.ask("POST", f"/v1/batches/{batch_id}/cancel")).status == 200
        row = await row_of(room, await room.ended(batch_id))
        assert (row["error_code"], row["batch_failed"] > 0) == ("batch_cancelled", True)

    inside(tmp_path, story)


def test_a_process_that_answers_nothing_has_no_batches() -> None:
    async def look() -> None:
        client = Client(b"")
        scope = {"method": "GET", "path": "/v1/batches", "headers": client.headers}
        await BatchRoutes(None, None).list(scope, client.receive, client.send)
        assert (client.status, client.error["code"]) == (404, "answered_elsewhere")

    run(look())
