"""Every error a client can see, in the shape OpenAI's SDKs read.

    ApiError             status, code, message, the field at fault, and whether to try again
    `code`               stable name, listed in docs/errors.md
    `x-should-retry`     `false` where trying again cannot help: an SDK would otherwise retry

A refusal of the ledger, a routing dead end and an upstream failure are values of the floors below;
they become errors here and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from budgets.kills import Kill
from budgets.ledger import Refusal
from budgets.money import format_usd
from budgets.rolling import RollingWindow
from budgets.scopes import FULL_PERMILLE, AnyWindow, Budget, Charge, Unit, window_label
from budgets.units import as_json, in_words
from routing.decide import NoRoute, NoRouteCode

JSON_TYPE = (b"content-type", b"application/json")


@dataclass(slots=True, eq=False)
class ApiError(Exception):
    """An error response. `param` names the field at fault; `details` joins the error object.

    `extra` are headers of its own.

    Not frozen: Python itself writes the traceback into a raised exception.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    kind: str = "invalid_request_error"
    retry: bool | None = None
    retry_after_s: int | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    extra: tuple[tuple[bytes, bytes], ...] = ()

    def body(self) -> bytes:
        """`{"error": {"message", "type", "param", "code", …}}`."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
            **self.details,
        }
        return orjson.dumps({"error": error})

    def headers(self) -> list[tuple[bytes, bytes]]:
        headers = [JSON_TYPE, *self.extra]
        if self.retry is not None:
            headers.append((b"x-should-retry", b"true" if self.retry else b"false"))
        if self.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after_s))
        if self.status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="weir"'))
        return headers

    def as_sse(self) -> bytes:
        """The same error as a server-sent event, for a stream that has already begun."""
        return b"event: error\ndata: " + self.body() + b"\n\n"


def bad_request(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    return ApiError(400, code, message, param)


def unauthorized() -> ApiError:
    """One message for every wrong key, so that it tells nothing about the keys there are."""
    return ApiError(
        401,
        "invalid_api_key",
        "Incorrect API key provided. Send a Weir key as `Authorization: Bearer sk-weir-...`; "
        "`weir keys create` makes one.",
        kind="invalid_request_error",
        retry=False,
    )


def admin_key_required() -> ApiError:
    """A key that is valid, and not enough."""
    return ApiError(
        403,
        "admin_key_required",
        "This key does not open the admin API; `weir keys create --role admin` makes one that "
        "does.",
        kind="permission_error",
        retry=False,
    )


def not_found(method: str, path: str) -> ApiError:
    why = "See docs/api.md for the routes."
    if path.startswith("/v1/uploads"):
        why = "Send the file in one piece to /v1/files."
    elif path.startswith("/v1/messages/batches"):
        why = "Anthropic's batches are not served; those of /v1/batches are."
    return ApiError(404, "unknown_url", f"Unknown request URL: {method} {path}. {why}")


def method_not_allowed(method: str, path: str, allow: str = "") -> ApiError:
    """`allow` lists the methods that are, as the header has them; without it there is none."""
    return ApiError(
        405,
        "method_not_allowed",
        f"{method} is not allowed on {path}" + (f"; allowed: {allow}." if allow else "."),
        extra=((b"allow", allow.encode()),) if allow else (),
    )


def websocket_unsupported() -> ApiError:
    """426: clients that try a WebSocket first go on over plain HTTP at once."""
    return ApiError(
        426,
        "websocket_unsupported",
        "This gateway answers over HTTP and has no WebSockets; send a POST and stream the answer.",
        retry=False,
        extra=((b"upgrade", b"HTTP/1.1"),),
    )


def model_not_found(name: str) -> ApiError:
    return ApiError(404, "model_not_found", f"No model is called {name[:100]!r}.", "model")


def body_too_large(limit_bytes: int) -> ApiError:
    return ApiError(
        413,
        "request_too_large",
        f"The request body is larger than {limit_bytes} bytes (server.max_body_bytes).",
        "body",
        retry=False,
    )


def body_too_slow(limit_s: float) -> ApiError:
    return ApiError(
        408,
        "request_timeout",
        f"The request body was not whole within {limit_s:g} s (server.body_timeout_s).",
        "body",
    )


def _when_again(window: AnyWindow, resets_at: str | None) -> str:
    if isinstance(window, RollingWindow):
        return f"Enough is free again at {resets_at}." if resets_at else "The limit is too low."
    return f"It resets at {resets_at}." if resets_at else "It does not reset."


def _amounts(refusal: Refusal) -> dict[str, int]:
    left = max(0, refusal.limit_nano - refusal.spent_nano - refusal.held_nano)
    return {
        "limit": refusal.limit_nano,
        "spent": refusal.spent_nano,
        "held": refusal.held_nano,
        "remaining": left,
        "needed": refusal.needed_nano,
    }


def _told(amounts: Mapping[str, int], unit: Unit) -> dict[str, object]:
    """Amounts as fields of an error: `limit_usd` and so on, or `limit_tokens`."""
    told = {f"{name}_{unit.value}": as_json(amount, unit) for name, amount in amounts.items()}
    return {"unit": unit.value, **told}


def _verb(amount: int, unit: Unit) -> str:
    return "is" if unit is Unit.USD or amount == 1 else "are"


def _takes(unit: Unit) -> str:
    return "cost" if unit is Unit.USD else "take"


def budget_exceeded(refusal: Refusal, budget: Budget | None = None) -> ApiError:
    """402: the budget named cannot bear the most this request may cost or take.

    `budget` tells where it refuses from a share of its limit on; the limit refused is that share.
    """
    resets_at = None
    if refusal.resets_at_s is not None:
        resets_at = datetime.fromtimestamp(refusal.resets_at_s, UTC).isoformat()
    amounts, unit = _amounts(refusal), refusal.unit
    refuse_at, lowered = 1.0, ""
    if budget is not None and budget.refuse_permille < FULL_PERMILLE:
        amounts["limit"], refuse_at = budget.limit_nano, budget.refuse_permille / FULL_PERMILLE
        beyond = in_words(refusal.limit_nano, unit)
        lowered = f" and refuses beyond {refuse_at * 100:g} % of it, {beyond}"
    words = {name: in_words(amount, unit) for name, amount in amounts.items()}
    message = (
        f"Budget exceeded: {refusal.scope} has a limit of {words['limit']} "
        f"({refusal.window}){lowered}, of which {words['spent']} {_verb(amounts['spent'], unit)} "
        f"spent and {words['held']} held by requests in flight; this request may {_takes(unit)} "
        f"{words['needed']}. " + _when_again(refusal.window, resets_at)
    )
    if unit is not Unit.REQUESTS:
        message += f" A smaller max_tokens lowers what a request may {_takes(unit)}."
    return ApiError(
        402,
        "budget_exceeded",
        message,
        kind="insufficient_quota",
        retry=False,
        details={
            "scope": refusal.scope,
            "window": refusal.window.value,
            **_told(amounts, unit),
            "refuse_at": refuse_at,
            "resets_at": resets_at,
        },
        extra=(
            (b"x-weir-budget", f"{refusal.scope}/{window_label(refusal.window, unit)}".encode()),
            (b"x-weir-budget-unit", unit.value.encode()),
        ),
    )


def budget_busy(held: Refusal | Charge, retry_after_s: int) -> ApiError:
    """429: the budget's headroom is held by requests in flight, and may come back.

    A charge instead of a refusal: others wait for its budget, so it was not even asked.
    """
    details: dict[str, object] = {"scope": held.scope, "window": held.window.value}
    why = "others wait for it already"
    if isinstance(held, Refusal):
        amounts, unit = _amounts(held), held.unit
        details |= _told(amounts, unit)
        words = {name: in_words(amount, unit) for name, amount in amounts.items()}
        why = (
            f"of {words['limit']} are {words['spent']} spent and {words['held']} held, and this "
            f"request may {_takes(unit)} {words['needed']}"
        )
    return ApiError(
        429,
        "budget_busy",
        f"Budget busy: what {held.scope} ({held.window}) has left is held by requests in flight; "
        f"{why}. Try again in {retry_after_s} s. A smaller max_tokens holds less.",
        kind="rate_limit_error",
        retry=True,
        retry_after_s=retry_after_s,
        details=details,
    )


def run_killed(kill: Kill) -> ApiError:
    """402: a budget has ended the run of this request for good."""
    share = kill.permille / FULL_PERMILLE
    return ApiError(
        402,
        "run_killed",
        f"Run {kill.run} was killed: budget {kill.budget} ends a run whose request finds "
        f"{share * 100:g} % of its limit spent. No further request of this run is answered.",
        kind="insufficient_quota",
        retry=False,
        details={"run": kill.run, "budget": kill.budget, "kill_at": share},
    )


_NO_ROUTE: Mapping[NoRouteCode, tuple[int, str]] = {
    NoRouteCode.UNKNOWN_MODEL: (404, "model_not_found"),
    NoRouteCode.UNKNOWN_POLICY: (404, "policy_not_found"),
    NoRouteCode.CONTEXT_EXCEEDED: (400, "context_length_exceeded"),
    NoRouteCode.CAPABILITY_MISSING: (400, "capability_missing"),
    NoRouteCode.DIALECT: (400, "dialect_unsupported"),
    NoRouteCode.PRICE_UNKNOWN: (400, "price_unknown"),
    NoRouteCode.NO_CANDIDATE: (400, "no_candidate"),
    NoRouteCode.PROVIDER_DOWN: (503, "provider_down"),
}


def no_route(dead_end: NoRoute) -> ApiError:
    """No model can take the request; the message says why, and what could."""
    status, code = _NO_ROUTE[dead_end.code]
    kind = "invalid_request_error" if status < 500 else "server_error"
    return ApiError(status, code, dead_end.message, "model", kind)


def gateway_stopping() -> ApiError:
    """The process ends, and the request was not over in the time it was given."""
    return ApiError(
        503,
        "gateway_stopping",
        "The gateway is stopping, and the request did not end in the time for it (server.drain_s).",
        kind="server_error",
        retry=True,
    )


def stream_cut(reserved_nano: int) -> ApiError:
    """Sent inside a stream that reached the amount reserved for it."""
    return ApiError(
        402,
        "budget_exceeded",
        f"The answer was cut: it reached the ${format_usd(reserved_nano)} reserved for it.",
        kind="insufficient_quota",
        retry=False,
        details={"reserved_usd": format_usd(reserved_nano)},
    )


def ledger_unavailable() -> ApiError:
    return ApiError(
        503,
        "ledger_unavailable",
        "The budget ledger could not be written. Nothing is sent to a provider before it can.",
        kind="server_error",
        retry=True,
        retry_after_s=1,
    )


def registry_unavailable() -> ApiError:
    return ApiError(
        503,
        "registry_unavailable",
        "API keys and budgets could not be read or written; the gateway's log says why.",
        kind="server_error",
        retry=True,
        retry_after_s=1,
    )


def control_plane_elsewhere() -> ApiError:
    return ApiError(
        503,
        "control_plane_elsewhere",
        "This gateway only answers requests: admin API and dashboard are at the collector. Ask it "
        "there, or set server.control_url to its address and they are forwarded.",
        kind="server_error",
        retry=False,
    )


def control_plane_unreachable() -> ApiError:
    return ApiError(
        503,
        "control_plane_unreachable",
        "Admin API and dashboard are at the collector, which does not answer. Requests of clients "
        "are answered meanwhile.",
        kind="server_error",
        retry=True,
        retry_after_s=1,
    )


def answered_elsewhere() -> ApiError:
    return ApiError(
        404,
        "answered_elsewhere",
        "This is the collector: it keeps the books, answers no completions and opens no runs. "
        "Ask a gateway.",
        retry=False,
    )


def overloaded(limit: int) -> ApiError:
    return ApiError(
        503,
        "overloaded",
        f"{limit} requests are under way, which is all this gateway takes at once "
        "(server.max_concurrent_requests).",
        kind="server_error",
        retry=True,
        retry_after_s=1,
    )


def internal_error(request_id: str) -> ApiError:
    return ApiError(
        500,
        "internal_error",
        f"The gateway failed on request {request_id}; its log says why.",
        kind="server_error",
    )
