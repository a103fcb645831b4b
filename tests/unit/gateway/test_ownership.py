"""Who may use what a provider keeps: memory is asked, then the store, which may be away."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.desk import Desk
from gateway.dialects.unseen import ResponseBook
from gateway.errors import ApiError
from gateway.ownership import DAY_MS, MAX_FILES, Named, Owners, named_in
from gateway.registries.objects import ObjectKind, OwnedObject
from gateway.registries.objects_in_sqlite import SqliteObjects
from gateway.registries.port import RegistryError
from tests.unit.gateway.desks import PRINCIPAL, Client, ask, make_desk, run, scripted
from tests.unit.gateway.dialects.requests_made import CHAT, MESSAGES, RESPONSES, read

RESPONSE, CONVERSATION, FILE = ObjectKind.RESPONSE, ObjectKind.CONVERSATION, ObjectKind.FILE
TEAM, ROUTE = PRINCIPAL.team, "/v1/responses"


@contextmanager
def store_in(folder: Path) -> Iterator[SqliteObjects]:
    store = SqliteObjects(folder / "keys.sqlite3")
    with closing(store._connection):
        yield store


def process(store: SqliteObjects) -> Owners:
    """What another process on this store knows at first: nothing."""
    return Owners(store, ["main"])


def verdict(owners: Owners, team: str, **named: Any) -> str:
    """The code of the error, empty where there is none."""
    try:
        run(owners.vouch(team, Named(**{"response": "", "conversation": "", "files": ()} | named)))
    except ApiError as error:
        return error.code
    return ""


def test_a_response_is_known_to_every_process_once_it_is_saved(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        first, second = process(store), process(store)
        first.learn("lab", "resp_1", 70, "main")
        assert verdict(first, "ops", response="resp_1") == "previous_response_not_found"
        assert verdict(second, "ops", response="resp_1") == ""
        run(first.save("resp_1"))
        run(first.save("resp_1"))
        run(first.save("resp_none"))
        assert verdict(second, "ops", response="resp_1") == "previous_response_not_found"
        assert verdict(second, "lab", response="resp_1") == ""
        assert second.responses.tokens_of("lab", "resp_1") == 70
        assert verdict(process(store), "ops", response="resp_1") == "previous_response_not_found"


def test_a_response_of_unknown_use_is_known_all_the_same(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        first, second = process(store), process(store)
        first.learn("lab", "resp_1", None, "main")
        run(first.save("resp_1"))
        assert verdict(second, "ops", response="resp_1") == "previous_response_not_found"
        assert second.responses.owner_of("resp_1") == "lab"
        assert second.responses.tokens_of("lab", "resp_1") is None


def test_a_record_that_cannot_be_read_says_nothing_of_use_and_still_whose_it_is(
    tmp_path: Path,
) -> None:
    with store_in(tmp_path) as store:
        for number, record in enumerate(("?", "[]", "{}", '{"total_tokens": "many"}')):
            name = f"resp_{number}"
            run(store.claim(OwnedObject(RESPONSE, name, "lab", "main", 5, record)))
            owners = process(store)
            assert verdict(owners, "ops", response=name) == "previous_response_not_found"
            assert owners.responses.tokens_of("lab", name) is None


def test_what_a_provider_does_not_keep_is_not_written_down(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        owners = process(store)
        owners.learn("lab", "resp_1", 70, "main", is_kept=False)
        owners.learn("lab", "resp_2", 70, "forgetful")
        owners.learn("lab", "", 70, "main")
        owners.learn("lab", "r" * 257, 70, "main")
        run(owners.pay())
        assert run(store.listed(RESPONSE, "lab", None, 10)) == []
        assert owners.responses.owner_of("resp_1") == "lab"


def test_an_id_that_no_store_could_keep_is_nobodys(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        owners = process(store)
        for name in ("r" * 257, "a\nb"):
            assert verdict(owners, "lab", response=name) == "previous_response_not_found"
            assert verdict(owners, "lab", conversation=name) == "conversation_not_found"
            assert verdict(owners, "lab", files=(name,)) == ""


def test_a_conversation_is_of_the_team_that_names_it_first(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        first, second = process(store), process(store)
        assert verdict(first, "lab", conversation="conv_1") == ""
        for owners in (first, second, process(store)):
            assert verdict(owners, "ops", conversation="conv_1") == "conversation_not_found"
            assert verdict(owners, "lab", conversation="conv_1") == ""
        assert verdict(second, "ops", conversation="conv_2") == ""
        assert verdict(first, "lab", conversation="conv_2") == "conversation_not_found"


def test_a_file_that_is_known_is_for_its_team_and_any_other_for_all(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        owners = process(store)
        assert verdict(owners, "ops", files=("file-1",)) == ""
        run(store.claim(OwnedObject(FILE, "file-1", "lab", "main", 5, "")))
        for _ in range(2):
            assert verdict(owners, "ops", files=("file-0", "file-1")) == "file_not_found"
            assert verdict(owners, "lab", files=("file-0", "file-1")) == ""


def test_while_the_store_is_away_only_what_is_remembered_is_served(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        owners = process(store)
        run(store.claim(OwnedObject(FILE, "file-1", "lab", "main", 5, "")))
        owners.learn("lab", "resp_1", 70, "main")
        assert verdict(owners, "lab", conversation="conv_1", files=("file-1",)) == ""
        store._connection.close()
        known = {"response": "resp_1", "conversation": "conv_1", "files": ("file-1",)}
        assert verdict(owners, "lab", **known) == ""
        assert verdict(owners, "ops", files=("file-1",)) == "file_not_found"
        for asked in ({"response": "r"}, {"conversation": "c"}, {"files": ("f",)}):
            assert verdict(owners, "lab", **asked) == "owner_unavailable"


def test_what_could_not_be_written_is_written_once_the_store_is_back(tmp_path: Path) -> None:
    with store_in(tmp_path) as store, store_in(tmp_path) as other:
        store._connection.execute("PRAGMA busy_timeout=1")
        owners = process(store)
        owners.learn("lab", "resp_1", 70, "main")
        other._connection.execute("BEGIN IMMEDIATE")
        run(owners.save("resp_1"))
        run(owners.close())
        with pytest.raises(RegistryError):
            run(owners.pay())
        other._connection.execute("ROLLBACK")
        run(owners.pay())
        [kept] = run(store.listed(RESPONSE, "lab", None, 10))
        assert (kept.object_id, json.loads(kept.record)) == ("resp_1", {"total_tokens": 70})


def test_of_two_responses_with_one_id_the_first_stands_in_memory_too(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        first, second = process(store), process(store)
        first.learn("lab", "resp_1", 70, "main")
        run(first.save("resp_1"))
        second.learn("ops", "resp_1", 80, "main")
        run(second.save("resp_1"))
        assert verdict(second, "ops", response="resp_1") == "previous_response_not_found"
        assert second.responses.tokens_of("lab", "resp_1") == 70


def test_old_responses_and_conversations_are_forgotten_and_files_are_not(tmp_path: Path) -> None:
    now_ms = 400 * DAY_MS
    with store_in(tmp_path) as store:
        for kind, name, days in (
            (RESPONSE, "old", 31),
            (RESPONSE, "new", 29),
            (CONVERSATION, "old", 366),
            (CONVERSATION, "new", 364),
            (FILE, "old", 399),
        ):
            made = OwnedObject(kind, name, "lab", "", now_ms - days * DAY_MS, "")
            run(store.claim(made))
        run(Owners(store, now_ms=lambda: now_ms).trim())
        left = {kind: run(store.listed(kind, "lab", None, 10)) for kind in ObjectKind}
        names = {kind: [one.object_id for one in found] for kind, found in left.items()}
        assert names == {RESPONSE: ["new"], CONVERSATION: ["new"], FILE: ["old"], "batch": []}


def test_without_a_store_memory_is_all_there_is() -> None:
    owners = Owners(responses=ResponseBook(kept=1))
    owners.learn("lab", "resp_1", 70, "main")
    assert verdict(owners, "ops", response="resp_1") == "previous_response_not_found"
    owners.learn("lab", "resp_2", 70, "main")
    assert verdict(owners, "ops", response="resp_1", files=("file-1",)) == ""
    assert verdict(owners, "lab", conversation="conv_1") == ""
    assert verdict(owners, "ops", conversation="conv_1") == "conversation_not_found"
    run(owners.trim())
    run(owners.close())


# -- what a request names -----------------------------------------------------------------------


def test_every_file_id_is_found_once_wherever_it_stands() -> None:
    image = {"type": "input_image", "file_id": "file-2"}
    items = [
        {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}, image, image]},
        {"type": "function_call_output", "call_id": "c", "output": [{"file_id": "file-3"}]},
    ]
    container = {"type": "auto", "file_ids": ["file-4", 5, "file-1"]}
    tools = [
        {"type": "code_interpreter", "container": container},
        {"type": "function", "name": "f", "parameters": {"file_id": {"type": "string"}}},
    ]
    said = {"metadata": {"file_id": "mine"}, "conversation": {"id": "conv_1"}}
    request = read(RESPONSES, input=items, tools=tools, previous_response_id="resp_1", **said)
    named = named_in(RESPONSES, request)
    assert (named.response, named.conversation) == ("resp_1", "conv_1")
    assert sorted(named.files) == ["file-1", "file-2", "file-3", "file-4"]


def test_only_a_dialect_that_goes_on_names_responses_and_conversations() -> None:
    part = {"type": "file", "file": {"file_id": "file-1"}}
    fields = {"conversation": "conv_1", "previous_response_id": "resp_1"}
    messages = [{"role": "user", "content": [part]}]
    for dialect in (CHAT, MESSAGES):
        request = read(dialect, messages=messages, **fields)
        assert named_in(dialect, request) == Named("", "", ("file-1",))


def test_a_request_names_so_many_files_and_no_more() -> None:
    def naming(count: int) -> Named:
        parts = [{"type": "input_file", "file_id": f"file-{number}"} for number in range(count)]
        return named_in(RESPONSES, read(RESPONSES, input=[{"role": "user", "content": parts}]))

    assert len(naming(MAX_FILES).files) == MAX_FILES
    with pytest.raises(ApiError) as caught:
        naming(MAX_FILES + 1)
    assert (caught.value.status, caught.value.code) == (400, "unsupported_parameter")


# -- whole requests -----------------------------------------------------------------------------


def desk_on(store: SqliteObjects, team: str = TEAM) -> Desk:
    desk = make_desk({"main": scripted(say="hello")}, principal=replace(PRINCIPAL, team=team))
    return replace(desk, owners=process(store))


def respond(desk: Desk, **fields: Any) -> Client:
    body = {"model": "auto", "input": "Hello", **fields}
    return run(ask(desk, json.dumps(body).encode(), route=ROUTE))


def assert_refused(client: Client, status: int, code: str) -> None:
    assert (client.status, client.error["code"]) == (status, code)


@pytest.mark.parametrize("stream", [False, True])
def test_whose_an_answer_is_is_written_before_its_end_goes_out(
    tmp_path: Path, *, stream: bool
) -> None:
    with store_in(tmp_path) as store:
        desk = desk_on(store)
        assert respond(desk, stream=stream).status == 200
        [kept] = run(store.listed(RESPONSE, TEAM, None, 10))
        assert (kept.provider, json.loads(kept.record)) == ("main", {"total_tokens": 2})
        other = respond(desk_on(store, "ops"), previous_response_id=kept.object_id)
        assert_refused(other, 404, "previous_response_not_found")
        respond(desk, store=False)
        assert run(store.listed(RESPONSE, TEAM, None, 10)) == [kept]


def test_another_teams_conversation_and_file_are_not_there(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        run(store.claim(OwnedObject(FILE, "file-1", TEAM, "main", 5, "")))
        mine, theirs = desk_on(store), desk_on(store, "ops")
        part = [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]
        assert respond(mine, conversation="conv_1").status == 200
        assert_refused(respond(mine, input=part), 400, "capability_missing")
        assert_refused(respond(theirs, conversation="conv_1"), 404, "conversation_not_found")
        assert_refused(respond(theirs, input=part), 404, "file_not_found")
        chat_part = {"type": "file", "file": {"file_id": "file-1"}}
        body = {"model": "auto", "messages": [{"role": "user", "content": [chat_part]}]}
        refused = run(ask(theirs, json.dumps(body).encode()))
        assert_refused(refused, 404, "file_not_found")


def test_a_request_whose_names_nobody_can_look_up_is_not_sent_and_others_are(
    tmp_path: Path,
) -> None:
    with store_in(tmp_path) as store:
        desk = desk_on(store)
        store._connection.close()
        assert respond(desk).status == 200
        assert_refused(respond(desk, conversation="conv_1"), 503, "owner_unavailable")
        part = {"type": "document", "source": {"type": "file", "file_id": "file-1"}}
        body = {"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": [part]}]}
        refused = run(ask(desk, json.dumps(body).encode(), route="/v1/messages"))
        assert refused.status == 503
        assert refused.error["type"] == "api_error"
