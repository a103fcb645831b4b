"""Admin API and dashboard beside the data plane, loaded at their first request.

FastAPI, Jinja and the figures cost memory and start-up time that answering requests does not need.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.auth import Role
from gateway.errors import not_found
from gateway.key_registry import KeyRegistry
from gateway.response import Receive, Scope, Send, send_error

JsonObject = Mapping[str, Any]
PREFIXES = ("/admin", "/dashboard")


@dataclass(frozen=True, slots=True)
class ControlServices:
    """What admin API and dashboard ask of the gateway."""

    registry: KeyRegistry
    policies: frozenset[str]
    tiers: tuple[str, ...]
    stand_ins: tuple[str, ...]
    base_url: str
    run_query: Callable[[str, dict[str, Any]], Awaitable[list[dict[str, Any]]]]
    find_request: Callable[[str], Awaitable[JsonObject | None]]
    audit: Callable[[], Awaitable[JsonObject]]
    budgets: Callable[[], Awaitable[list[dict[str, Any]]]]
    status: Callable[[], dict[str, Any]]
    now_ms: Callable[[], int]

    def is_admin(self, key: str) -> bool:
        """Whether a text is an admin key; compared in constant time."""
        principal = self.registry.find(key.encode())
        return principal is not None and principal.role is Role.ADMIN

    def freshness(self) -> JsonObject:
        """How far DuckDB is behind the ledger."""
        collector = self.status()["collector"]
        return {
            "lag_rows": collector["waiting_rows"],
            "last_batch_ms": collector["last_batch_ms"],
        }


class ControlPlane:
    """The ASGI application under `/admin` and `/dashboard`; other paths answer 404."""

    def __init__(self, services: ControlServices) -> None:
        self._services = services
        self._application: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        path: str = scope["path"]
        if not path.startswith(PREFIXES):
            await send_error(send, not_found(scope["method"], path))
            return
        if self._application is None:
            # Imported here because most gateways answer many requests before anybody looks.
            from gateway.control_app import build_control_app  # noqa: PLC0415

            self._application = build_control_app(self._services)
        await self._application(scope, receive, send)
