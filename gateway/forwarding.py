"""The control plane of a process that has none: its requests go to the process that has it.

`ControlForward` stands where they arrive, `ControlDoor` where they are answered. The two know each
other by a key that is derived from the installation's secret. With it the door also lends local
models to worker processes.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping

import orjson

from gateway.control_plane import PREFIXES
from gateway.errors import (
    JSON_TYPE,
    ApiError,
    control_plane_elsewhere,
    control_plane_unreachable,
    method_not_allowed,
    not_found,
)
from gateway.providers.borrowed_model import INTERNAL_KEY, MODELS_PATH
from gateway.providers.http_client import BaseUrl, HttpClient
from gateway.providers.local_model import Endpoint, LocalModelProvider
from gateway.providers.port import Provider, RawHeaders, Timeouts, UpstreamError, UpstreamReply
from gateway.response import (
    ClientGone,
    Receive,
    Scope,
    Send,
    end_stream,
    read_body,
    send_error,
    send_part,
    send_whole,
    start_stream,
)
from gateway.translated import bare

HOST_HEADER = b"x-weir-host"
# An audit of a large ledger takes minutes.
PATIENCE = Timeouts(connect_s=5.0, first_byte_s=300.0, idle_s=60.0, total_s=600.0)
OF_ONE_CONNECTION = frozenset(
    {
        b"connection",
        b"date",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"server",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
OURS = frozenset({b"host", b"content-length", b"accept-encoding", HOST_HEADER, INTERNAL_KEY})


class ControlForward:
    """The ASGI application under `/admin` and `/dashboard` of a process without a control plane."""

    def __init__(
        self, client: HttpClient | None, base: BaseUrl | None, internal_key: str, body_bytes: int
    ) -> None:
        """Send to `base` over `client`; without them say where to ask."""
        self._client = client
        self._path = b"" if base is None else base.path.encode()
        self._internal_key = internal_key.encode()
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        if scope["path"].startswith(PREFIXES):
            await self.forward(scope, receive, send)
        else:
            await send_error(send, not_found(scope["method"], scope["path"]))

    async def forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request, whatever its path."""
        if self._client is None:
            await send_error(send, control_plane_elsewhere())
        elif scope["method"] == "HEAD":
            await send_error(send, method_not_allowed("HEAD", scope["path"], "GET"))
        else:
            await self._ask(self._client, scope, receive, send)

    async def _ask(self, client: HttpClient, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(scope, receive, self._body_bytes)
            reply = await client.request(
                scope["method"].encode(),
                self._target(scope),
                self._headers(scope["headers"]),
                body,
                PATIENCE,
            )
        except ClientGone:
            return
        except ApiError as error:
            await send_error(send, error)
        except UpstreamError:
            await send_error(send, control_plane_unreachable())
        else:
            await _relay(reply, send)

    def _target(self, scope: Scope) -> bytes:
        query = scope["query_string"]
        target: bytes = self._path + scope["raw_path"]
        return target + b"?" + query if query else target

    def _headers(self, headers: RawHeaders) -> list[tuple[bytes, bytes]]:
        passed = [
            pair for pair in headers if pair[0] not in OF_ONE_CONNECTION and pair[0] not in OURS
        ]
        host = next((value for name, value in headers if name == b"host"), b"")
        return [*passed, (HOST_HEADER, host), (INTERNAL_KEY, self._internal_key)]


async def _relay(reply: UpstreamReply, send: Send) -> None:
    try:
        headers = [pair for pair in reply.headers if pair[0] not in OF_ONE_CONNECTION]
        await start_stream(send, reply.status, headers)
        while part := await reply.read_some():
            await send_part(send, part)
        await end_stream(send, b"")
    except UpstreamError:
        return  # an answer without its end: the client sees that it is not whole
    finally:
        reply.close()


class ControlDoor:
    """In front of a control plane that other processes forward to.

    A forwarded request gets back the host its client asked, by which pages know their own forms.
    """

    def __init__(
        self, control_plane: Handler, internal_key: str, models: Mapping[str, Provider]
    ) -> None:
        self._control_plane = control_plane
        self._internal_key = internal_key.encode()
        self._models = models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        headers = dict(scope["headers"])
        if hmac.compare_digest(headers.get(INTERNAL_KEY, b""), self._internal_key):
            if scope["path"].startswith(MODELS_PATH):
                await self._lend(scope, send)
                return
            host = headers.get(HOST_HEADER, b"")
            kept = [pair for pair in scope["headers"] if pair[0] not in (b"host", HOST_HEADER)]
            scope = {**scope, "headers": [*kept, (b"host", host)]}
        await self._control_plane(scope, receive, send)

    async def _lend(self, scope: Scope, send: Send) -> None:
        """Where a local model answers, or 503 with the reason why it does not."""
        model = bare(self._models.get(scope["path"].removeprefix(MODELS_PATH)))
        lent = "no such local model"
        if isinstance(model, LocalModelProvider):
            found = await model.lend()
            if isinstance(found, Endpoint):
                answer = {"base_url": found.base_url, "api_key": found.api_key}
                await send_whole(send, 200, [JSON_TYPE], orjson.dumps(answer))
                return
            lent = found
        await send_whole(send, 503, [JSON_TYPE], orjson.dumps({"reason": lent}))
