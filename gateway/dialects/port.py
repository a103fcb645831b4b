"""What the gateway asks of a dialect: read a request, send it on, meter the answer, word an error.

    Dialect       one per route: `/v1/responses`, `/v1/messages`, ...
    Meter         one per stream: what passed, what it used, how it ended
    InputParts    what of a request becomes input tokens
    Claims        whom a request says it is for

A dialect has no state and does no I/O. Everything it changes in a request is a single value spliced
into the bytes as they came; everything it passes of an answer is the bytes as they came.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from budgets.usage import TokenUsage, UsageExtras, UsageFault
from budgets.value import value
from gateway.dialects.unseen import Unseen
from gateway.errors import ApiError
from gateway.meter import Sighting
from gateway.wire import ModelRequest

__all__ = ["Bounds", "Claims", "Dialect", "InputParts", "Meter", "ModelRequest", "Voice"]


@value
class Bounds:
    """What the gateway holds a request to; None leaves the client's word.

    `output_tokens` covers one choice. `limit_field` is where the provider reads it, where a dialect
    knows more than one field. `tool_uses` bounds the tools that the provider runs.
    """

    output_tokens: int | None = None
    limit_field: str = "max_tokens"
    tool_uses: int | None = None


@value
class InputParts:
    """What of a request becomes input tokens; what only steers it is in neither part.

    `said` is JSON of what is said; the model's template frames it `frames` times. `rest` is
    everything else that may reach the model: tools, schemas, unknown fields. `token_ids` counts
    tokens that the request gives as numbers, one token each; they are in neither part.
    """

    said: Sequence[Any]
    rest: Mapping[str, Any]
    frames: int
    token_ids: int = 0


@value
class Claims:
    """Whom and what a request says it is for; claims, not facts: the key decides who pays."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    user: str = ""
    safety_identifier: str = ""
    prompt_cache_key: str = ""
    session: str = ""
    conversation: str = ""
    previous_response: str = ""


class Meter(Protocol):
    """Reads one stream as it passes; it never changes a byte.

    `usage` is the provider's report on the whole stream; `early` what it told of the input before
    the end. `finished` means that the stream's own end was seen, `error_seen` an error inside it.
    """

    usage: TokenUsage | None
    early: TokenUsage | None
    fault: UsageFault | None
    extras: UsageExtras
    response_id: str
    finished: bool
    error_seen: bool
    text_bytes: int
    text_events: int

    def feed(self, chunk: bytes) -> list[Sighting]:
        """The events that became whole with this chunk, in order."""

    def each(self, chunk: bytes) -> Iterator[Sighting]:
        """The same one by one: an event counts from the moment it is taken."""

    @property
    def pending(self) -> bytes:
        """Bytes after the last whole event."""

    @property
    def oversized(self) -> bool:
        """Whether one event has grown beyond what is read as one."""

    @property
    def torn(self) -> bool:
        """Whether a stream that is over here ended too early, where its dialect has an end.

        SDKs take such an answer for a whole one, so the client should be told with `fail`.
        """

    def output_tokens(self) -> int:
        """Tokens generated so far, counted now."""

    def allow(self, limit_tokens: int, watch_tokens: int | None) -> None:
        """Have another limit from now on, and a watermark below it."""

    def at_watermark(self) -> bool:
        """Whether so much was generated that more should be held."""

    def over_limit(self) -> bool:
        """Whether more was generated than reserved."""

    def fail(self, error: ApiError, request_id: str) -> bytes:
        """The bytes that end the stream here, so that the dialect's SDK raises the error."""


class Voice(Protocol):
    """How errors are worded."""

    def error_body(self, error: ApiError, request_id: str) -> bytes:
        """The body of an error response."""

    def error_headers(self, error: ApiError, request_id: str) -> list[tuple[bytes, bytes]]:
        """The headers of an error response."""

    def error_event(self, error: ApiError, request_id: str) -> bytes:
        """An error at the end of a stream of which nothing is known."""


class Dialect(Voice, Protocol):
    """One way of asking. `name` is for the record, `route` ours, `path` the provider's.

    `speech` is what a provider says it speaks (`providers.NAME.dialects`). What is `is_free` is not
    billed; what `goes_on` has answers that later requests may go on from.
    """

    name: str
    speech: str
    route: str
    path: str
    is_free: bool
    goes_on: bool

    def read(self, raw: bytes) -> ModelRequest:
        """Parse and check what Weir acts on; raise ApiError (400) naming the field and the fix."""

    def upstream_body(self, request: ModelRequest, upstream_model: str, bounds: Bounds) -> bytes:
        """The bytes for the provider: the model's own name, and the bounds where they are tighter.

        Everything else is as it came.
        """

    def frames(self, request: ModelRequest) -> int:
        """How often the model's template frames what is said; the same as in `input_parts`."""

    def input_parts(self, request: ModelRequest) -> InputParts:
        """What of the request becomes input tokens, for its bound and for counting."""

    def unseen(self, request: ModelRequest) -> Unseen | None:
        """What the request reads beyond its own bytes; None where that is nothing."""

    def service_tier(self, request: ModelRequest) -> str:
        """The service tier on the price card that the request asks for."""

    def chat_view(self, request: ModelRequest) -> Mapping[str, Any]:
        """The request in the shape of a chat completion, for routing/features.py to read."""

    def claims(self, request: ModelRequest) -> Claims:
        """Whom the request says it is for."""

    def parties(self, request: ModelRequest) -> Mapping[str, Any]:
        """The same with the fields that a chat completion has, for gateway/identity.py to read."""

    def said(self, request: ModelRequest) -> Sequence[Any]:
        """The messages of the request's conversation, empty where it is none."""

    def usage_in(self, answer: object) -> TokenUsage | UsageFault:
        """The usage that a whole answer reports."""

    def extras_in(self, answer: object) -> UsageExtras:
        """What a whole answer counts besides."""

    def id_in(self, answer: object) -> str:
        """By what a later request may go on from a whole answer; empty where none can."""

    def texts_in(self, answer: object) -> Iterable[str]:
        """The generated texts of a whole answer, for counting where it reports no usage."""

    def meter(self, limit_tokens: int, count: Callable[[str], int]) -> Meter:
        """A meter for one stream; `limit_tokens` covers all choices together."""
