"""Images and sound are read for what bounds them.

Covers gateway.dialects.images, speech, transcriptions and gateway.dialects.media_style.
"""

import json
from dataclasses import replace
from typing import Any

import pytest

from budgets.usage import TokenUsage
from gateway.dialects import images, media_style, speech, transcriptions
from gateway.dialects.port import Bounds
from gateway.errors import ApiError
from gateway.media import Media
from tests.unit.gateway.dialects.requests_made import form

PICTURE = ("image[]", b"\x89PNG")
SOUND = ("file", b"\xff\xfb" * 8)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", **fields}).encode()


@pytest.mark.parametrize(
    ("dialect", "raw", "media"),
    [
        (images.Images(), body(prompt="x"), Media("images", 1)),
        (
            images.Images(),
            body(prompt="x", n=3, stream=True, partial_images=2),
            Media("images", 3, partials=2),
        ),
        (speech.Speech(), body(input="Grüße"), Media("characters", 5)),
    ],
)
def test_what_is_asked_for_is_counted(dialect: Any, raw: bytes, media: Media) -> None:
    request = dialect.read(raw)
    assert request.media == replace(media, text_bytes=len(raw))
    assert dialect.upstream_body(request, "m", Bounds()) is raw
    assert json.loads(dialect.upstream_body(request, "up", Bounds()))["model"] == "up"


def test_a_form_s_files_are_no_text() -> None:
    edits, heard = images.ImageEdits(), transcriptions.Transcriptions()
    raw = form({"model": "m", "prompt": "x", "n": "2"}, PICTURE, PICTURE)
    request = edits.read(raw)
    assert request.media == Media("images", 2, len(raw) - 8, pictures=2)
    assert request.content_type.startswith(b"multipart/form-data; boundary=")
    changed = form({"model": "up", "prompt": "x", "n": "2"}, PICTURE, PICTURE)
    assert edits.upstream_body(request, "up", Bounds()) == changed
    raw = form({"model": "m"}, SOUND)
    assert heard.read(raw).media == Media("sound_ms", text_bytes=len(raw) - 16, sound_bytes=16)


@pytest.mark.parametrize(
    ("dialect", "raw", "param"),
    [
        (images.Images(), body(prompt="x", n=101), "n"),
        (images.Images(), body(prompt="x", n=0), "n"),
        (images.Images(), body(prompt="x", partial_images=101), "partial_images"),
        (images.ImageEdits(), form({"model": "m", "n": "x"}, PICTURE), "n"),
        (images.ImageEdits(), form({"prompt": "x"}, PICTURE), "model"),
        (speech.Speech(), body(), "input"),
        (speech.Speech(), body(input=7), "input"),
        (transcriptions.Translations(), form({"model": "m"}), "file"),
        (transcriptions.Translations(), form({"model": "m", "stream": "x"}, SOUND), "stream"),
    ],
)
def test_what_cannot_be_bounded_is_refused(dialect: Any, raw: bytes, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        dialect.read(raw)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_each_finished_image_of_a_stream_adds_to_the_usage() -> None:
    meter = images.Images().meter(0, len)
    done = {"type": "image_edit.completed", "usage": {"input_tokens": 2, "output_tokens": 5}}
    raw = b"data: %b\n\n" % json.dumps(done).encode()
    assert b"".join(seen.raw for seen in meter.feed(raw + raw)) == raw + raw
    assert meter.usage == TokenUsage(fresh=4, output=10, images=2)
    assert meter.finished and not meter.torn and not meter.over_limit()


def test_bytes_pass_and_say_nothing() -> None:
    meter = media_style.BytesMeter()
    assert [seen.raw for seen in meter.feed(b"ID3")] == [b"ID3"]
    assert (meter.usage, meter.output_tokens(), meter.pending) == (None, 0, b"")
