"""A provider that is an API over HTTP: OpenAI, Anthropic, and the many that follow them.

They differ in how one signs in, in headers and in the path; what passes is bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import orjson

from gateway.errors import ApiError
from gateway.forms import read_form
from gateway.providers.http_client import BaseUrl, HttpClient
from gateway.providers.port import UpstreamCall, UpstreamReply

# Headers of a call that are this side's business; a caller's own never reach the provider.
OWN_HEADERS = frozenset(
    {
        b"accept-encoding",
        b"authorization",
        b"connection",
        b"content-length",
        b"cookie",
        b"host",
        b"keep-alive",
        b"openai-organization",
        b"openai-project",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"user-agent",
        b"x-api-key",
    }
)
USER_AGENT = b"weir-gateway"


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where the provider is and how to sign in. The key does not appear in any repr.

    `default_headers` go along where the call has none of the name. `query` ends every path.
    With `deployments` the model of a call is part of its path. `rewrite` turns a body into one that
    the provider takes.
    """

    base_url: BaseUrl
    api_key: str | None = field(default=None, repr=False)
    api_key_header: str = "authorization"
    organization: str | None = None
    project: str | None = None
    extra_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    key_required: bool = False
    default_headers: tuple[tuple[bytes, bytes], ...] = ()
    query: str = ""
    deployments: bool = False
    rewrite: Callable[[bytes], bytes] | None = None


class HttpProvider:
    """Sends calls to an API over HTTP (`Provider`)."""

    def __init__(self, name: str, settings: HttpSettings, client: HttpClient) -> None:
        self._name = name
        self._settings = settings
        self._client = client
        self._base_path = settings.base_url.path.encode()
        self._headers = _constant_headers(settings)
        self._own = OWN_HEADERS | {header for header, _ in self._headers}
        self._defaults = (*settings.default_headers, (b"content-type", b"application/json"))
        self._running = False

    def __repr__(self) -> str:
        base_url = self._settings.base_url
        return f"HttpProvider({self._name!r}, '{base_url.origin}{base_url.path}')"

    @property
    def name(self) -> str:
        return self._name

    @property
    def ready(self) -> bool:
        """Started, and in possession of its key where it needs one."""
        missing = self._settings.key_required and self._settings.api_key is None
        return self._running and not missing

    async def start(self) -> None:
        self._running = True

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        """Send the call and wait for the response's head; raise UpstreamError."""
        own = self._own
        headers = self._headers
        said = set()
        for header in call.headers:
            name = header[0].lower()
            if name not in own:
                headers = (*headers, header)
                said.add(name)
        for header in self._defaults if call.body else self._settings.default_headers:
            if header[0] not in said:
                headers = (*headers, header)
        rewrite = self._settings.rewrite
        body = call.body if rewrite is None else rewrite(call.body)
        target = self._target(call)
        return await self._client.request(call.method, target, headers, body, call.timeouts)

    async def stop(self) -> None:
        self._running = False
        await self._client.aclose()

    def _target(self, call: UpstreamCall) -> bytes:
        settings = self._settings
        path = call.path
        if settings.deployments:
            path = f"/deployments/{_model_of(call.body)}{path}"
        if settings.query:
            path += ("&" if "?" in path else "?") + settings.query
        return self._base_path + path.encode()


def _model_of(body: bytes) -> str:
    """The model that a request names, as a part of a path; `none` for what is no request."""
    try:
        found: object = read_form(body) if body.startswith(b"--") else orjson.loads(body)
    except (orjson.JSONDecodeError, ApiError):
        return "none"
    model = found.get("model") if isinstance(found, dict) else None
    return quote(str(model), safe="") if model else "none"


def _constant_headers(settings: HttpSettings) -> tuple[tuple[bytes, bytes], ...]:
    headers = {"user-agent": USER_AGENT.decode()}
    if settings.api_key is not None:
        name = settings.api_key_header.lower()
        bearer = name == "authorization"
        headers[name] = f"Bearer {settings.api_key}" if bearer else settings.api_key
    if settings.organization is not None:
        headers["openai-organization"] = settings.organization
    if settings.project is not None:
        headers["openai-project"] = settings.project
    for name, value in settings.extra_headers:
        headers[name.lower()] = value
    return tuple((name.encode(), value.encode("latin-1")) for name, value in headers.items())
