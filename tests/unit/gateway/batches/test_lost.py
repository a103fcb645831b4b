"""Batches of which nobody knows: found in the provider's list, or known not to be there."""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from budgets.ledger import Hold, Reservation, dispatched
from budgets.scopes import Charge, Unit, Window
from gateway.batches.kept import BatchRecord
from gateway.batches.lost import NOBODY, SURE_S, is_lost, look_for, lost_batch
from gateway.batches.settling import Settler
from gateway.registries.objects import ObjectKind, OwnedObject
from tests.unit.gateway.batches.made import chat
from tests.unit.gateway.batches.rooms import Room, inside

ORG = Charge("org:default|total|0", "org:default", Window.TOTAL, None, None)


async def lost(room: Room, script: str) -> OwnedObject:
    """A batch whose creation ended in doubt."""
    created = await room.create(await room.upload(chat(1), chat(2)), script)
    assert (created.status, created.error["code"]) == (502, "batch_uncertain")
    [one] = await room.weir.gateway.books.stores.objects.open_ones(ObjectKind.BATCH, 9)
    assert is_lost(one)
    return one


def long_ago(one: OwnedObject, seconds: int) -> OwnedObject:
    record = BatchRecord.from_text(one.record)
    hold = replace(record.hold, admitted_ms=record.hold.admitted_ms - seconds * 1_000)
    return replace(one, record=replace(record, hold=hold).to_text())


async def left(room: Room) -> list[str]:
    found = await room.weir.gateway.books.stores.objects.open_ones(ObjectKind.BATCH, 9)
    return [one.object_id for one in found]


def test_one_that_is_there_becomes_its_teams(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        one = await lost(room, "accept=silent,end=never")
        assert (await room.json("GET", "/v1/batches"))["data"] == []
        kit = room.weir.gateway.kept.batches.kit
        assert await look_for(kit, Settler(kit), one) == ""
        [batch] = (await room.json("GET", "/v1/batches"))["data"]
        assert await left(room) == [batch["id"]]
        stranger = await room.stranger()
        assert (await stranger.ask("GET", f"/v1/batches/{batch['id']}")).status == 404
        assert (await room.ask("POST", f"/v1/batches/{batch['id']}/cancel")).status == 200
        await room.ended(batch["id"])

    inside(tmp_path, story)


def test_one_that_is_not_there_costs_nothing_once_that_is_sure(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        one = await lost(room, "status=500")
        kit = room.weir.gateway.kept.batches.kit
        settler = Settler(kit)
        assert await look_for(kit, settler, one) == "not in the provider's list so far"
        assert await left(room) == [one.object_id]
        assert await look_for(kit, settler, long_ago(one, SURE_S + 1)) == ""
        assert await left(room) == []
        row = await room.weir.gateway.find_request(one.object_id.removeprefix("lost:"))
        assert row is not None
        assert (row["cost_nano"], row["batch_failed"]) == (0, 2)

    inside(tmp_path, story)


def test_a_batch_that_somebody_has_is_not_the_lost_one(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        one = await lost(room, "status=500")
        file_id = BatchRecord.from_text(one.record).batch["input_file_id"]
        created = await room.create(str(file_id), "end=failed")
        await room.ended(orjson.loads(created.text)["id"])
        kit = room.weir.gateway.kept.batches.kit
        assert await look_for(kit, Settler(kit), one) == "not in the provider's list so far"

    inside(tmp_path, story)


def test_one_that_is_being_sent_is_left_alone_until_nobody_can_wait_for_it(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        one = await lost(room, "accept=silent,end=failed")
        sending = lost_batch(
            BatchRecord.from_text(one.record),
            "here",
            BatchRecord.from_text(one.record).batch["input_file_id"],
        )
        store, kit = room.weir.gateway.books.stores.objects, room.weir.gateway.kept.batches.kit
        assert await look_for(kit, Settler(kit), sending) == ""
        assert await left(room) == [one.object_id]
        later = replace(sending, created_ms=sending.created_ms - 3_600_000)
        assert await look_for(kit, Settler(kit), later) == ""
        assert one.object_id not in await left(room)
        [batch] = (await room.json("GET", "/v1/batches"))["data"]
        # A process that died before it forgot it leaves it: it is the same batch, not another.
        await store.claim(later)
        assert await look_for(kit, Settler(kit), long_ago(later, SURE_S + 1)) == ""
        assert one.object_id not in await left(room)
        answer = await room.ended(batch["id"])
        assert answer.header(b"x-weir-cost-usd") is not None

    inside(tmp_path, story)


def test_what_was_held_and_never_sent_is_given_back(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        one = await lost(room, "status=500")
        ledger = room.weir.gateway.books.ledger
        wish = Reservation("req_held", 5, (ORG,), 1, 60_000)
        held = await ledger.reserve(wish)
        assert isinstance(held, Hold)
        record = BatchRecord.from_text(one.record)
        record = replace(record, hold=dispatched(held), units=(Unit.USD,))
        other = replace(
            one, object_id="lost:req_held", record=record.to_text(), created_ms=one.created_ms
        )
        kit = room.weir.gateway.kept.batches.kit
        before = (await ledger.survey([ORG.account]))[ORG.account].held_nano
        assert await look_for(kit, Settler(kit), other) == ""
        after = (await ledger.survey([ORG.account]))[ORG.account].held_nano
        assert (before - after, await left(room)) == (5, [one.object_id])

    inside(tmp_path, story)


@pytest.mark.parametrize("team", ["demo", "others"])
def test_no_team_can_have_the_name_under_which_they_are_kept(tmp_path: Path, team: str) -> None:
    async def story(room: Room) -> None:
        one = await lost(room, "status=500")
        again = lost_batch(BatchRecord.from_text(one.record), "here", "file-1")
        assert (again.object_id, again.owner) == (one.object_id, NOBODY)
        found = await room.weir.gateway.books.stores.objects.listed(ObjectKind.BATCH, team, None, 9)
        assert list(found) == []
        shown = await room.ask("GET", f"/v1/batches/{one.object_id}")
        assert shown.status == 404

    inside(tmp_path, story)
