"""Who a request is charged to: the key decides the team, the client refines inside it."""

import re
from dataclasses import replace
from typing import Any

import pytest

from budgets.budget_book import BudgetBook
from budgets.runs import RunTerms
from budgets.scopes import Budget, ScopeKind, Window
from gateway.auth import Principal
from gateway.errors import ApiError
from gateway.identity import Asked, Identity
from gateway.identity import identify as identify_asked
from gateway.known_ids import KnownIds
from gateway.run_grants import RunGrant
from tests.unit.gateway.desks import PRINCIPAL


def identify(
    principal: Principal,
    headers: dict[bytes, bytes],
    body: dict[str, Any],
    request_id: str,
    known: KnownIds,
) -> Identity:
    return identify_asked(principal, Asked(request_id, headers, body), known)


def ids(*budgets: Budget, new_per_hour: int = 100) -> KnownIds:
    return KnownIds(BudgetBook(budgets), new_per_hour)


def of_body(body: dict[str, Any]) -> Identity:
    return identify(PRINCIPAL, {}, body, "req_07", ids())


def who(headers: dict[bytes, bytes] | None = None, **metadata: Any) -> Identity:
    body = {"metadata": metadata} if metadata else {}
    return identify(PRINCIPAL, headers or {}, body, "req_07", ids())


def test_a_request_that_names_nothing_is_a_run_of_its_own_in_the_keys_workflow() -> None:
    identity = who()
    assert (identity.workflow, identity.run, identity.run_source) == ("notes", "run-07", "request")
    scopes = identity.scopes
    assert (scopes.org, scopes.team, scopes.key) == ("acme", "lab", "key1")
    assert (scopes.workflow, scopes.run) == ("lab/notes", "lab/run-07")


def test_headers_win_over_metadata_and_metadata_over_the_key() -> None:
    headers = {b"x-weir-workflow": b"from header", b"x-weir-run": b"r/1"}
    named = {"weir_workflow": "from metadata", "weir_run": "r2"}
    both = who(headers, **named)
    assert (both.workflow, both.run, both.run_source) == ("from header", "r/1", "x-weir-run")
    body = who(None, **named)
    assert (body.workflow, body.run, body.run_source) == (
        "from metadata",
        "r2",
        "metadata.weir_run",
    )


def test_plain_metadata_is_taken_where_it_can_be_a_name_and_let_be_where_not() -> None:
    assert who(None, workflow="triage", run="r3").workflow == "triage"
    odd = who(None, workflow="not\na name", run=["r"])
    assert (odd.workflow, odd.run_source) == ("notes", "request")


@pytest.mark.parametrize("metadata", [None, [], "text", 7])
def test_metadata_of_another_shape_says_nothing(metadata: Any) -> None:
    assert of_body({"metadata": metadata}).workflow == "notes"


@pytest.mark.parametrize("name", [b"", b"/x", b" x", b"a" * 129, b"a\tb", b"a\x00", "é".encode()])
@pytest.mark.parametrize("header", [b"x-weir-workflow", b"x-weir-run", b"x-weir-user"])
def test_a_header_that_cannot_be_a_name_is_refused(header: bytes, name: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        who({header: name})
    assert (caught.value.status, caught.value.param) == (400, header.decode())


@pytest.mark.parametrize(("value", "code"), [("", "invalid_value"), (7, "invalid_type")])
def test_metadata_that_is_meant_for_weir_must_be_a_name(value: Any, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        who(None, weir_run=value)
    assert (caught.value.code, caught.value.param) == (code, "metadata.weir_run")


def test_nobody_reaches_another_teams_workflow() -> None:
    assert who({b"x-weir-workflow": b"other/notes"}).scopes.workflow == "lab/other/notes"


# -- users ------------------------------------------------------------------------------------


def test_a_request_that_names_no_user_belongs_to_the_unnamed_one() -> None:
    identity = who()
    assert (identity.user, identity.scopes.user) == ("unnamed", "lab/unnamed")


def test_the_user_is_the_header_or_what_openais_fields_say() -> None:
    fields = {"safety_identifier": "a", "user": "b", "metadata": {"user_id": "c"}}
    header = {b"x-weir-user": b"ana@example.org"}
    named = identify(PRINCIPAL, header, fields, "req_07", ids())
    assert named.scopes.user == "lab/ana@example.org"
    assert of_body(fields).user == "a"
    assert of_body({**fields, "safety_identifier": None}).user == "b"
    assert of_body({"metadata": {"user_id": "c"}}).user == "c"
    assert of_body({"user": 7, "safety_identifier": ["x"], "metadata": {"user_id": ""}}).user == (
        "unnamed"
    )


@pytest.mark.parametrize("odd", ["auth0|x", "ü", "x" * 129, "a*", "~overflow", "\n", "\ud800"])
def test_a_user_of_the_body_that_is_no_name_is_known_by_its_digest(odd: str) -> None:
    user = of_body({"user": odd}).user
    assert re.fullmatch("sha256:[0-9a-f]{32}", user)
    assert user == of_body({"safety_identifier": odd}).user
    assert user != of_body({"user": odd + "."}).user


# -- tags -------------------------------------------------------------------------------------


def test_tags_come_from_the_header_and_the_metadata_and_the_header_wins() -> None:
    header = {b"x-weir-tags": b"feature=search, customer=acme co"}
    identity = who(header, weir_tags={"feature": "chat", "env": "prod"})
    assert identity.tags == {"customer": "acme co", "env": "prod", "feature": "search"}
    assert identity.scopes.tags == (
        "lab/customer=acme co",
        "lab/env=prod",
        "lab/feature=search",
    )
    assert who(None, weir_tags="a=1,b=2").tags == {"a": "1", "b": "2"}
    assert who().tags == {}


def test_a_tag_that_budgets_ask_for_is_unset_where_nobody_sets_it() -> None:
    wide = Budget(ScopeKind.TAG, "lab/feature=*", Window.DAY, 1)
    other = Budget(ScopeKind.TAG, "bar/env=*", Window.DAY, 1)

    def tags(header: dict[bytes, bytes]) -> tuple[str, ...]:
        return identify(PRINCIPAL, header, {}, "req_07", ids(wide, other)).scopes.tags

    assert tags({}) == ("lab/feature=unset",)
    assert tags({b"x-weir-tags": b"a=1"}) == ("lab/a=1", "lab/feature=unset")
    assert tags({b"x-weir-tags": b"feature=search"}) == ("lab/feature=search",)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"feature",
        b"=x",
        b"a=",
        b"a=1,,b=2",
        b"a=1,a=2",
        b"a=1=2",
        b"a b=1",
        b"a=\xe9",
        b"~a=1",
    ],
)
def test_a_header_that_is_no_list_of_tags_is_refused(header: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        who({b"x-weir-tags": header})
    assert (caught.value.status, caught.value.param) == (400, "x-weir-tags")


def test_a_header_has_ten_tags_at_most() -> None:
    eleven = ",".join(f"t{n}=1" for n in range(11)).encode()
    with pytest.raises(ApiError) as caught:
        who({b"x-weir-tags": eleven})
    assert "at most 10 tags" in caught.value.message


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (7, "invalid_type"),
        (["a=1"], "invalid_type"),
        ("a", "invalid_value"),
        ({"a": 1}, "invalid_value"),
        ({"a b": "1"}, "invalid_value"),
        ({f"t{n}": "1" for n in range(11)}, "invalid_value"),
    ],
)
def test_metadata_that_is_no_tags_is_refused(value: Any, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        who(None, weir_tags=value)
    assert (caught.value.code, caught.value.param) == (code, "metadata.weir_tags")


def test_header_and_metadata_have_ten_tags_together() -> None:
    ten = ",".join(f"t{n}=1" for n in range(10)).encode()
    assert len(who({b"x-weir-tags": ten}, weir_tags={"t0": "2"}).tags) == 10
    with pytest.raises(ApiError) as caught:
        who({b"x-weir-tags": ten}, weir_tags={"u": "2"})
    assert "at most 10 tags, this one 11" in caught.value.message


# -- too many ids -----------------------------------------------------------------------------


def test_ids_that_are_too_many_share_one_and_the_request_says_so() -> None:
    known = ids(Budget(ScopeKind.TAG, "lab/feature=*", Window.DAY, 1), new_per_hour=1)

    def ask(name: bytes) -> Identity:
        headers = {
            b"x-weir-workflow": name,
            b"x-weir-run": name,
            b"x-weir-user": name,
            b"x-weir-tags": b"feature=%b,a=%b,b=%b" % (name, name, name),
        }
        return identify(PRINCIPAL, headers, {}, "req_07", known)

    first = ask(b"one")
    assert first.overflow == ("tag",)
    assert (first.workflow, first.run, first.user) == ("one", "one", "one")
    second = ask(b"two")
    assert second.overflow == ("workflow", "run", "user", "tag")
    assert (second.workflow, second.run, second.user) == ("~overflow",) * 3
    assert second.scopes.tags == ("lab/feature=~overflow", "lab/~overflow=~overflow")
    assert second.tags == {"feature": "~overflow", "~overflow": "~overflow"}
    assert ask(b"one").run == "one"


def test_the_keys_own_workflow_and_a_run_of_its_own_are_never_too_many() -> None:
    known = ids(new_per_hour=1)
    for _ in range(3):
        assert identify(PRINCIPAL, {}, {}, "req_07", known).overflow == ()


# -- runs with a token ------------------------------------------------------------------------

GRANT = RunGrant(
    "key1", 1 << 40, (RunTerms("low~2", 5), RunTerms("top~1", 9)), None, {"customer": "acme"}
)


def holder(headers: dict[bytes, bytes], grant: RunGrant = GRANT, **metadata: Any) -> Identity:
    principal = replace(PRINCIPAL, run=grant, workflow=grant.workflow or PRINCIPAL.workflow)
    return identify(principal, headers, {"metadata": metadata}, "req_07", ids(new_per_hour=1))


def test_the_holder_of_a_token_is_charged_to_its_run_and_to_those_above() -> None:
    identity = holder({})
    scopes = identity.scopes
    assert (identity.run, identity.run_source) == ("low~2", "token")
    assert (scopes.run, scopes.parents) == ("lab/low~2", ("lab/top~1",))
    assert identity.parent_runs == ("top~1",)
    assert identity.shared_scopes is scopes
    assert {charge.account: charge.limit_nano for charge in identity.granted} == {
        "run:lab/low~2|total|0": 5,
        "run:lab/low~2|total/tokens|0": None,
        "run:lab/low~2|total/requests|0": None,
        "run:lab/top~1|total|0": 9,
        "run:lab/top~1|total/tokens|0": None,
        "run:lab/top~1|total/requests|0": None,
    }
    assert scopes.tags == ("lab/customer=acme",)
    assert who().granted == ()


def test_the_holder_of_a_token_may_refine_what_its_run_left_open() -> None:
    identity = holder({b"x-weir-workflow": b"sum", b"x-weir-tags": b"a=1", b"x-weir-user": b"ana"})
    assert (identity.workflow, identity.user) == ("sum", "ana")
    assert identity.tags == {"a": "1", "customer": "acme"}
    assert holder({b"x-weir-tags": b"customer=acme", b"x-weir-run": b"low~2"}).run == "low~2"
    # What the run has fixed is no name that a client brings.
    assert holder({b"x-weir-tags": b"a=1"}).overflow == ()


@pytest.mark.parametrize(
    ("headers", "metadata", "param"),
    [
        ({b"x-weir-run": b"top~1"}, {}, "header x-weir-run"),
        ({b"x-weir-run": b"low"}, {}, "header x-weir-run"),
        ({}, {"weir_run": "r"}, "metadata.weir_run"),
        ({}, {"weir_run": 7}, "metadata.weir_run"),
        ({b"x-weir-workflow": b"sum"}, {}, "x-weir-workflow"),
        ({}, {"workflow": "sum"}, "x-weir-workflow"),
        ({b"x-weir-tags": b"customer=bmw"}, {}, "x-weir-tags"),
    ],
)
def test_the_holder_of_a_token_cannot_leave_its_run(
    headers: dict[bytes, bytes], metadata: dict[str, Any], param: str
) -> None:
    with pytest.raises(ApiError) as caught:
        holder(headers, replace(GRANT, workflow="reports"), **metadata)
    assert (caught.value.status, caught.value.code) == (403, "run_fixed")
    assert caught.value.param == param
