"""Every word in which a client says who or which run, and what becomes of hostile ones."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.budget_book import BudgetBook
from gateway.errors import ApiError
from gateway.identity import Asked, Identity, identify
from gateway.identity_sources import (
    ALL_SOURCES,
    NAME,
    PARENT_SOURCES,
    RUN_SOURCES,
    TEAM_SOURCES,
    USER_SOURCES,
    WORKFLOW_SOURCES,
    Place,
    Source,
    Strength,
    Table,
    as_session_of_user,
    as_trace,
    as_uuid,
)
from gateway.known_ids import KnownIds
from gateway.run_inference import RunInference
from tests.unit.gateway.desks import PRINCIPAL

UUID = "0191d2e4-77aa-7c3b-8f00-0123456789ab"
TRACE = f"00-{'ab' * 16}-{'cd' * 8}-01"
SAMPLES = {as_uuid: UUID, as_trace: TRACE, as_session_of_user: f"user_1_session_{UUID}"}


def who(
    headers: dict[bytes, bytes] | None = None,
    body: dict[str, Any] | None = None,
    *,
    known: KnownIds | None = None,
    said: Any = (),
    inference: RunInference | None = None,
) -> Identity:
    known = known or KnownIds(BudgetBook([]), 1_000)
    asked = Asked("req_07", headers or {}, body or {}, said)
    return identify(PRINCIPAL, asked, known, inference)


def request_with(source: Source) -> tuple[dict[bytes, bytes], dict[str, Any], str]:
    """A request in which only this source says something."""
    text = SAMPLES.get(source.form, "session-0123456789")
    if source.place is Place.BODY:
        first, *inner = source.path
        return {}, {first: {inner[0]: text} if inner else text}, text
    if source.place is Place.BAGGAGE:
        return {b"baggage": f"a=1, {source.path[0]}={text};p=1,b=2".encode()}, {}, text
    if source.place is Place.ANY_SESSION_HEADER:
        return {b"x-acme-session-id": text.encode()}, {}, text
    content = orjson.dumps({source.path[1]: text}) if len(source.path) > 1 else text.encode()
    agent = {b"user-agent": b"codex_exec/0.169"} if source.agents else {}
    return {source.path[0].encode(): content, **agent}, {}, text


def ids_of(table: Table) -> list[str]:
    return [source.name for source in table.sources]


@pytest.mark.parametrize("source", RUN_SOURCES.sources, ids=ids_of(RUN_SOURCES))
def test_each_source_names_the_run(source: Source) -> None:
    headers, body, text = request_with(source)
    known = RunInference(1_000, 600)
    known.answered("lab", text, "an-earlier-run")
    identity = who(headers, body, inference=known)
    assert identity.run_source == source.name
    assert identity.attribution["run"] == {
        "source": source.name,
        "strength": source.strength.value,
    }
    expected = {as_trace: f"trace-{'ab' * 16}", as_session_of_user: UUID}.get(source.form, text)
    if source.name == "previous_response_id":
        expected = "an-earlier-run"
    assert identity.scopes.run == f"lab/{expected}"


@pytest.mark.parametrize("source", WORKFLOW_SOURCES.sources, ids=ids_of(WORKFLOW_SOURCES))
def test_each_source_names_the_workflow(source: Source) -> None:
    headers, body, text = request_with(source)
    identity = who(headers, body)
    assert (identity.scopes.workflow, identity.attribution["workflow"]["source"]) == (
        f"lab/{text}",
        source.name,
    )


@pytest.mark.parametrize("source", USER_SOURCES.sources, ids=ids_of(USER_SOURCES))
def test_each_source_names_the_user(source: Source) -> None:
    headers, body, text = request_with(source)
    identity = who(headers, body)
    assert (identity.scopes.user, identity.attribution["user"]["source"]) == (
        f"lab/{text}",
        source.name,
    )


@pytest.mark.parametrize("source", PARENT_SOURCES.sources, ids=ids_of(PARENT_SOURCES))
def test_each_source_names_the_parent_of_a_run_that_has_a_name(source: Source) -> None:
    headers, body, text = request_with(source)
    assert who(headers, body).scopes.parents == ()
    child = who({**headers, b"x-session-id": b"child-session"}, body)
    assert (child.parent_runs, child.run) == ((text,), "child-session")
    assert who({**headers, b"x-weir-run": text.encode()}, body).parent_runs == ()


@pytest.mark.parametrize("table", [RUN_SOURCES, USER_SOURCES, WORKFLOW_SOURCES])
def test_the_first_source_of_the_table_wins(table: Table) -> None:
    for earlier, later in pairwise(table.sources):
        if earlier.path[:1] != later.path[:1] and earlier.name != "previous_response_id":
            (headers, body, _), (others, fields, _) = map(request_with, (later, earlier))
            body = {**body, **fields}
            if "metadata" in body:
                body["metadata"] = {
                    **request_with(later)[1].get("metadata", {}),
                    **fields.get("metadata", {}),
                }
            identity = who({**headers, **others}, body)
            party = "run" if table is RUN_SOURCES else earlier.party.value
            assert identity.attribution[party]["source"] == earlier.name


@pytest.mark.parametrize("source", TEAM_SOURCES.sources, ids=ids_of(TEAM_SOURCES))
def test_no_source_names_another_team(source: Source) -> None:
    headers, body, _ = request_with(source)
    with pytest.raises(ApiError) as caught:
        who(headers, body)
    assert (caught.value.status, caught.value.code) == (403, "team_fixed")
    assert caught.value.param == source.name
    assert who({b"x-weir-team": b"lab"}).scopes.team == "lab"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({b"x-acme-session-id": b"short"}, {}),
        ({b"x-acme-session-id": b"with space in it"}, {}),
        ({b"session-id": b"0123456789"}, {}),
        ({b"traceparent": f"00-{'0' * 32}-{'cd' * 8}-01".encode()}, {}),
        ({b"traceparent": b"00-ab-cd-01"}, {}),
        ({b"traceparent": f"ff-{'ab' * 16}-{'cd' * 8}-01".encode()}, {}),
        ({b"baggage": b"session.id"}, {}),
        ({b"x-amzn-bedrock-request-metadata": b"{broken"}, {}),
        ({b"x-amzn-bedrock-request-metadata": b"[1]"}, {}),
        ({}, {"prompt_cache_key": "my-app"}),
        ({}, {"metadata": {"user_id": "user_1_session_x"}}),
        ({}, {"metadata": {"session_id": ["a"]}}),
        ({}, {"metadata": {"session_id": "x" * 3_000}}),
        ({}, {"metadata": "session_id"}),
        ({}, {"previous_response_id": "resp_unknown"}),
        ({}, {"conversation": {"id": 7}}),
    ],
)
def test_what_tells_no_run_from_another_names_none(
    headers: dict[bytes, bytes], body: dict[str, Any]
) -> None:
    identity = who(headers, body, inference=RunInference(1_000, 600))
    assert (identity.run, identity.run_source) == ("run-07", "request")


def test_a_trace_id_gives_way_to_the_run_of_a_known_conversation() -> None:
    known = RunInference(1_000, 600)
    said = [{"role": "user", "content": "a"}]
    more = [*said, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    first = who({b"traceparent": TRACE.encode()}, said=said, inference=known)
    assert (first.run, first.run_source) == (f"trace-{'ab' * 16}", "traceparent")
    other = TRACE.replace("ab", "ba").encode()
    second = who({b"traceparent": other}, said=more, inference=known)
    assert (second.run, second.run_source) == (first.run, "inferred")
    assert second.attribution["run"]["strength"] == Strength.INFERRED.value
    same = who({b"traceparent": TRACE.encode()}, said=more, inference=known)
    assert same.run_source == "traceparent"


def test_runs_that_nobody_named_outright_take_no_place_of_those_that_were() -> None:
    known = KnownIds(BudgetBook([]), 3)
    for number in range(100):
        trace = f"00-{number + 1:032x}-{'cd' * 8}-01".encode()
        source = who({b"traceparent": trace}, known=known).run_source
        assert source == ("traceparent" if number < 3 else "request")
    named = [who({b"x-session-id": b"named-%d" % n}, known=known).run for n in range(4)]
    assert named == ["named-0", "named-1", "named-2", "~overflow"]


TEXT = st.text(max_size=60) | st.sampled_from(["other/x", "../x", "~overflow", "lab/../bar", "{}"])
FIELDS = [
    source.path
    for source in (*RUN_SOURCES.sources, *USER_SOURCES.sources)
    if source.place is Place.BODY
]
HEADERS = [
    source.path[0].encode()
    for source in ALL_SOURCES
    if source.place is Place.HEADER and source.strength is not Strength.OWN
]
VALUES = TEXT | st.none() | st.integers() | st.lists(TEXT, max_size=2)


@given(
    st.dictionaries(st.sampled_from([*HEADERS, b"baggage"]), st.binary(max_size=80), max_size=6),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6),
)
def test_whatever_others_say_it_stays_inside_the_team_and_is_a_name(
    headers: dict[bytes, bytes], fields: dict[tuple[str, ...], Any]
) -> None:
    body: dict[str, Any] = {}
    for path, content in fields.items():
        if path[-1].startswith("weir_"):
            continue
        if len(path) == 1:
            body[path[0]] = content
        elif isinstance(body.setdefault(path[0], {}), dict):
            body[path[0]][path[1]] = content
    identity = who(headers, body)
    scopes = identity.scopes
    for scope_id in (scopes.run, scopes.user, scopes.workflow, *scopes.parents, *scopes.tags):
        assert scope_id.startswith("lab/")
    for name in (identity.run, identity.user, identity.workflow, *identity.parent_runs):
        assert NAME.fullmatch(name)
    assert len(identity.tags) <= 10
    assert scopes.team == "lab"
