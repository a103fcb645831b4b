"""What the dialects of images and sound share: no conversation, no tiers, OpenAI's errors."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from budgets.usage import TokenUsage, UsageExtras, UsageFault
from gateway.dialects.events import EventMeter
from gateway.dialects.openai_style import OpenAIStyle, text_field
from gateway.dialects.port import Bounds, Claims, InputParts, ModelRequest
from gateway.errors import ApiError
from gateway.forms import Form, with_model
from gateway.meter import Sighting
from gateway.wire import renamed

# Fields that steer a request and never become part of what a model reads.
CONTROLS = frozenset({"metadata", "model", "n", "stream", "user"})


class MediaStyle(OpenAIStyle):
    """Everything of a dialect that does not tell images from sound."""

    def upstream_body(self, request: ModelRequest, upstream_model: str, bounds: Bounds) -> bytes:
        if upstream_model != request.model and isinstance(request.body, Form):
            return with_model(request.raw, request.body, upstream_model)
        return renamed(request, upstream_model)

    def frames(self, request: ModelRequest) -> int:
        return 1

    def input_parts(self, request: ModelRequest) -> InputParts:
        rest = {name: value for name, value in request.body.items() if name not in CONTROLS}
        return InputParts([], rest, 1)

    def service_tier(self, request: ModelRequest) -> str:
        return "default"

    def chat_view(self, request: ModelRequest) -> Mapping[str, Any]:
        """What is said to the model, as one message of the user."""
        said = text_field(request.body, "prompt") or text_field(request.body, "input")
        return {"messages": [{"role": "user", "content": said}]}

    def claims(self, request: ModelRequest) -> Claims:
        return Claims(user=text_field(request.body, "user"))

    def parties(self, request: ModelRequest) -> Mapping[str, Any]:
        return {"user": text_field(request.body, "user")}

    def texts_in(self, answer: object) -> Iterable[str]:
        """None that would be billed by its text."""
        return ()


class MediaMeter(EventMeter):
    """Meters a stream whose last event reports the usage; what comes before is not counted.

    `ends` ends the names of last events: several may come, one for each image.
    """

    __slots__ = ("_ends", "_usage_in")

    def __init__(
        self,
        limit_tokens: int,
        count: Callable[[str], int],
        ends: str,
        usage_in: Callable[[Mapping[str, Any]], TokenUsage | UsageFault],
    ) -> None:
        super().__init__(limit_tokens, count)
        self._ends = ends
        self._usage_in = usage_in

    def fail(self, error: ApiError, request_id: str) -> bytes:
        return error.as_sse()

    def _look_into(self, event: bytes, body: Mapping[str, Any]) -> Sighting:
        kind = body.get("type")
        if body.get("error") is not None or kind == "error":
            self.error_seen = True
        if not isinstance(kind, str) or not kind.endswith(self._ends):
            return Sighting(event)
        before, usage = self.usage, self._usage_in(body)
        self._keep(usage if before is None or isinstance(usage, UsageFault) else before.plus(usage))
        self.finished = True
        return Sighting(event, done=True)


class BytesMeter:
    """Passes a body that is no events, such as sound (`Meter`). Nothing in it can be counted."""

    __slots__ = ()

    usage: TokenUsage | None = None
    early: TokenUsage | None = None
    fault: UsageFault | None = None
    extras = UsageExtras()
    response_id = ""
    finished = False
    error_seen = False
    text_bytes = 0
    text_events = 0
    pending = b""
    oversized = False
    torn = False

    def feed(self, chunk: bytes) -> list[Sighting]:
        return [Sighting(chunk)]

    def each(self, chunk: bytes) -> Iterator[Sighting]:
        yield Sighting(chunk)

    def output_tokens(self) -> int:
        return 0

    def allow(self, limit_tokens: int, watch_tokens: int | None) -> None:
        """It has no tokens to limit: what it costs at most is held."""

    def at_watermark(self) -> bool:
        return False

    def over_limit(self) -> bool:
        return False

    def fail(self, error: ApiError, request_id: str) -> bytes:
        """Nothing can be said in the middle of a sound: it ends without its end."""
        return b""
