"""A request is appraised in every dialect: its kind, its size, and what it reads beyond itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.desk import Asking, Call, Desk
from gateway.dialects.port import Dialect
from gateway.errors import ApiError
from gateway.identity import Asked, identify
from gateway.ownership import Named, Owners, named_in
from gateway.registries.objects import ObjectKind, OwnedObject
from gateway.registries.objects_in_sqlite import SqliteObjects
from gateway.sizing import appraise, measure, reaches_out, vouch
from tests.unit.gateway.desks import LIMITS, PRINCIPAL, make_desk, run, scripted
from tests.unit.gateway.dialects.requests_made import ALL, CHAT, MESSAGES, RESPONSES, read

TEAM = PRINCIPAL.team
WEB = [{"type": "web_search"}]


def desk(hosted_tool_uses: int = 8) -> Desk:
    limits = replace(LIMITS, hosted_tool_uses=hosted_tool_uses)
    return make_desk({"main": scripted()}, limits=limits)


def appraised(at: Desk, dialect: Dialect, **fields: Any) -> Asking:
    request = read(dialect, **fields)
    identity = identify(PRINCIPAL, Asked("req_1", {}, dialect.parties(request)), at.ids)
    return appraise(at, Call("req_1", 0.0, 1, PRINCIPAL, identity, dialect, request, (), ()))


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
def test_the_size_at_a_glance_is_never_below_the_measured_one(dialect: Dialect) -> None:
    at = desk()
    asking = appraised(at, dialect)
    glance = asking.size.bound_tokens(0)
    run(measure(at, asking))
    assert asking.is_measured
    assert 0 < asking.size.bound_tokens(0) <= glance
    assert asking.beyond is None


def test_media_are_measured_at_once() -> None:
    image = {"type": "image", "source": {"type": "base64", "data": "A" * 9_000}}
    asking = appraised(desk(), MESSAGES, messages=[{"role": "user", "content": [image]}])
    assert asking.size.media == 1
    assert asking.size.text_bytes < 100


def test_tools_that_the_provider_runs_are_held_as_often_as_they_may_be_used() -> None:
    asking = appraised(desk(3), RESPONSES, tools=WEB)
    assert asking.beyond is not None
    assert asking.beyond.bound(10, 1_000) == 4_000
    assert asking.beyond.uses.inject == 3


def test_without_leave_such_tools_are_refused_by_name() -> None:
    with pytest.raises(ApiError) as caught:
        appraised(desk(0), RESPONSES, tools=WEB)
    assert (caught.value.status, caught.value.param) == (400, "tools")


def vouched(at: Desk, dialect: Dialect, **fields: Any) -> Asking:
    asking = appraised(at, dialect, **fields)
    assert reaches_out(asking)
    run(vouch(at, asking))
    return asking


def test_a_response_of_ones_own_bounds_what_follows_and_anothers_is_not_there() -> None:
    at = desk()
    at.owners.learn(TEAM, "resp_own", 70, "main")
    at.owners.learn("other", "resp_other", 70, "main")
    own = vouched(at, RESPONSES, previous_response_id="resp_own").beyond
    assert own is not None
    assert own.bound(30, 1_000) == 100
    unknown = vouched(at, RESPONSES, previous_response_id="resp_unknown").beyond
    assert unknown is not None
    assert unknown.bound(30, 1_000) == 1_000
    for tools in ([], WEB):
        with pytest.raises(ApiError) as caught:
            vouched(at, RESPONSES, previous_response_id="resp_other", tools=tools)
        assert (caught.value.status, caught.value.code) == (404, "previous_response_not_found")


def test_what_a_response_of_another_process_used_bounds_what_follows(tmp_path: Path) -> None:
    store = SqliteObjects(tmp_path / "keys.sqlite3")
    terms = (ObjectKind.RESPONSE, "resp_1", TEAM, "main", 5, '{"total_tokens": 70}')
    run(store.claim(OwnedObject(*terms)))
    at = replace(desk(), owners=Owners(store, ["main"]))
    asking = appraised(at, RESPONSES, previous_response_id="resp_1")
    assert asking.beyond is not None
    assert asking.beyond.bound(30, 1_000) == 1_000
    run(vouch(at, asking))
    assert asking.beyond.bound(30, 1_000) == 100
    run(store.aclose())


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
def test_a_request_that_names_nothing_is_not_looked_into(dialect: Dialect) -> None:
    assert not reaches_out(appraised(desk(), dialect))


BY_ID = {"type": "input_file", "file_id": "file-1"}
CONTAINER = {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}}


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        (RESPONSES, {"previous_response_id": "resp_1"}),
        (RESPONSES, {"conversation": "conv_1"}),
        (RESPONSES, {"conversation": {"id": "conv_1"}}),
        (RESPONSES, {"input": [{"role": "user", "content": [BY_ID]}]}),
        (
            RESPONSES,
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        ),
        (
            RESPONSES,
            {"input": [{"type": "function_call_output", "call_id": "c", "output": [BY_ID]}]},
        ),
        (RESPONSES, {"tools": [CONTAINER]}),
        (RESPONSES, {"tools": [CONTAINER], "tool_choice": "none"}),
        (
            CHAT,
            {
                "messages": [
                    {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}
                ]
            },
        ),
        (
            MESSAGES,
            {
                "messages": [
                    {"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}
                ]
            },
        ),
    ],
)
def test_a_request_that_names_what_a_provider_keeps_is_looked_into(
    dialect: Dialect, fields: dict[str, Any]
) -> None:
    asking = appraised(desk(), dialect, **fields)
    assert reaches_out(asking)
    assert named_in(dialect, asking.call.request) != Named("", "", ())


def test_a_session_does_not_make_a_user_of_its_own() -> None:
    named = [f"user_1_session_{str(number) * 8}" for number in range(3)]
    asked = [appraised(desk(), MESSAGES, metadata={"user_id": user}) for user in named]
    users = {asking.call.identity.user for asking in asked}
    assert users == {"user_1"}
    at_chat = appraised(desk(), CHAT, user="ana")
    assert at_chat.call.identity.user == "ana"
