"""A batch that was seen: settled once, whoever saw it, and given up only when nobody will tell."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from budgets.money import nano_from_usd
from gateway.batch_work import open_batches
from gateway.batches.kept import BatchRecord
from gateway.batches.kit import MAX_ANSWER_BYTES, Kit, object_in, passed, path_of, read_limited
from gateway.batches.settling import Settler
from gateway.batches.watcher import Watcher
from gateway.config_batches import BatchesSection
from gateway.providers.port import UpstreamError
from gateway.providers.whole_reply import WholeReply
from gateway.registries.objects import ObjectKind, OwnedObject
from tests.unit.gateway.batches.made import chat
from tests.unit.gateway.batches.rooms import Room, inside
from tests.unit.gateway.desks import run


def kit_of(room: Room, **changes: Any) -> Kit:
    """What the gateway's own routes use, with other settings."""
    kit = room.weir.gateway.kept.batches.kit
    return replace(kit, section=kit.section.model_copy(update=changes))


async def begun(room: Room, script: str) -> OwnedObject:
    created = await room.create(await room.upload(chat(1), chat(2)), script)
    return await known(room, orjson.loads(created.text)["id"])


async def known(room: Room, batch_id: str) -> OwnedObject:
    found = await room.weir.gateway.books.stores.objects.find(ObjectKind.BATCH, batch_id)
    assert found is not None
    return found


def test_a_batch_that_is_seen_by_many_costs_once(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        one = await begun(room, "after_ms=1")
        body = (await room.ended(one.object_id)).text
        settlers = [Settler(kit_of(room)) for _ in range(3)]
        for settler in settlers:
            seen = await settler.saw(one, body)  # as an earlier look found it: open
            assert BatchRecord.from_text(seen.record).cost_nano is not None
            await settler.drain()
        report = await room.weir.gateway.audit()
        assert (report["entries"], report["clean"]) == (1, True)
        assert not (await known(room, one.object_id)).is_open

    inside(tmp_path, story)


def test_the_watcher_settles_what_has_ended_and_leaves_what_was_looked_at(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        one = await begun(room, "end=failed")
        lately = Watcher(kit_of(room), Settler(kit_of(room)))
        await lately.look()  # this process has just looked
        assert (await known(room, one.object_id)).is_open
        kit = kit_of(room, poll_s=0.0)
        while (await known(room, one.object_id)).is_open:
            await Watcher(kit, Settler(kit)).look()
        assert BatchRecord.from_text((await known(room, one.object_id)).record).cost_nano == 0

    inside(tmp_path, story)


def test_a_batch_of_which_nobody_tells_is_charged_as_held_in_the_end(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        one = await begun(room, "end=never")
        record = BatchRecord.from_text(one.record)
        lost = replace(one, object_id="batch_lost", record=one.record)
        await room.weir.gateway.books.stores.objects.claim(lost)
        await room.weir.gateway.books.stores.objects.forget(
            ObjectKind.BATCH, one.object_id, one.owner
        )
        kit = kit_of(room, poll_s=0.0)
        await Watcher(kit, Settler(kit)).look()
        assert (await known(room, "batch_lost")).is_open
        assert BatchRecord.from_text((await known(room, "batch_lost")).record).looked_ms > 0
        long_ago = kit_of(room, poll_s=0.0, give_up_s=-record.hold.lease_until_ms)
        await Watcher(long_ago, Settler(long_ago)).look()
        found = await known(room, "batch_lost")
        assert not found.is_open
        assert BatchRecord.from_text(found.record).cost_nano == record.hold.amount_nano
        row = await room.weir.gateway.find_request(record.hold.hold_id)
        assert row is not None
        assert (row["usage_source"], row["error_code"]) == ("assumed", "batch_unknown")

    inside(tmp_path, story)


def test_an_output_that_cannot_be_read_now_is_read_later(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        one = await begun(room, "after_ms=1")
        wire = kit_of(room)

        class Silent(Kit):
            async def ask(
                self, provider: str, method: bytes, path: str, *more: Any, **k: Any
            ) -> Any:
                if path.endswith("/content"):
                    return WholeReply(503, [], b"")
                return await wire.ask(provider, method, path, *more, **k)

        silent = Silent(wire.desk, wire.objects, wire.section, wire.offers, wire.places)
        room.weir.gateway.kept.batches._settler = Settler(silent)  # type: ignore[attr-defined]
        answer = await room.ended(one.object_id)
        assert answer.header(b"x-weir-cost-usd") is None
        assert (await known(room, one.object_id)).is_open
        room.weir.gateway.kept.batches._settler = Settler(wire)  # type: ignore[attr-defined]
        answer = await room.ask("GET", f"/v1/batches/{one.object_id}")
        assert nano_from_usd((answer.header(b"x-weir-cost-usd") or b"").decode()) > 0

    inside(tmp_path, story)


def test_an_id_is_one_part_of_a_path_whatever_it_holds() -> None:
    assert path_of("files", "a/../b?c", "content") == "/files/a%2F..%2Fb%3Fc/content"
    assert passed([(b"authorization", b"x"), (b"user-agent", b"y")]) == [(b"user-agent", b"y")]
    assert (object_in(b"[]"), object_in(b"{"), object_in(b"{}")) == (None, None, {})


def test_a_short_answer_is_read_whole_and_a_long_one_is_none() -> None:
    assert run(read_limited(WholeReply(200, [], b"{}"))) == b"{}"
    with pytest.raises(UpstreamError):
        run(read_limited(WholeReply(200, [], b"x" * (MAX_ANSWER_BYTES + 1))))


def test_the_defaults_are_what_the_manual_says() -> None:
    section = BatchesSection()
    assert (section.max_file_bytes, section.uploads, section.poll_s) == (52_428_800, 2, 60.0)
    assert callable(open_batches)


def test_a_provider_that_is_away_is_not_asked_for_every_batch(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        many = [await begun(room, "end=never") for _ in range(3)]
        await room.provider.stop()
        kit = kit_of(room, poll_s=0.0)
        asked: list[str] = []

        class Counted(Kit):
            async def ask(
                self, provider: str, method: bytes, path: str, *more: Any, **k: Any
            ) -> Any:
                asked.append(path)
                return await kit.ask(provider, method, path, *more, **k)

        counted = Counted(kit.desk, kit.objects, kit.section, kit.offers, kit.places)
        await Watcher(counted, Settler(counted)).look()
        assert len(asked) == 1
        assert [(await known(room, one.object_id)).is_open for one in many] == [True] * 3

    inside(tmp_path, story)
