"""What of images, speech and transcriptions is measured: every byte there and back."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.clients.canned_server import JSON, STREAM
from tests.journeys.fidelity_answers import kilobytes, whole
from tests.journeys.fidelity_bench import IDENTICAL, LOST, Bench

# Every byte that there is, so that none of them is taken for a sign.
BYTES = bytes(range(256)) * 40
PROBE = base64.b64encode(BYTES).decode()
BOUNDARY = b"----probe--boundary"
SOUND = [(b"content-type", b"audio/mpeg")]
TEXT = [(b"content-type", b"text/plain; charset=utf-8")]
FUTURE = {"hologram": {"beam": 1.5}}
IMAGES_USED = {
    "total_tokens": 100,
    "input_tokens": 50,
    "output_tokens": 50,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
}
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class MediaRow:
    """One line: what is asked where, and the provider's answer."""

    title: str
    route: str
    asked: bytes
    kind: Headers
    answer: bytes


def _json(**fields: Any) -> bytes:
    return json.dumps(fields, indent=1, ensure_ascii=False).encode()


def _form(file: str, **fields: str) -> bytes:
    """A form with a file of every byte; the model comes after it."""
    parts = [(f'name="{file}"; filename="probe.wav"\r\nContent-Type: audio/wav', BYTES)]
    parts += [(f'name="{name}"', told.encode()) for name, told in fields.items()]
    body = b"".join(
        b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n"
        % (BOUNDARY, head.encode(), told)
        for head, told in parts
    )
    return body + b"--%b--\r\n" % BOUNDARY


def _events(*events: Mapping[str, Any]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode())
        for event in events
    )


PICTURES = _json(created=1, data=[{"b64_json": PROBE}], **FUTURE)
PICTURES_STREAMED = _events(
    {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": PROBE},
    {"type": "hologram.beam", **FUTURE},
    {"type": "image_generation.completed", "b64_json": PROBE, "usage": IMAGES_USED},
)
SPOKEN_STREAMED = _events(
    {"type": "speech.audio.delta", "audio": PROBE, **FUTURE},
    {"type": "speech.audio.done", "usage": {"input_tokens": 3, "output_tokens": 9}},
)
HEARD = {"text": "Grüße 🗼", "usage": {"type": "duration", "seconds": 3}, **FUTURE}
HEARD_STREAMED = _events(
    {"type": "transcript.text.delta", "delta": "Grüße", **FUTURE},
    {"type": "transcript.text.done", "text": "Grüße", "usage": HEARD["usage"]},
)
SUBTITLES = "1\r\n00:00:00,000 --> 00:00:03,000\r\nGrüße 🗼\r\n\r\n".encode()
IMAGES, EDITS = "/v1/images/generations", "/v1/images/edits"
SPEECH, HEARING = "/v1/audio/speech", "/v1/audio/transcriptions"
ROWS: tuple[MediaRow, ...] = (
    MediaRow(
        "Images",
        IMAGES,
        _json(model="painter", prompt="Ein Kätzchen", n=1, **FUTURE),
        JSON,
        PICTURES,
    ),
    MediaRow(
        "Images, streamed",
        IMAGES,
        _json(model="painter", prompt="A cat", stream=True, partial_images=1),
        STREAM,
        PICTURES_STREAMED,
    ),
    MediaRow(
        "An edit of an image, as a form",
        EDITS,
        _form("image", prompt="A hat", model="painter", hologram="beam"),
        JSON,
        PICTURES,
    ),
    MediaRow(
        "Speech",
        SPEECH,
        _json(model="speaker", input="Grüße", voice="probe", **FUTURE),
        SOUND,
        BYTES,
    ),
    MediaRow(
        "Speech, streamed",
        SPEECH,
        _json(model="speaker", input="Hello", voice="probe", stream_format="sse"),
        STREAM,
        SPOKEN_STREAMED,
    ),
    MediaRow(
        "A transcription, as a form",
        HEARING,
        _form("file", model="listener", hologram="beam"),
        JSON,
        _json(**HEARD),
    ),
    MediaRow(
        "A transcription, streamed",
        HEARING,
        _form("file", model="listener", stream="true"),
        STREAM,
        HEARD_STREAMED,
    ),
    MediaRow(
        "Subtitles",
        HEARING,
        _form("file", model="listener", response_format="srt"),
        TEXT,
        SUBTITLES,
    ),
)


def cells(bench: Bench, row: MediaRow) -> Mapping[str, str]:
    """What became of the request and of the answer, at once and in pieces of 1 KB."""
    form = row.asked.startswith(b"--")
    kind = "multipart/form-data; boundary=" + BOUNDARY.decode() if form else "application/json"
    headers = {"Authorization": f"Bearer {bench.weir.key}", "Content-Type": kind}
    found: dict[str, str] = {}
    for cut in (whole, kilobytes):
        bench.canned.say(200, row.kind, *cut(row.answer))
        answer = bench.weir.ask("POST", row.route, row.asked, **headers)
        assert answer.status == 200, (row.title, answer.body[:300])
        [(_, received)] = bench.canned.asked
        same = (
            answer.body == row.answer and answer.headers["content-type"] == row.kind[0][1].decode()
        )
        for name, is_same in (("request", received == row.asked), ("answer", same)):
            if found.get(name) in (None, IDENTICAL):
                found[name] = IDENTICAL if is_same else LOST
    return found
