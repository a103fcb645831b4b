"""Speech: the dialect of `/v1/audio/speech`. Text goes in, sound comes out as it is made."""

from collections.abc import Callable, Mapping
from typing import Any

from budgets.media_usage import usage_from_speech
from budgets.usage import TokenUsage, UsageFault
from gateway.dialects.media_style import MediaMeter, MediaStyle
from gateway.dialects.port import Meter, ModelRequest
from gateway.errors import bad_request
from gateway.media import Media
from gateway.wire import model_of, parse_object


class Speech(MediaStyle):
    """The dialect of `/v1/audio/speech`; providers that count characters count those of `input`."""

    name = "audio.speech"
    speech = "speech"
    route = "/v1/audio/speech"
    path = "/audio/speech"

    def read(self, raw: bytes) -> ModelRequest:
        body = parse_object(raw)
        model = model_of(body)
        said = body.get("input")
        if not isinstance(said, str) or not said:
            missing = "input" not in body
            raise bad_request(
                "`input` must be the text to speak.",
                "input",
                "missing_required_parameter" if missing else "invalid_type",
            )
        return ModelRequest(
            raw=raw,
            body=body,
            model=model,
            stream=True,
            wants_usage=True,
            output_tokens=None,
            choices=1,
            media=Media("characters", len(said), len(raw)),
        )

    def usage_in(self, answer: object) -> TokenUsage | UsageFault:
        """Whole answers are sound, and say nothing."""
        return usage_from_speech(answer.get("usage") if isinstance(answer, dict) else None)

    def meter(self, limit_tokens: int, count: Callable[[str], int]) -> Meter:
        return MediaMeter(limit_tokens, count, "speech.audio.done", _usage_at_the_end)


def _usage_at_the_end(event: Mapping[str, Any]) -> TokenUsage | UsageFault:
    return usage_from_speech(event.get("usage"))
