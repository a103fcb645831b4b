"""Pages of what a team has, over more objects than one look at the registry brings."""

from pathlib import Path

import orjson

from gateway.batches.lists import PAGE, PageWish, page_of, read_wish
from gateway.registries.objects import ObjectKind, OwnedObject
from gateway.registries.objects_in_sqlite import SqliteObjects
from tests.unit.gateway.desks import run

MANY = PAGE + 20


def told(one: OwnedObject) -> tuple[str, bytes]:
    return one.record, orjson.dumps({"id": one.object_id})


def test_the_rare_ones_are_found_behind_many_others(tmp_path: Path) -> None:
    async def story() -> None:
        store = SqliteObjects(tmp_path / "keys.sqlite3")
        for number in range(MANY):
            record = "rare" if number in (1, 3) else "usual"
            await store.claim(
                OwnedObject(ObjectKind.FILE, f"file-{number}", "lab", "up", number, record)
            )
        wish = PageWish(1, purpose="rare")
        page = orjson.loads(await page_of(store, ObjectKind.FILE, "lab", wish, told))
        assert page == {
            "object": "list",
            "data": [{"id": "file-3"}],
            "first_id": "file-3",
            "last_id": "file-3",
            "has_more": True,
        }
        last = PageWish(9, after="file-3", purpose="rare")
        page = orjson.loads(await page_of(store, ObjectKind.FILE, "lab", last, told))
        assert ([one["id"] for one in page["data"]], page["has_more"]) == (["file-1"], False)
        nobody = orjson.loads(await page_of(store, ObjectKind.FILE, "other", PageWish(9), told))
        assert (nobody["data"], nobody["first_id"], nobody["has_more"]) == ([], None, False)
        await store.aclose()

    run(story())


def test_a_wish_is_read_from_the_query() -> None:
    assert read_wish(b"", 20, 100) == PageWish(20)
    found = read_wish(b"limit=7&after=file-1&order=asc&purpose=batch", 20, 100)
    assert found == PageWish(7, "file-1", True, "batch")
