"""A provider that speaks the OpenAI protocol over HTTP: OpenAI and the many that follow it."""

from dataclasses import dataclass, field

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
    }
)
USER_AGENT = b"weir-gateway"


@dataclass(frozen=True, slots=True)
class OpenAIHttpSettings:
    """Where the provider is and how to sign in. The key does not appear in any repr."""

    base_url: BaseUrl
    api_key: str | None = field(default=None, repr=False)
    api_key_header: str = "authorization"
    organization: str | None = None
    project: str | None = None
    extra_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    key_required: bool = False


class OpenAIHttpProvider:
    """Sends calls to an OpenAI-compatible API (`Provider`)."""

    def __init__(self, name: str, settings: OpenAIHttpSettings, client: HttpClient) -> None:
        self._name = name
        self._settings = settings
        self._client = client
        self._base_path = settings.base_url.path.encode()
        self._headers = _constant_headers(settings)
        self._own = OWN_HEADERS | {header for header, _ in self._headers}
        self._running = False

    def __repr__(self) -> str:
        base_url = self._settings.base_url
        return f"OpenAIHttpProvider({self._name!r}, '{base_url.origin}{base_url.path}')"

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
        typed = False
        for header in call.headers:
            name = header[0].lower()
            if name not in own:
                headers = (*headers, header)
                typed = typed or name == b"content-type"
        if not typed:
            headers = (*headers, (b"content-type", b"application/json"))
        target = self._base_path + call.path.encode()
        return await self._client.request(b"POST", target, headers, call.body, call.timeouts)

    async def stop(self) -> None:
        self._running = False
        await self._client.aclose()


def _constant_headers(settings: OpenAIHttpSettings) -> tuple[tuple[bytes, bytes], ...]:
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
