"""Who a request is charged to: the key decides the team, the client refines inside it."""

from typing import Any

import pytest

from gateway.errors import ApiError
from gateway.identity import Identity, identify
from tests.unit.gateway.desks import PRINCIPAL


def who(headers: dict[bytes, bytes] | None = None, **metadata: Any) -> Identity:
    body = {"metadata": metadata} if metadata else {}
    return identify(PRINCIPAL, headers or {}, body, "req_07")


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
    assert (both.workflow, both.run, both.run_source) == ("from header", "r/1", "header")
    body = who(None, **named)
    assert (body.workflow, body.run, body.run_source) == ("from metadata", "r2", "metadata")


def test_plain_metadata_is_taken_where_it_can_be_a_name_and_let_be_where_not() -> None:
    assert who(None, workflow="triage", run="r3").workflow == "triage"
    odd = who(None, workflow="not\na name", run=["r"])
    assert (odd.workflow, odd.run_source) == ("notes", "request")


@pytest.mark.parametrize("metadata", [None, [], "text", 7])
def test_metadata_of_another_shape_says_nothing(metadata: Any) -> None:
    assert identify(PRINCIPAL, {}, {"metadata": metadata}, "req_07").workflow == "notes"


@pytest.mark.parametrize("name", [b"", b"/x", b" x", b"a" * 129, b"a\tb", b"a\x00", "é".encode()])
@pytest.mark.parametrize("header", [b"x-weir-workflow", b"x-weir-run"])
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
