"""Admin API and dashboard beside the data plane, loaded at their first request.

FastAPI, Jinja and the figures cost memory and start-up time that answering requests does not need.
"""

from collections.abc import Awaitable, Callable

from gateway.control_services import ControlServices
from gateway.errors import not_found
from gateway.response import Receive, Scope, Send, send_error

PREFIXES = ("/admin", "/dashboard")


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
