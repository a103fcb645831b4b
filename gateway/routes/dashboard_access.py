"""Who may see the dashboard: the admin key once, then a session cookie that only the browser holds.

Every wrong key counts against one limit of the process, at the login and as a bearer token alike;
while it is reached no key is looked at, so waiting is the only way on.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from fastapi import Request, Response

from dashboards.sessions import SESSION_TTL_S, FailureLimiter, SessionStore

COOKIE = "weir_dashboard"
COOKIE_PATH = "/dashboard"
MAX_FORM_BYTES = 4_096
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a key or a form was not accepted: HTTP status, what to say, seconds to wait if any."""

    status: int
    message: str
    retry_after_s: int = 0


WRONG_KEY = Denied(401, "That is not an admin key of this gateway.")
LOGIN_NEEDED = Denied(401, "Log in at /dashboard/login, or send the admin key as a bearer token.")
FOREIGN_FORM = Denied(403, "This form was not sent by a page of this gateway.")
FORM_TOO_LARGE = Denied(413, "The form is larger than a key can be.")


class Gate:
    """Sessions, wrong keys and the checks of a request; one for each process."""

    __slots__ = ("_base_url", "_check_admin", "_clock_s", "_failures", "_sessions")

    def __init__(
        self,
        check_admin: Callable[[str], bool],
        base_url: str,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._check_admin = check_admin
        self._base_url = base_url
        self._clock_s = clock_s
        self._sessions = SessionStore()
        self._failures = FailureLimiter()

    def _denied_key(self, key: str) -> Denied | None:
        wait_s = self._failures.retry_after_s(self._clock_s())
        if wait_s > 0:
            seconds = math.ceil(wait_s)
            return Denied(429, f"Too many wrong keys. Try again in {seconds} s.", seconds)
        if self._check_admin(key):
            return None
        self._failures.record(self._clock_s())
        return WRONG_KEY

    def has_session(self, request: Request) -> bool:
        """True with the cookie of an open session."""
        token = request.cookies.get(COOKIE, "")
        return bool(token) and self._sessions.holds(token, self._clock_s())

    def denied_data(self, request: Request) -> Denied | None:
        """None for an admin by cookie or bearer token, otherwise the reason."""
        if self.has_session(request):
            return None
        authorization = request.headers.get("authorization", "")
        if not authorization.lower().startswith(_BEARER):
            return LOGIN_NEEDED
        return self._denied_key(authorization[len(_BEARER) :].strip())

    def foreign(self, request: Request) -> bool:
        """True unless the browser says that one of our own pages sent this form."""
        origin = request.headers.get("origin", "")
        sent_from = urlsplit(origin)
        if sent_from.scheme not in ("http", "https") or not sent_from.netloc:
            return True
        base = urlsplit(self._base_url)
        ours = {request.headers.get("host", "").lower(), base.netloc.lower()}
        return sent_from.netloc.lower() not in ours

    async def key_in_form(self, request: Request) -> str | Denied:
        """The field `key` of the login form, at most 4 KiB; Denied for a form that is not ours."""
        if self.foreign(request):
            return FOREIGN_FORM
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                return FORM_TOO_LARGE
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
        return fields.get("key", [""])[0].strip()

    def log_in(self, key: str, request: Request, response: Response) -> Denied | None:
        """Open a session and set its cookie on `response`; Denied for a wrong key."""
        denied = self._denied_key(key)
        if denied is not None:
            return denied
        response.set_cookie(
            COOKIE,
            self._sessions.open(self._clock_s()),
            max_age=SESSION_TTL_S,
            path=COOKIE_PATH,
            secure=self._is_https(request),
            httponly=True,
            samesite="strict",
        )
        return None

    def log_out(self, request: Request, response: Response) -> None:
        """End the session and take the cookie back."""
        self._sessions.close(request.cookies.get(COOKIE, ""))
        response.delete_cookie(
            COOKIE,
            path=COOKIE_PATH,
            secure=self._is_https(request),
            httponly=True,
            samesite="strict",
        )

    def _is_https(self, request: Request) -> bool:
        return "https" in (request.url.scheme, urlsplit(self._base_url).scheme)
