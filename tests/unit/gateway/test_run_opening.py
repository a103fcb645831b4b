"""What can be opened as a run, and what is refused with the field at fault."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from budgets.runs import MAX_DEPTH, RunTerms
from gateway.auth import Principal
from gateway.errors import ApiError
from gateway.run_grants import RunGrant
from gateway.run_opening import opened_run, read_run
from gateway.run_registry import OpenedRun
from tests.unit.gateway.desks import PRINCIPAL

NOW_S = 1_795_300_000
TOP = RunGrant("key1", NOW_S + 100, (RunTerms("top~1", 10**9, 500),), "reports", {"a": "1"})


def body(**fields: Any) -> bytes:
    return orjson.dumps({"budget": {"limit_usd": "0.5"}, **fields})


def opened(principal: Principal = PRINCIPAL, **fields: Any) -> OpenedRun:
    return opened_run(principal, read_run(body(**fields)), NOW_S)


def test_a_run_has_what_was_asked_for_under_an_id_that_nobody_can_name() -> None:
    run = opened(
        budget={"limit_usd": 0.25, "limit_tokens": "2_000", "limit_requests": 7},
        name="nightly",
        workflow="reports",
        tags={"b": "2", "a": "1"},
        ttl_s=60,
        landing=0.05,
    )
    grant = run.grant
    assert (run.team, run.name, run.created_s) == ("lab", "nightly", NOW_S)
    [terms] = grant.chain
    assert (terms.limit_nano, terms.limit_tokens, terms.limit_requests) == (250_000_000, 2_000, 7)
    assert terms.landing_permille == 50
    assert grant.run_id.startswith("nightly~")
    assert (grant.key_id, grant.expires_s) == ("key1", NOW_S + 60)
    assert (grant.workflow, list(grant.tags.items())) == ("reports", [("a", "1"), ("b", "2")])
    other = opened(name="nightly")
    assert other.grant.run_id != grant.run_id
    assert (other.grant.workflow, other.grant.tags, other.grant.expires_s) == (
        None,
        {},
        NOW_S + 3_600,
    )


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"budget": None}, "budget", "expected a table"),
        ({"budget": {}}, "budget", "give at least one of limit_usd"),
        ({"budget": {"limit_usd": "-1"}}, "budget.limit_usd", "zero or more dollars"),
        ({"budget": {"limit_tokens": 1.5}}, "budget.limit_tokens", "a whole number"),
        ({"budget": {"limit_usdd": 1}}, "budget.limit_usdd", 'did you mean "limit_usd"?'),
        ({"name": "a/b"}, "name", "1 to 48 letters"),
        ({"name": "a~b"}, "name", "1 to 48 letters"),
        ({"workflow": "~"}, "workflow", "a workflow's name"),
        ({"tags": {"a b": "1"}}, "tags", "expected tags"),
        ({"tags": {f"t{n}": "1" for n in range(11)}}, "tags", "at most 10"),
        ({"ttl_s": 0}, "ttl_s", "greater than or equal to 1"),
        ({"ttl_s": 10**9}, "ttl_s", "less than or equal to 2592000"),
        ({"landing": 1}, "landing", "a share below 1"),
        ({"landing": "10 %"}, "landing", "a share of the limit"),
        ({"run": "x"}, "run", "unknown key"),
    ],
)
def test_a_body_that_is_no_run_is_refused_with_the_field(
    fields: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(ApiError) as caught:
        read_run(body(**fields))
    assert (caught.value.status, caught.value.param) == (400, param)
    assert words in caught.value.message


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 60_000, b"[]", b"7"])
def test_a_body_that_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        read_run(text)
    assert caught.value.status == 400


CHILD = replace(PRINCIPAL, run=TOP)


def test_a_run_within_a_run_keeps_what_that_fixed_and_ends_with_it() -> None:
    grant = opened(CHILD, tags={"b": "2"}).grant
    assert (grant.parents, grant.chain[1:]) == (("top~1",), TOP.chain)
    assert (grant.workflow, grant.tags) == ("reports", {"a": "1", "b": "2"})
    assert grant.expires_s == NOW_S + 100
    assert opened(CHILD, ttl_s=9).grant.expires_s == NOW_S + 9
    assert opened(CHILD, budget={"limit_usd": "1", "limit_tokens": 500}).grant.key_id == "key1"


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"budget": {"limit_usd": "1.01"}}, "budget.limit_usd", "which is $1.000000000"),
        ({"budget": {"limit_tokens": 501}}, "budget.limit_tokens", "which is 500 tokens"),
        ({"workflow": "other"}, "workflow", "is fixed to 'reports'"),
        ({"tags": {"a": "2"}}, "tags", "is fixed to '1'"),
        ({"tags": {f"t{n}": "1" for n in range(10)}}, "tags", "there are 11"),
    ],
)
def test_a_run_within_a_run_cannot_go_beyond_it(
    fields: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(ApiError) as caught:
        opened(CHILD, **fields)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert words in caught.value.message


def test_runs_stand_in_one_another_only_so_deep() -> None:
    principal = PRINCIPAL
    for _ in range(MAX_DEPTH):
        principal = replace(principal, run=opened(principal).grant)
    with pytest.raises(ApiError) as caught:
        opened(principal)
    assert "at most 8 deep" in caught.value.message
