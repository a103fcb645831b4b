"""The errors of runs that are opened over the API, and of their tokens."""

from datetime import UTC, datetime

from gateway.errors import ApiError


def invalid_run_token() -> ApiError:
    """One message for every token that is none, was changed, or whose key was revoked."""
    return ApiError(
        401,
        "invalid_run_token",
        "This run token is not valid: it was not made by this installation, was changed, or its "
        "key was revoked. `POST /v1/runs` with a key opens a run and answers with its token.",
        retry=False,
    )


def run_token_expired(expires_s: int) -> ApiError:
    """The token was a real one."""
    ended = datetime.fromtimestamp(expires_s, UTC).isoformat()
    return ApiError(
        401,
        "run_token_expired",
        f"This run token expired at {ended}; `ttl_s` says how long a run's token is valid.",
        retry=False,
        details={"expired_at": ended},
    )


def run_fixed(what: str, fixed: str, param: str) -> ApiError:
    """403: the holder of a run token named another run, or what its run has fixed."""
    return ApiError(
        403,
        "run_fixed",
        f"A run token names its {what} itself, which is {fixed!r}; leave {param} out.",
        param,
        kind="permission_error",
        retry=False,
    )


def team_fixed(team: str, param: str) -> ApiError:
    """403: a request named another team than that of its key."""
    return ApiError(
        403,
        "team_fixed",
        f"The key decides the team, which is {team!r}; leave {param} out, or use a key of the "
        "other team.",
        param,
        kind="permission_error",
        retry=False,
    )


def run_not_found(run_id: str) -> ApiError:
    return ApiError(
        404,
        "run_not_found",
        f"No run {run_id[:100]!r} was opened with this key; `POST /v1/runs` opens one.",
        "id",
    )


def too_many_runs(limit: int) -> ApiError:
    return ApiError(
        429,
        "too_many_runs",
        f"This team has brought {limit} new runs within an hour, which is all it may "
        "(server.max_new_ids_per_hour).",
        kind="rate_limit_error",
        retry=False,
    )
