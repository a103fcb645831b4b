"""Who is logged in to the dashboard and how often a key was wrong. Pure: time is handed in."""

import hashlib
import secrets
from collections import OrderedDict, deque

SESSION_TTL_S = 12 * 3600
MAX_SESSIONS = 1_000
MAX_FAILURES = 10
FAILURE_WINDOW_S = 60


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class SessionStore:
    """At most `capacity` sessions in memory, each for `ttl_s`; the oldest makes room.

    Only the hash of a token is kept, so a look-up takes no time that depends on a secret.
    """

    __slots__ = ("_capacity", "_expiry_by_digest", "_ttl_s")

    def __init__(self, capacity: int = MAX_SESSIONS, ttl_s: int = SESSION_TTL_S) -> None:
        self._capacity = capacity
        self._ttl_s = ttl_s
        self._expiry_by_digest: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._expiry_by_digest)

    def open(self, now_s: float) -> str:
        """Start a session and return its token: 256 random bits."""
        while len(self._expiry_by_digest) >= self._capacity:
            self._expiry_by_digest.popitem(last=False)
        token = secrets.token_urlsafe(32)
        self._expiry_by_digest[_digest(token)] = now_s + self._ttl_s
        return token

    def holds(self, token: str, now_s: float) -> bool:
        """True while the token's session is open and not expired."""
        digest = _digest(token)
        expiry_s = self._expiry_by_digest.get(digest)
        if expiry_s is None:
            return False
        if expiry_s <= now_s:
            del self._expiry_by_digest[digest]
            return False
        return True

    def close(self, token: str) -> None:
        """End the session, if there is one."""
        self._expiry_by_digest.pop(_digest(token), None)


class FailureLimiter:
    """Lets `limit` wrong keys through in any `window_s`, whoever sends them."""

    __slots__ = ("_failed_at_s", "_limit", "_window_s")

    def __init__(self, limit: int = MAX_FAILURES, window_s: float = FAILURE_WINDOW_S) -> None:
        self._limit = limit
        self._window_s = window_s
        self._failed_at_s: deque[float] = deque(maxlen=limit)

    def retry_after_s(self, now_s: float) -> float:
        """Seconds until another key may be tried; 0 when it may be tried now."""
        while self._failed_at_s and self._failed_at_s[0] <= now_s - self._window_s:
            self._failed_at_s.popleft()
        if len(self._failed_at_s) < self._limit:
            return 0.0
        return self._failed_at_s[0] + self._window_s - now_s

    def record(self, now_s: float) -> None:
        """Count one wrong key."""
        self._failed_at_s.append(now_s)
