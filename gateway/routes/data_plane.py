"""The data plane as raw ASGI: answers, model names, health, metrics. The rest is passed on."""

from collections.abc import Awaitable, Callable, Mapping

import orjson

from gateway.auth import Principal
from gateway.errors import ApiError, method_not_allowed, not_found
from gateway.response import RawHeaders, Receive, Scope, Send, send_error, send_whole
from gateway.routes.runs import PATH as RUNS_PATH
from gateway.routes.runs import RunRoutes
from routing.catalog import Catalog

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
Readiness = Callable[[], Awaitable[tuple[bool, Mapping[str, object]]]]
JSON = (b"content-type", b"application/json")


class DataPlane:
    """Sends each request to its handler; what no route here knows goes to `control_plane`."""

    def __init__(
        self,
        *,
        chat_completions: Handler,
        control_plane: Handler,
        authenticate: Callable[[RawHeaders], Principal | None],
        denial: Callable[[RawHeaders], ApiError],
        runs: RunRoutes,
        catalog: Catalog,
        readiness: Readiness,
        metrics: Handler | None,
    ) -> None:
        """Without `metrics` there is no such route."""
        self._control_plane = control_plane
        self._authenticate = authenticate
        self._denial = denial
        self._one_run: Mapping[str, Handler] = {"GET": runs.show}
        self._catalog = catalog
        self._readiness = readiness
        self._routes: Mapping[str, Mapping[str, Handler]] = {
            "/v1/chat/completions": {"POST": chat_completions},
            "/v1/models": {"GET": self._models},
            RUNS_PATH: {"POST": runs.open},
            "/healthz": {"GET": self._alive, "HEAD": self._alive},
            "/health": {"GET": self._alive, "HEAD": self._alive},
            "/readyz": {"GET": self._ready, "HEAD": self._ready},
            "/": {"HEAD": self._alive, "GET": self._alive},
            **({} if metrics is None else {"/metrics": {"GET": metrics}}),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        path = scope["path"]
        methods = self._routes.get(path)
        if methods is None and path.startswith(f"{RUNS_PATH}/"):
            methods = self._one_run
        if methods is not None:
            handler = methods.get(scope["method"])
            if handler is None:
                await send_error(send, method_not_allowed(scope["method"], path))
                return
            await handler(scope, receive, send)
        elif path.startswith("/v1/"):
            await send_error(send, not_found(scope["method"], path))
        else:
            await self._control_plane(scope, receive, send)

    async def _models(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every name a client may send as `model`, in OpenAI's list shape."""
        if self._authenticate(scope["headers"]) is None:
            await send_error(send, self._denial(scope["headers"]))
            return
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": owner}
            for name, owner in self._catalog.names()
        ]
        await _send_json(send, 200, {"object": "list", "data": models})

    async def _alive(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _send_json(send, 200, {"status": "ok"})

    async def _ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        ready, details = await self._readiness()
        await _send_json(send, 200 if ready else 503, {"ready": ready, **details})


async def _send_json(send: Send, status: int, body: Mapping[str, object]) -> None:
    await send_whole(send, status, [JSON], orjson.dumps(body))
