"""Errors of runs: final for SDKs, and plain about what to do."""

import orjson
import pytest

from gateway.errors import ApiError
from gateway.run_errors import (
    invalid_run_token,
    run_fixed,
    run_not_found,
    run_token_expired,
    team_fixed,
    too_many_runs,
)


@pytest.mark.parametrize(
    ("error", "status", "code", "hint"),
    [
        (invalid_run_token(), 401, "invalid_run_token", "`POST /v1/runs` with a key opens a run"),
        (run_token_expired(0), 401, "run_token_expired", "1970-01-01T00:00:00+00:00"),
        (run_fixed("run", "a~1", "x-weir-run"), 403, "run_fixed", "leave x-weir-run out"),
        (team_fixed("lab", "x-weir-team"), 403, "team_fixed", "leave x-weir-team out"),
        (run_not_found("a~1"), 404, "run_not_found", "'a~1'"),
        (too_many_runs(7), 429, "too_many_runs", "server.max_new_ids_per_hour"),
    ],
)
def test_an_error_of_a_run_says_what_to_do_and_is_not_tried_again(
    error: ApiError, status: int, code: str, hint: str
) -> None:
    found = orjson.loads(error.body())["error"]
    assert (error.status, found["code"]) == (status, code)
    assert hint in found["message"]
    assert status == 404 or (b"x-should-retry", b"false") in error.headers()
