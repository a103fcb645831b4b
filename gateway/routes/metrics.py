"""`GET /metrics` for Prometheus, with an admin key unless it is open."""

from collections.abc import Awaitable, Callable
from typing import Literal

from gateway.auth import Principal, Role
from gateway.errors import admin_key_required, unauthorized
from gateway.metrics import Reading
from gateway.providers.port import RawHeaders
from gateway.response import Receive, Scope, Send, send_error, send_whole

Access = Literal["key", "open", "off"]
Authenticate = Callable[[RawHeaders], Principal | None]


class MetricsRoute:
    """One scrape: who may, what is read, and the format that was asked for."""

    def __init__(
        self, access: Access, authenticate: Authenticate, read: Callable[[], Awaitable[Reading]]
    ) -> None:
        self._access = access
        self._authenticate = authenticate
        self._read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        # Loaded with the first scrape: most gateways are started, tried out and never scraped.
        from gateway.metrics_text import metrics_text  # noqa: PLC0415

        headers: RawHeaders = scope["headers"]
        if self._access == "key":
            principal = self._authenticate(headers)
            if principal is None:
                await send_error(send, unauthorized())
                return
            if principal.role is not Role.ADMIN:
                await send_error(send, admin_key_required())
                return
        accept = dict(headers).get(b"accept", b"").decode("latin-1")
        body, content_type = metrics_text(await self._read(), accept)
        await send_whole(send, 200, [(b"content-type", content_type.encode())], body)
