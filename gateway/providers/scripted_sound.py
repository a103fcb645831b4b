"""How the scripted provider speaks and listens. Pure.

Speech is the text that it would say, as bytes or in events; the text of a transcription is what it
would say to the form's `prompt`. Models with `whisper` in their name report seconds, others tokens.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.providers.scripted_images import form_of
from gateway.providers.scripted_wire import (
    Answer,
    RequestError,
    Said,
    ScriptedRequest,
    Wire,
    event,
    openai_error,
    read_object,
    tokens_in,
)
from gateway.wav import wav_ms

MS_PER_S = 1_000
# Tokens of a second of sound that goes in.
TOKENS_PER_S = 10
EVENTS, SOUND, TEXT = b"text/event-stream; charset=utf-8", b"audio/mpeg", b"text/plain"
JSON = b"application/json"


def read_speech(body: bytes) -> ScriptedRequest:
    """Read a request for speech; raise RequestError."""
    fields = read_object(body)
    said = fields.get("input")
    if not isinstance(said, str):
        raise RequestError("input: must be a text")
    return ScriptedRequest(
        model=str(fields.get("model", "")),
        prompt=said,
        prompts=(said,),
        prompt_tokens=tokens_in([said]),
        max_tokens=None,
        stream=True,
        fields=fields,
    )


def speech_kind(request: ScriptedRequest) -> bytes:
    """The content type of spoken answers."""
    return EVENTS if request.fields.get("stream_format") == "sse" else SOUND


class SpeechWords:
    """The words of speech (`Wording`): sound, or events that carry it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._in_events = speech_kind(answer.request) is EVENTS

    def opening(self) -> bytes:
        return b": speaking\n\n" if self._in_events else b"ID3"

    def piece(self, index: int, text: str) -> bytes:
        if not self._in_events:
            return text.encode()
        sound = base64.b64encode(text.encode()).decode()
        return event({"type": "speech.audio.delta", "audio": sound})

    def closing(self, said: Sequence[Said]) -> Sequence[bytes]:
        if not self._in_events:
            return [b"TAG"]
        fields: dict[str, object] = {"type": "speech.audio.done"}
        if self._answer.reports_usage:
            tokens = self._answer.request.prompt_tokens
            made = said[0].tokens + self._answer.reasoning_tokens
            fields["usage"] = {
                "input_tokens": tokens,
                "output_tokens": made,
                "total_tokens": tokens + made,
            }
        return [event(fields)]

    def whole(self, said: Sequence[Said]) -> bytes:
        return b""


def read_sound(body: bytes) -> ScriptedRequest:
    """Read a form with a sound; raise RequestError."""
    form = form_of(body)
    if not form.files:
        raise RequestError("file: must be a sound")
    prompt = form.get("prompt", "")
    heard_ms = wav_ms(body, form.files[0].start, form.files[0].end) or MS_PER_S
    return ScriptedRequest(
        model=str(form.get("model", "")),
        prompt=prompt,
        prompts=(prompt,),
        prompt_tokens=tokens_in([prompt]) + heard_ms * TOKENS_PER_S // MS_PER_S,
        max_tokens=None,
        stream=form.get("stream") == "true",
        fields={**form, "heard_ms": heard_ms},
    )


def sound_kind(request: ScriptedRequest) -> bytes:
    """The content type of what was heard."""
    if request.stream:
        return EVENTS
    return JSON if _is_json(request.fields) else TEXT


def _is_json(fields: Mapping[str, Any]) -> bool:
    return "json" in str(fields.get("response_format", "json"))


class HeardWords:
    """The words of a transcription (`Wording`)."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def opening(self) -> bytes:
        return b": listening\n\n"

    def piece(self, index: int, text: str) -> bytes:
        return event({"type": "transcript.text.delta", "delta": text})

    def closing(self, said: Sequence[Said]) -> Sequence[bytes]:
        fields = {"type": "transcript.text.done", "text": said[0].text, **self._usage(said[0])}
        return [event(fields)]

    def whole(self, said: Sequence[Said]) -> bytes:
        if not _is_json(self._answer.request.fields):
            return said[0].text.encode() + b"\n"
        return orjson.dumps({"text": said[0].text, **self._usage(said[0])})

    def _usage(self, said: Said) -> Mapping[str, object]:
        request = self._answer.request
        if not self._answer.reports_usage:
            return {}
        heard_ms = request.fields["heard_ms"]
        if "whisper" in request.model:
            return {"usage": {"type": "duration", "seconds": heard_ms / MS_PER_S}}
        made = said.tokens + self._answer.reasoning_tokens
        heard = heard_ms * TOKENS_PER_S // MS_PER_S
        tokens = request.prompt_tokens
        usage = {
            "type": "tokens",
            "input_tokens": tokens,
            "input_token_details": {"text_tokens": tokens - heard, "audio_tokens": heard},
            "output_tokens": made,
            "total_tokens": tokens + made,
        }
        return {"usage": usage}


SPEECH = Wire("speech", read_speech, SpeechWords, openai_error, kind=speech_kind)
HEARD = Wire("heard", read_sound, HeardWords, openai_error, kind=sound_kind)
