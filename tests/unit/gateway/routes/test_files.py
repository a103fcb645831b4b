"""`/v1/files`: what is taken, what is refused before anything is uploaded, and whose it is."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.batches.uploads import BATCH_PURPOSE
from gateway.providers.port import Timeouts, UpstreamCall
from gateway.registries.objects import ObjectKind
from gateway.routes.files import FileRoutes
from tests.unit.gateway.batches.made import chat, jsonl
from tests.unit.gateway.batches.rooms import WITHOUT_WATCHER, Room, form
from tests.unit.gateway.desks import Client, run
from tests.unit.gateway.gateways import opened, settings_in

TWO = WITHOUT_WATCHER.replace(
    "[models.tiny]", '[providers.there]\nkind = "scripted"\n[models.tiny]'
)
SMALL = WITHOUT_WATCHER + "max_file_bytes = 1024\nuploads = 1\n"


def inside(folder: Path, story: Callable[[Room], Awaitable[None]], config: str = "") -> None:
    async def look() -> None:
        async with opened(settings_in(folder, config or WITHOUT_WATCHER)) as weir:
            await story(Room(weir))

    run(look())


async def kept(room: Room) -> list[Any]:
    """What the provider itself has."""
    reply = await room.provider.open(UpstreamCall("/files", b"", (), Timeouts(), b"GET"))
    found = orjson.loads(await reply.read())["data"]
    assert isinstance(found, list)
    return found


def test_a_file_is_kept_shown_listed_read_and_deleted(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        raw = jsonl(chat())
        file_id = await room.upload(chat())
        shown = await room.json("GET", f"/v1/files/{file_id}")
        assert (shown["id"], shown["purpose"], shown["bytes"]) == (file_id, "batch", len(raw))
        content = await room.ask("GET", f"/v1/files/{file_id}/content")
        assert (content.text, content.ended) == (raw, True)
        assert (await room.json("GET", "/v1/files"))["data"] == [shown]
        assert (await room.json("DELETE", f"/v1/files/{file_id}"))["deleted"] is True
        gone = await room.ask("GET", f"/v1/files/{file_id}")
        assert (gone.status, gone.error["code"]) == (404, "object_not_found")
        assert (await room.json("GET", "/v1/files"))["data"] == []
        assert (await room.weir.gateway.audit())["entries"] == 0

    inside(tmp_path, story)


def test_the_model_is_called_by_the_providers_name_in_what_is_uploaded(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        file_id = await room.upload(chat(1), chat(2))
        content = await room.ask("GET", f"/v1/files/{file_id}/content")
        assert content.text == jsonl(chat(1, model="up-tiny"), chat(2, model="up-tiny"))

    renamed = WITHOUT_WATCHER.replace(
        'provider = "here"', 'provider = "here"\nupstream_model = "up-tiny"'
    )
    inside(tmp_path, story, renamed)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"no form", "body", "cannot be read"),
        (form(jsonl(chat()), purpose=None), "purpose", "`purpose` is missing"),
        (form(jsonl(chat()), field="data"), "file", "one file, in the field `file`"),
        (form(b""), "file", "no line"),
        (form(jsonl(chat(1), chat(1))), "custom_id", "Line 2"),
        (form(jsonl(chat(model="auto"))), "body.model", "Line 1: 'auto' leaves the choice"),
        (form(jsonl(chat(model="tier:small"))), "body.model", "Line 1: 'tier:small' leaves"),
        (form(jsonl(chat(model="big"))), "body.model", "no model is called 'big'"),
        (form(jsonl(chat(1), chat(2, stream=True))), "body.stream", "Line 2"),
    ],
)
def test_what_cannot_be_a_batch_is_told_and_not_uploaded(
    tmp_path: Path, body: bytes, param: str, words: str
) -> None:
    async def story(room: Room) -> None:
        answer = await room.ask("POST", "/v1/files", body)
        assert (answer.status, answer.error["param"]) == (400, param)
        assert words in answer.error["message"]
        assert await kept(room) == []

    inside(tmp_path, story)


def test_which_provider_keeps_a_file_is_clear_or_asked_for(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        body = form(b"anything", purpose="user_data")
        unclear = await room.ask("POST", "/v1/files", body)
        assert (unclear.status, unclear.error["param"]) == (400, "x-weir-provider")
        assert "here, there" in unclear.error["message"]
        told = await room.ask("POST", "/v1/files", body, [(b"x-weir-provider", b"there")])
        assert told.status == 200
        unknown = await room.ask("POST", "/v1/files", body, [(b"x-weir-provider", b"nobody")])
        assert unknown.status == 400
        elsewhere = await room.ask(
            "POST", "/v1/files", form(jsonl(chat())), [(b"x-weir-provider", b"there")]
        )
        assert (elsewhere.status, elsewhere.error["param"]) == (400, "body.model")
        assert BATCH_PURPOSE == "batch"
        found = await room.weir.gateway.books.stores.objects.listed(
            ObjectKind.FILE, "demo", None, 9
        )
        assert [one.provider for one in found] == ["there"]

    inside(tmp_path, story, TWO)


def test_an_upload_above_the_limit_is_refused(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        answer = await room.ask("POST", "/v1/files", form(b"x" * 1_100, purpose="user_data"))
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
        assert "batches.max_file_bytes" in answer.error["message"]
        assert await kept(room) == []
        small = [room.ask("POST", "/v1/files", form(b"x", purpose="user_data")) for _ in range(8)]
        assert {answer.status for answer in await asyncio.gather(*small)} == {200}

    inside(tmp_path, story, SMALL)


def test_a_line_may_not_name_a_file_of_another_team(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        stranger = await room.stranger()
        file_id = await room.upload(chat())
        part = [{"type": "file", "file": {"file_id": file_id}}]
        line = chat(messages=[{"role": "user", "content": part}])
        assert (await room.ask("POST", "/v1/files", form(jsonl(line)))).status == 200
        answer = await stranger.ask("POST", "/v1/files", form(jsonl(line)))
        assert (answer.status, answer.error["code"]) == (404, "file_not_found")

    inside(tmp_path, story)


@pytest.mark.parametrize(
    ("query", "param"), [("limit=0", "limit"), ("limit=many", "limit"), ("order=up", "order")]
)
def test_a_list_that_cannot_be_is_refused(tmp_path: Path, query: str, param: str) -> None:
    async def story(room: Room) -> None:
        answer = await room.ask("GET", f"/v1/files?{query}")
        assert (answer.status, answer.error["param"]) == (400, param)

    inside(tmp_path, story)


def test_a_list_is_paged_ordered_and_chosen_by_purpose(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        ids = []
        for number in range(5):
            purpose = "batch" if number % 2 else "user_data"
            answer = await room.ask("POST", "/v1/files", form(jsonl(chat()), purpose=purpose))
            ids.append(orjson.loads(answer.text)["id"])

        async def page(query: str) -> tuple[list[str], bool]:
            found = await room.json("GET", f"/v1/files?{query}")
            return [one["id"] for one in found["data"]], found["has_more"]

        everything, more = await page("order=asc")
        assert (sorted(everything), more) == (sorted(ids), False)
        assert await page("limit=2") == (everything[:-3:-1], True)
        assert await page(f"limit=9&after={everything[2]}") == (everything[1::-1], False)
        assert await page(f"order=asc&limit=1&after={everything[2]}") == ([everything[3]], True)
        assert await page("purpose=batch&order=asc") == (
            [one for one in everything if one in (ids[1], ids[3])],
            False,
        )
        assert await page("after=file-x") == ([], False)

    inside(tmp_path, story)


def test_a_process_that_answers_nothing_keeps_no_files() -> None:
    async def look() -> None:
        client = Client(b"")
        scope = {"method": "GET", "path": "/v1/files", "headers": client.headers}
        await FileRoutes(None).list(scope, client.receive, client.send)
        assert (client.status, client.error["code"]) == (404, "answered_elsewhere")

    run(look())


def test_nobody_comes_in_without_a_key(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        nobody = Room(room.weir, "sk-wrong")
        for method, path in (("POST", "/v1/files"), ("GET", "/v1/files"), ("GET", "/v1/files/f")):
            assert (await nobody.ask(method, path)).status == 401

    inside(tmp_path, story)
