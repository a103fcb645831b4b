"""The data plane as raw ASGI: answers, model names, health, metrics. The rest is passed on."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import orjson

from gateway.auth import Principal
from gateway.dialects.anthropic_style import ANTHROPIC
from gateway.dialects.index import BY_ROUTE
from gateway.dialects.openai_style import OPENAI
from gateway.dialects.port import Dialect, Voice
from gateway.errors import ApiError, method_not_allowed, not_found, websocket_unsupported
from gateway.providers.port import RawHeaders
from gateway.response import Receive, Scope, Send, send_error, send_whole
from gateway.routes.batches import CANCEL, BatchRoutes
from gateway.routes.batches import PATH as BATCHES
from gateway.routes.files import CONTENT, FileRoutes
from gateway.routes.files import PATH as FILES
from gateway.routes.models import PATH as MODELS
from gateway.routes.models import ModelList
from gateway.routes.runs import PATH as RUNS
from gateway.routes.runs import RunRoutes
from routing.catalog import Catalog

# Things of which there are many, by any id, and those that can be asked for something further.
_OF_MANY = (MODELS, RUNS)
_WITH_PARTS = (FILES, BATCHES)
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
Answerer = Callable[[Dialect, Scope, Receive, Send], Awaitable[None]]
Readiness = Callable[[], Awaitable[tuple[bool, Mapping[str, object]]]]
JSON = (b"content-type", b"application/json")
VERSION_OF_ANTHROPIC = b"anthropic-version"


@dataclass(frozen=True, slots=True)
class Things:
    """The routes of what is opened, kept and asked for by its id."""

    runs: RunRoutes
    files: FileRoutes
    batches: BatchRoutes


class DataPlane:
    """Sends each request to its handler; what no route here knows goes to `control_plane`.

    HEAD is GET without the body, which the server leaves out. OPTIONS says what a route takes, and
    allows no other origin anything.
    """

    def __init__(
        self,
        *,
        answer: Answerer,
        control_plane: Handler,
        authenticate: Callable[[RawHeaders], Principal | None],
        denial: Callable[[RawHeaders], ApiError],
        things: Things,
        catalog: Catalog,
        readiness: Readiness,
        metrics: Handler | None,
    ) -> None:
        """`answer` serves every dialect's route. Without `metrics` there is no such route."""
        self._control_plane = control_plane
        self._authenticate = authenticate
        self._denial = denial
        self._models_known = ModelList(catalog)
        self._readiness = readiness
        runs, files, batches = things.runs, things.files, things.batches
        answers = {route: {"POST": partial(answer, dialect)} for route, dialect in BY_ROUTE.items()}
        self.routes: Mapping[str, Mapping[str, Handler]] = {
            **answers,
            MODELS: {"GET": self._models},
            f"{MODELS}/{{id}}": {"GET": self._model},
            RUNS: {"POST": runs.open},
            f"{RUNS}/{{id}}": {"GET": runs.show},
            FILES: {"GET": files.list, "POST": files.create},
            f"{FILES}/{{id}}": {"GET": files.show, "DELETE": files.delete},
            f"{FILES}/{{id}}{CONTENT}": {"GET": files.content},
            BATCHES: {"GET": batches.list, "POST": batches.create},
            f"{BATCHES}/{{id}}": {"GET": batches.show},
            f"{BATCHES}/{{id}}{CANCEL}": {"POST": batches.cancel},
            "/healthz": {"GET": self._alive},
            "/health": {"GET": self._alive},
            "/readyz": {"GET": self._ready},
            "/": {"GET": self._alive},
            **({} if metrics is None else {"/metrics": {"GET": metrics}}),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        path = scope["path"]
        methods = self.routes.get(path) or self._one_of(path)
        if methods is not None:
            method = scope["method"]
            handler = methods.get("GET" if method == "HEAD" else method)
            if handler is not None:
                await handler(scope, receive, send)
            elif method == "OPTIONS":
                await _send_options(send, methods)
            else:
                await send_error(send, _why_not(scope, methods), voice=_voice(scope))
        elif path.startswith("/v1/"):
            await send_error(send, not_found(scope["method"], path), voice=_voice(scope))
        else:
            await self._control_plane(scope, receive, send)

    def _one_of(self, path: str) -> Mapping[str, Handler] | None:
        """The handlers for one of many things of a kind, whose path ends with its id."""
        for kind in _OF_MANY:
            if path.startswith(f"{kind}/"):
                return self.routes[f"{kind}/{{id}}"]
        for kind in _WITH_PARTS:
            if path.startswith(f"{kind}/"):
                _, slash, rest = path[len(kind) + 1 :].partition("/")
                return self.routes.get(f"{kind}/{{id}}{slash}{rest}")
        return None

    async def _models(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every name a client may send as `model`, in the list shape of the caller's dialect."""
        await self._list(scope, send, None)

    async def _model(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One of them."""
        await self._list(scope, send, scope["path"][len(MODELS) + 1 :])

    async def _list(self, scope: Scope, send: Send, name: str | None) -> None:
        voice, known = _voice(scope), self._models_known
        try:
            if self._authenticate(scope["headers"]) is None:
                raise self._denial(scope["headers"])
            if voice is ANTHROPIC:
                query = scope.get("query_string", b"")
                body = known.anthropic(query) if name is None else known.anthropic_model(name)
            else:
                body = known.openai() if name is None else known.openai_model(name)
        except ApiError as error:
            await send_error(send, error, voice=voice)
            return
        await _send_json(send, 200, body)

    async def _alive(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _send_json(send, 200, {"status": "ok"})

    async def _ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        ready, details = await self._readiness()
        await _send_json(send, 200 if ready else 503, {"ready": ready, **details})


def _voice(scope: Scope) -> Voice:
    """How the caller reads errors: by the route's dialect, or else by its headers."""
    dialect = BY_ROUTE.get(scope["path"])
    if dialect is not None:
        return dialect
    speaks_anthropic = any(name == VERSION_OF_ANTHROPIC for name, _ in scope["headers"])
    return ANTHROPIC if speaks_anthropic else OPENAI


def _why_not(scope: Scope, methods: Iterable[str]) -> ApiError:
    """A route without this method; a WebSocket begins as a GET."""
    for name, content in scope["headers"]:
        if name == b"upgrade" and content.lower() == b"websocket":
            return websocket_unsupported()
    return method_not_allowed(scope["method"], scope["path"], _allow(methods))


def _allow(methods: Iterable[str]) -> str:
    """The header `Allow` of a route with these methods."""
    every = [name for one in methods for name in ((one, "HEAD") if one == "GET" else (one,))]
    return ", ".join([*every, "OPTIONS"])


async def _send_options(send: Send, methods: Iterable[str]) -> None:
    headers = [(b"allow", _allow(methods).encode())]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _send_json(send: Send, status: int, body: Mapping[str, object]) -> None:
    await send_whole(send, status, [JSON], orjson.dumps(body))
