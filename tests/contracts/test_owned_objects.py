"""The suite of every store of owned objects, shared by several gateways."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.registries.objects import ObjectKind, ObjectStore, OwnedObject
from tests.contracts.registry_backends import STORES, parties, told

pytestmark = [pytest.mark.redis, pytest.mark.parametrize("name", STORES)]

FILE, BATCH, RESPONSE = ObjectKind.FILE, ObjectKind.BATCH, ObjectKind.RESPONSE
RECORD = '{"input_file_id":"file-1",\n"über":"本 \\u0000"}'
ONE = OwnedObject(FILE, "file-1", "lab", "openai", 1_759_000_000_123, RECORD)


def an_object(number: int, created_ms: int = 5, **terms: object) -> OwnedObject:
    made = replace(ONE, object_id=f"file-{number:04}", created_ms=created_ms, record="")
    return replace(made, **terms)  # type: ignore[arg-type]


async def keep(store: ObjectStore, *objects: OwnedObject) -> None:
    for one in objects:
        assert await store.claim(one) == one


def test_an_object_is_known_to_all_at_once_as_it_was_claimed(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as (first, second):
            assert await first.objects.claim(ONE) == ONE
            assert await second.objects.find(FILE, "file-1") == ONE
            assert await second.objects.find(BATCH, "file-1") is None
            assert await second.objects.find(FILE, "file-2") is None
            plain = OwnedObject(BATCH, "b" * 256, "Ben · 本 a/b", "", 0, "", is_open=True)
            assert await second.objects.claim(plain) == plain
            assert await first.objects.find(BATCH, "b" * 256) == plain

    told(story)


def test_of_claims_at_once_one_owner_stands(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 3) as three:
            for number in range(10):
                claims = [
                    party.objects.claim(an_object(number, owner=f"team {place}"))
                    for place, party in enumerate(three * 3)
                ]
                stands = set(await asyncio.gather(*claims))
                assert len(stands) == 1
                assert await three[0].objects.find(FILE, f"file-{number:04}") in stands

    told(story)


def test_a_second_claim_changes_nothing(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as (first, second):
            await keep(first.objects, ONE)
            for other in (
                replace(ONE, owner="thieves", record="theirs", is_open=True),
                replace(ONE, provider="other", created_ms=9, record="", is_open=True),
            ):
                assert await second.objects.claim(other) == ONE
            assert await first.objects.find(FILE, "file-1") == ONE
            assert await first.objects.open_ones(FILE, 10) == []
            assert await first.objects.listed(FILE, "thieves", None, 10) == []

    told(story)


def test_an_owner_changes_what_is_remembered_and_nobody_else_does(
    name: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as (first, second):
            await keep(first.objects, ONE)
            assert not await second.objects.update(replace(ONE, owner="thieves", record="no"))
            assert not await second.objects.update(replace(ONE, object_id="file-2"))
            assert not await second.objects.update(replace(ONE, kind=BATCH))
            assert await first.objects.find(FILE, "file-1") == ONE
            new = replace(ONE, record="new\nline", is_open=True)
            assert await second.objects.update(replace(new, provider="other", created_ms=1))
            assert await first.objects.find(FILE, "file-1") == new
            assert await first.objects.open_ones(FILE, 10) == [new]
            assert await first.objects.update(replace(new, is_open=False))
            assert await second.objects.open_ones(FILE, 10) == []

    told(story)


def test_an_owner_forgets_and_nobody_else_does(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as (first, second):
            opened = replace(ONE, is_open=True)
            await keep(first.objects, opened)
            assert not await second.objects.forget(FILE, "file-1", "thieves")
            assert not await second.objects.forget(BATCH, "file-1", "lab")
            assert await second.objects.forget(FILE, "file-1", "lab")
            assert not await first.objects.forget(FILE, "file-1", "lab")
            assert await first.objects.find(FILE, "file-1") is None
            assert await first.objects.open_ones(FILE, 10) == []
            assert await first.objects.listed(FILE, "lab", None, 10) == []
            again = replace(ONE, owner="ops")
            assert await second.objects.claim(again) == again

    told(story)


def test_a_list_is_of_one_owner_and_kind_the_newest_first(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path) as [party]:
            old, new = an_object(9, 1_000), an_object(1, 20_000)
            others = (an_object(3, owner="ops"), an_object(4, kind=BATCH))
            await keep(party.objects, new, *others, old)
            assert await party.objects.listed(FILE, "lab", None, 10) == [new, old]
            assert await party.objects.listed(FILE, "lab", None, 1) == [new]
            assert await party.objects.listed(FILE, "lab", None, 0) == []
            assert await party.objects.listed(FILE, "nobody", None, 10) == []

    told(story)


def test_pages_hold_each_object_once_though_all_are_of_one_millisecond(
    name: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with parties(name, tmp_path) as [party]:
            made = [an_object(number, 7 + number // 9) for number in range(20)]
            await keep(party.objects, *made[::2], *made[1::2])
            pages, after = [], None
            while page := await party.objects.listed(FILE, "lab", after, 3):
                pages += page
                after = page[-1].object_id
            assert pages == made[::-1]

    told(story)


def test_a_page_after_what_is_not_the_owners_is_empty(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path) as [party]:
            await keep(party.objects, ONE, an_object(2), an_object(3, 10**13, owner="ops"))
            for after in ("file-0003", "file-none", ""):
                assert await party.objects.listed(FILE, "lab", after, 10) == []

    told(story)


def test_what_is_open_is_told_of_every_owner_the_oldest_first(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as (first, second):
            late = an_object(1, 900, is_open=True)
            early = an_object(9, 10, is_open=True, owner="ops")
            tied = an_object(8, 10, is_open=True)
            await keep(first.objects, late, early, tied, an_object(5, 1), an_object(6, kind=BATCH))
            assert await second.objects.open_ones(FILE, 10) == [tied, early, late]
            assert await second.objects.open_ones(FILE, 2) == [tied, early]
            assert await second.objects.open_ones(FILE, 0) == []
            assert await second.objects.open_ones(BATCH, 10) == []

    told(story)


def test_what_is_old_is_forgotten_but_not_what_is_open(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as (first, second):
            opened = [an_object(number, 1, is_open=True, kind=RESPONSE) for number in range(1, 502)]
            old = [an_object(number, 2, kind=RESPONSE) for number in range(600, 1_200)]
            theirs = an_object(1_300, 3, owner="ops", kind=RESPONSE)
            kept = [an_object(1_400, 100, kind=RESPONSE), an_object(1_401, 1, kind=BATCH)]
            await keep(first.objects, *opened, *old, theirs, *kept)
            assert await second.objects.trim(RESPONSE, 100) == len(old) + 1
            assert await second.objects.trim(RESPONSE, 100) == 0
            assert await first.objects.listed(RESPONSE, "ops", None, 10) == []
            assert await first.objects.find(RESPONSE, theirs.object_id) is None
            left = await first.objects.listed(RESPONSE, "lab", None, 2_000)
            assert left == [kept[0], *opened[::-1]]
            assert await first.objects.find(BATCH, kept[1].object_id) == kept[1]
            assert await first.objects.claim(theirs) == theirs
            assert await first.objects.trim(RESPONSE, 100) == 1

    told(story)


def test_objects_outlive_their_gateway(name: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with parties(name, tmp_path, 2) as (first, second):
            await keep(first.objects, ONE, an_object(2, kind=RESPONSE))
            await first.objects.aclose()
            assert await second.objects.find(FILE, "file-1") == ONE
            assert await second.objects.find(RESPONSE, "file-0002") is not None

    told(story)
