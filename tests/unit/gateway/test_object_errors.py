"""Errors about what providers keep: 404 for what is another team's, 503 while nobody can say."""

import orjson
import pytest

from gateway.errors import ApiError
from gateway.object_errors import (
    conversation_not_found,
    file_not_found,
    owner_unavailable,
    response_not_found,
)

LONG = "x" * 500


@pytest.mark.parametrize(
    ("error", "code", "param"),
    [
        (response_not_found(LONG), "previous_response_not_found", "previous_response_id"),
        (conversation_not_found(LONG), "conversation_not_found", "conversation"),
        (file_not_found(LONG), "file_not_found", "file_id"),
    ],
)
def test_what_is_another_teams_is_not_there_and_is_not_asked_for_again(
    error: ApiError, code: str, param: str
) -> None:
    found = orjson.loads(error.body())["error"]
    assert (error.status, found["code"], found["param"]) == (404, code, param)
    assert found["message"].endswith("not found.")
    assert len(found["message"]) < 200
    assert (b"x-should-retry", b"false") in error.headers()


def test_what_nobody_can_say_now_is_to_be_asked_again() -> None:
    error = owner_unavailable("file")
    found = orjson.loads(error.body())["error"]
    assert (error.status, found["code"], found["type"]) == (
        503,
        "owner_unavailable",
        "server_error",
    )
    assert found["message"].startswith("Whose the file is")
    assert {(b"x-should-retry", b"true"), (b"retry-after", b"1")} <= set(error.headers())
