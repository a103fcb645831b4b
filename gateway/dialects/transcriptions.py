"""What was said: the dialects of `/v1/audio/transcriptions` and `/v1/audio/translations`."""

from collections.abc import Callable

from budgets.media_usage import usage_from_transcription
from budgets.usage import TokenUsage, UsageFault
from gateway.dialects.media_style import MediaMeter, MediaStyle
from gateway.dialects.port import Meter, ModelRequest
from gateway.errors import bad_request
from gateway.forms import flag_in, read_form
from gateway.media import Media
from gateway.wav import wav_ms
from gateway.wire import model_of


class Transcriptions(MediaStyle):
    """The dialect of `/v1/audio/transcriptions`, a form with one sound."""

    name = "audio.transcriptions"
    speech = "transcriptions"
    route = "/v1/audio/transcriptions"
    path = "/audio/transcriptions"

    def read(self, raw: bytes) -> ModelRequest:
        form = read_form(raw)
        model = model_of(form)
        if not form.files:
            raise bad_request(
                "`file` is missing: send the sound as a file of the form.",
                "file",
                "missing_required_parameter",
            )
        length_ms = unknown_bytes = file_bytes = 0
        for file in form.files:
            size = file.end - file.start
            file_bytes += size
            known_ms = wav_ms(raw, file.start, file.end)
            if known_ms is None:
                unknown_bytes += size
            else:
                length_ms += known_ms
        text_bytes = len(raw) - file_bytes
        return ModelRequest(
            raw=raw,
            body=form,
            model=model,
            stream=flag_in(form, "stream"),
            wants_usage=True,
            output_tokens=None,
            choices=1,
            media=Media(
                "sound_ms", text_bytes=text_bytes, sound_ms=length_ms, sound_bytes=unknown_bytes
            ),
            content_type=form.content_type,
        )

    def usage_in(self, answer: object) -> TokenUsage | UsageFault:
        return usage_from_transcription(answer)

    def meter(self, limit_tokens: int, count: Callable[[str], int]) -> Meter:
        return MediaMeter(limit_tokens, count, "transcript.text.done", usage_from_transcription)


class Translations(Transcriptions):
    """The dialect of `/v1/audio/translations`: the same, with an answer in English."""

    name = "audio.translations"
    route = "/v1/audio/translations"
    path = "/audio/translations"
