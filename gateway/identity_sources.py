"""Where clients say for whom and in which run they ask: one table, in the order it is read.

Agents, SDKs and other gateways each have words of their own for this; those that are sent anyway
are understood, so that nothing needs to be changed in a client. Everything here is a claim: the
key decides the team, and a claim only refines inside it.

    OWN     meant for Weir: what cannot be a name is refused
    STRONG  meant to name a run, user, ...: what cannot be a name is known by its digest
    WEAK    sent for another purpose, and believed only in a form that tells one from another
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, StrEnum
from typing import Any

import orjson

from budgets.value import value
from gateway.dialects.sessions import split_user

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+/ -]{0,127}")
# What is longer is no name of anything, and hashing it would take time.
MAX_CLAIM_CHARS = 2_048
_SESSION = re.compile(r"[A-Za-z0-9_-]{8,128}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_CODEX = ("codex",)
PROPERTY = b"helicone-property-"
_SESSION_HEADER = b"-session-id"
# The name that stands for any vendor's.
ANY_SESSION = b"x-*-session-id"


class Party(StrEnum):
    """What a source names."""

    TEAM = "team"
    WORKFLOW = "workflow"
    RUN = "run"
    PARENT = "parent run"
    USER = "user"
    TAGS = "tags"


class Strength(StrEnum):
    """How much a source is meant to say what it is read for."""

    OWN = "own"
    STRONG = "strong"
    WEAK = "weak"
    INFERRED = "inferred"
    NONE = "none"


class Place(Enum):
    """Where a source is: a header, a field of the body, or any header of a shape."""

    HEADER = "header"
    BODY = "body"
    BAGGAGE = "baggage"
    ANY_SESSION_HEADER = "any header `x-*-session-id`"


def as_name(text: str) -> str:
    """The text where it can be a name, and else a name made of its digest."""
    if NAME.fullmatch(text):
        return text
    if not text or len(text) > MAX_CLAIM_CHARS:
        return ""
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:32]}"


def as_plain_name(text: str) -> str:
    """The text where it can be a name; people read those of workflows, so a digest is none."""
    return text if NAME.fullmatch(text) else ""


def as_session(text: str) -> str:
    """The text where it looks like the id of a session: 8 letters, digits, _ or - at least."""
    return as_name(text) if _SESSION.fullmatch(text) else ""


def as_uuid(text: str) -> str:
    """The text where it is a UUID; whatever else may be the same for all that an app sends."""
    return text if _UUID.fullmatch(text) else ""


def as_trace(text: str) -> str:
    """The trace id of a `traceparent`; all zeros are none."""
    found = _TRACE.fullmatch(text)
    if found is None or text.startswith("ff") or not found[1].strip("0"):
        return ""
    return f"trace-{found[1]}"


def as_session_of_user(text: str) -> str:
    """The session in Anthropic's `metadata.user_id`."""
    return as_name(split_user(text)[1]) if len(text) <= MAX_CLAIM_CHARS else ""


def as_user_without_session(text: str) -> str:
    """The user in Anthropic's `metadata.user_id`, so that sessions make no users."""
    return as_name(split_user(text)[0]) if len(text) <= MAX_CLAIM_CHARS else ""


@value
class Source:
    """One row of the table: what it names, where it is, and how its text is read.

    `path` is a header, or a field and the field inside it; a header with two steps is JSON.
    `agents` are parts of the `user-agent` or `originator` it is believed of; empty means all.
    `yields` where a conversation that is known says better which run it is.
    """

    party: Party
    place: Place
    path: tuple[str, ...]
    strength: Strength
    sender: str
    form: Callable[[str], str] = as_name
    agents: tuple[str, ...] = ()
    yields: bool = False

    @property
    def header(self) -> bytes:
        """The header it is in."""
        if self.place is Place.BAGGAGE:
            return b"baggage"
        return ANY_SESSION if self.place is Place.ANY_SESSION_HEADER else self.path[0].encode()

    @property
    def name(self) -> str:
        """As records and documents name it."""
        if self.place is Place.BAGGAGE:
            return f"baggage:{self.path[0]}"
        if self.place is Place.ANY_SESSION_HEADER:
            return ANY_SESSION.decode()
        return (":" if self.place is Place.HEADER else ".").join(self.path)


class Table:
    """The sources of one party in their order, found by what is there in a request."""

    __slots__ = ("_by_field", "_by_header", "sources")

    def __init__(self, *sources: Source) -> None:
        self.sources = sources
        self._by_header: dict[bytes, list[tuple[int, Source]]] = {}
        self._by_field: dict[str, list[tuple[int, Source]]] = {}
        for rank, source in enumerate(sources):
            if source.place is Place.BODY:
                self._by_field.setdefault(source.path[0], []).append((rank, source))
            else:
                self._by_header.setdefault(source.header, []).append((rank, source))

    def there(self, headers: Iterable[bytes], fields: Iterable[str]) -> list[tuple[int, Source]]:
        """The sources that these headers and fields are of, the first one first."""
        found: list[tuple[int, Source]] = []
        for header in headers:
            found += self._by_header.get(header, ())
        for field in fields:
            found += self._by_field.get(field, ())
        if len(found) > 1:
            found.sort(key=_rank)
        return found


def _rank(place: tuple[int, Source]) -> int:
    return place[0]


def _header(party: Party, sender: str, *path: str, **more: Any) -> Source:
    return Source(party, Place.HEADER, path, more.pop("strength", Strength.STRONG), sender, **more)


def _body(party: Party, sender: str, *path: str, **more: Any) -> Source:
    return Source(party, Place.BODY, path, more.pop("strength", Strength.STRONG), sender, **more)


def _own(party: Party, name: str) -> tuple[Source, Source]:
    header = _header(party, "Weir", f"x-weir-{name}", strength=Strength.OWN)
    return header, _body(party, "Weir", "metadata", f"weir_{name}", strength=Strength.OWN)


_R, _W, _U, _P = Party.RUN, Party.WORKFLOW, Party.USER, Party.PARENT
_BEDROCK = "x-amzn-bedrock-request-metadata"
_BEDROCK_IDS = ("sessionId", "threadId", "conversationId")

RUN_SOURCES = Table(
    *_own(_R, "run"),
    _header(_R, "LiteLLM", "x-litellm-trace-id"),
    _header(_R, "LiteLLM", "x-litellm-session-id"),
    _header(_R, "Claude Code", "x-claude-code-session-id"),
    Source(
        _R, Place.ANY_SESSION_HEADER, (), Strength.STRONG, "agents of any vendor", form=as_session
    ),
    *[
        _header(_R, "Codex", name, agents=_CODEX)
        for name in ("session-id", "session_id", "thread-id", "conversation_id")
    ],
    _header(_R, "opencode", "x-session-id"),
    _header(_R, "opencode", "x-opencode-session"),
    _header(_R, "opencode", "x-session-affinity"),
    _header(_R, "Grok", "x-grok-conv-id"),
    _header(_R, "Helicone", "helicone-session-id"),
    _header(_R, "Portkey", "x-portkey-trace-id"),
    _header(_R, "Langfuse", "langfuse_session_id"),
    _header(_R, "Langfuse", "langfuse_trace_id"),
    *[_header(_R, "Bedrock", _BEDROCK, name) for name in _BEDROCK_IDS],
    _body(_R, "LiteLLM", "litellm_session_id"),
    _body(_R, "LiteLLM", "litellm_metadata", "session_id"),
    *[
        _body(_R, "applications, Langfuse", "metadata", name)
        for name in ("run", "session_id", "run_id", "trace_id", "conversation_id")
    ],
    _body(_R, "Claude Code", "metadata", "user_id", form=as_session_of_user),
    *[_body(_R, "Bedrock", "requestMetadata", name) for name in _BEDROCK_IDS],
    _body(_R, "OpenAI Responses", "conversation"),
    _body(_R, "OpenAI Responses", "conversation", "id"),
    _body(_R, "OpenAI Responses", "previous_response_id"),
    _body(_R, "Codex", "prompt_cache_key", strength=Strength.WEAK, form=as_uuid),
    Source(_R, Place.BAGGAGE, ("session.id",), Strength.STRONG, "OpenTelemetry"),
    _header(_R, "OpenTelemetry", "traceparent", strength=Strength.WEAK, form=as_trace, yields=True),
)
PARENT_SOURCES = Table(
    _header(_P, "Weir", "x-weir-parent-run", strength=Strength.OWN),
    _header(_P, "opencode", "x-parent-session-id", form=as_session),
)
WORKFLOW_SOURCES = Table(
    *_own(_W, "workflow"),
    _header(_W, "Helicone", "helicone-session-name", form=as_plain_name),
    _header(_W, "Langfuse", "langfuse_trace_name", form=as_plain_name),
    _body(_W, "applications", "metadata", "workflow", form=as_plain_name),
    _body(_W, "applications", "metadata", "workflow_name", form=as_plain_name),
    _body(_W, "Langfuse", "metadata", "trace_name", form=as_plain_name),
    Source(
        _W,
        Place.BAGGAGE,
        ("gen_ai.workflow.name",),
        Strength.STRONG,
        "OpenTelemetry",
        form=as_plain_name,
    ),
)
USER_SOURCES = Table(
    *_own(_U, "user"),
    _header(_U, "LiteLLM", "x-litellm-end-user-id"),
    _header(_U, "LiteLLM", "x-litellm-customer-id"),
    _header(_U, "Helicone", "helicone-user-id"),
    _header(_U, "Portkey", "x-portkey-metadata", "_user"),
    _header(_U, "Langfuse", "langfuse_trace_user_id"),
    _body(_U, "OpenAI", "safety_identifier"),
    _body(_U, "OpenAI", "user"),
    _body(_U, "Langfuse", "metadata", "trace_user_id"),
    _body(_U, "Anthropic", "metadata", "user_id", form=as_user_without_session),
    Source(_U, Place.BAGGAGE, ("user.id",), Strength.STRONG, "OpenTelemetry"),
)
TEAM_SOURCES = Table(*_own(Party.TEAM, "team"))
TAG_SOURCES = Table(
    *_own(Party.TAGS, "tags"),
    _header(Party.TAGS, "Helicone", "helicone-property-*"),
    _header(Party.TAGS, "LiteLLM", "x-litellm-tags"),
    _header(Party.TAGS, "Portkey", "x-portkey-metadata"),
    _header(Party.TAGS, "OpenAI", "openai-project"),
    _header(Party.TAGS, "OpenRouter's clients", "x-title"),
    _body(Party.TAGS, "LiteLLM, Langfuse", "metadata", "tags"),
)
TABLES = (
    TEAM_SOURCES,
    WORKFLOW_SOURCES,
    RUN_SOURCES,
    PARENT_SOURCES,
    USER_SOURCES,
    TAG_SOURCES,
)
ALL_SOURCES = tuple([source for table in TABLES for source in table.sources])
_KNOWN_HEADERS = frozenset(
    [source.header for source in ALL_SOURCES if source.place is not Place.BODY]
)
_KNOWN_FIELDS = frozenset([source.path[0] for source in ALL_SOURCES if source.place is Place.BODY])
TAG_HEADERS = frozenset([source.header for source in TAG_SOURCES.sources[2:-1]])


@value
class Found:
    """What a source says: a name, or of Weir's own ones whatever is there."""

    name: Any
    source: Source


class Sent:
    """What a client sent that may say who it is for: the headers in question, and the body.

    `headers` are by name, that of any vendor's session by `ANY_SESSION`, and without Helicone's
    `properties`.
    """

    __slots__ = ("_all", "_fields", "_json", "body", "headers", "properties")

    def __init__(self, headers: Mapping[bytes, bytes], body: Mapping[str, Any]) -> None:
        self.body = body
        self.headers = {name: headers[name] for name in _KNOWN_HEADERS & headers.keys()}
        self.properties: dict[bytes, bytes] = {}
        self._all = headers
        self._fields = _KNOWN_FIELDS & body.keys()
        self._json: dict[bytes, Mapping[str, Any]] = {}
        names = b" ".join(headers)
        if _SESSION_HEADER in names or PROPERTY in names:
            self._add_others()

    def _add_others(self) -> None:
        """The headers of which only the shape of the name is known; of sessions the first one."""
        for name, content in self._all.items():
            if name.startswith(PROPERTY):
                self.properties[name] = content
            elif _is_session_header(name):
                self.headers.setdefault(ANY_SESSION, content)

    def first(self, table: Table) -> Found | None:
        """What the first source with something to say says."""
        if not self.headers and not self._fields:
            return None
        for _, source in table.there(self.headers, self._fields):
            found = self._said(source)
            if source.strength is Strength.OWN:
                if found is not None:
                    return Found(found, source)
            elif isinstance(found, str) and found and (name := source.form(found)):
                return Found(name, source)
        return None

    def json_header(self, name: bytes) -> Mapping[str, Any]:
        """A header that is a JSON object; empty where it is none."""
        read = self._json.get(name)
        if read is None:
            read = self._json[name] = _object(self.headers.get(name, b""))
        return read

    def _said(self, source: Source) -> Any:
        if source.place is Place.BODY:
            content = self.body[source.path[0]]
            if len(source.path) == 1:
                return content
            return content.get(source.path[1]) if isinstance(content, dict) else None
        header = source.header
        if source.place is Place.BAGGAGE:
            return _in_baggage(self.headers[header], source.path[0])
        if source.agents and not self._is_of(source.agents):
            return None
        if len(source.path) == 2:
            return self.json_header(header).get(source.path[1])
        return self.headers[header].decode("latin-1")

    def _is_of(self, agents: Iterable[str]) -> bool:
        """Whether one of these agents says that it asks."""
        told = self._all.get(b"originator", b"") + b" " + self._all.get(b"user-agent", b"")
        return any(agent.encode() in told.lower() for agent in agents)


def _is_session_header(name: bytes) -> bool:
    """Whether this is `x-<vendor>-session-id`; a parent's session is not the one asked in."""
    if not (name.startswith(b"x-") and name.endswith(_SESSION_HEADER)):
        return False
    return name not in _KNOWN_HEADERS and b"parent" not in name


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(raw) if raw.startswith(b"{") else None
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _in_baggage(header: bytes, name: str) -> str:
    """The value of a member of W3C baggage: `NAME=VALUE;property, ...`."""
    wanted = f"{name}="
    for member in header.decode("latin-1").split(","):
        text = member.strip()
        if text.startswith(wanted):
            return text[len(wanted) :].partition(";")[0].strip()
    return ""
