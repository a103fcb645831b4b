"""OpenAI's SDK against a real gateway: images and sound are held, settled once, and not changed.

The scripted provider counts a word as a token, so what an answer has to cost is known beforehand.
"""

import base64
import io
import wave
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.journeys.gateway_process import (
    SCRIPTED_CONFIG,
    GatewayProcess,
    budget,
)

CONFIG = SCRIPTED_CONFIG + budget("key:*", "5") + budget("workflow:demo/spent", "0.000000001")
CONFIG += """\
[models.painter]
provider = "here"
price = { per_image = "0.04" }
context_tokens = 4_096
max_output_tokens = 1
[models.gpt-image-1]
provider = "here"
context_tokens = 10_000
max_output_tokens = 6_240
[models.tts-1]
provider = "here"
context_tokens = 4_096
max_output_tokens = 1
[models.gpt-4o-mini-tts]
provider = "here"
context_tokens = 4_096
max_output_tokens = 2_000
[models.whisper-1]
provider = "here"
context_tokens = 4_096
max_output_tokens = 1
[models.gpt-4o-transcribe]
provider = "here"
context_tokens = 16_000
max_output_tokens = 2_000
[models.lost]
provider = "here"
price = { per_minute = "0.006" }
context_tokens = 4_096
max_output_tokens = 1
"""
PER_CHARACTER_NANO, PER_SECOND_NANO = 15_000, 100_000
PER_IMAGE_NANO = 40_000_000


def settled(weir: GatewayProcess, request_id: str, cost_nano: int, source: str) -> dict[str, Any]:
    """The request as it is on record: it cost exactly that, and no more was spent than held."""
    row = weir.ended(request_id)
    assert (row["ending"], row["usage_source"], row["cost_nano"]) == (
        "completed",
        source,
        cost_nano,
    )
    assert row["cost_nano"] <= row["reserved_nano"]
    return row


# -- images -------------------------------------------------------------------------------------


def test_images_are_billed_each(weir: GatewayProcess, gpt: OpenAI, sent: list[str]) -> None:
    made = gpt.images.generate(model="painter", prompt="a cat", n=2)
    assert [base64.b64decode(image.b64_json or "") for image in made.data or []] == [b"a cat"] * 2
    row = settled(weir, sent[-1], 2 * PER_IMAGE_NANO, "provider")
    assert (row["route"], row["reserved_nano"]) == ("images.generations", 2 * PER_IMAGE_NANO)
    assert row["frontier_cost_nano"] == 0


def test_images_of_gpt_image_are_billed_by_the_token(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    gpt.images.generate(model="gpt-image-1", prompt="one two three")
    settled(weir, sent[-1], 3 * 5_000 + 3 * 40_000, "provider")
    gpt.images.edit(model="gpt-image-1", prompt="one two", image=[b"\x89PNG 1", b"\x89PNG 2"], n=2)
    row = settled(weir, sent[-1], 2 * 5_000 + 10 * 10_000 + 4 * 40_000, "provider")
    assert row["route"] == "images.edits"


def test_streamed_images_pass_as_they_come_and_each_is_counted(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    for model, cost_nano in (
        ("painter", 2 * PER_IMAGE_NANO),
        ("gpt-image-1", 2 * 5_000 + 4 * 40_000),
    ):
        stream = gpt.images.generate(
            model=model, prompt="a cat", n=2, stream=True, partial_images=2
        )
        kinds = [event.type for event in stream]
        assert kinds.count("image_generation.partial_image") == 4
        assert kinds[-1] == "image_generation.completed"
        settled(weir, sent[-1], cost_nano, "provider")


def test_what_is_not_reported_is_charged_as_held(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    gpt.images.generate(model="gpt-image-1", prompt="x #weir:chunks=2,usage=none")
    row = weir.ended(sent[-1])
    assert row["usage_source"] == "estimated"
    assert 6_240 * 40_000 < row["cost_nano"] <= row["reserved_nano"]


# -- speech -------------------------------------------------------------------------------------


def test_speech_passes_as_it_is_made_and_is_billed_by_the_character(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str], tmp_path: Path
) -> None:
    said, file = "Grüße an alle", tmp_path / "said.mp3"
    with gpt.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=said
    ) as answer:
        answer.stream_to_file(file)
    assert answer.headers["content-type"] == "audio/mpeg"
    assert file.read_bytes() == b"ID3" + said.encode() + b"TAG"
    row = settled(weir, sent[-1], len(said) * PER_CHARACTER_NANO, "estimated")
    assert (row["route"], row["reserved_nano"]) == ("audio.speech", row["cost_nano"])


def test_speech_in_events_is_billed_by_the_token(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    answer = gpt.audio.speech.create(
        model="gpt-4o-mini-tts", voice="alloy", input="one two three", stream_format="sse"
    )
    assert answer.content.count(b"speech.audio.delta") == 3
    settled(weir, sent[-1], 3 * 600 + 3 * 12_000, "provider")
    gpt.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input="one two three")
    row = weir.ended(sent[-1])
    assert row["usage_source"] == "estimated"
    assert 2_000 * 12_000 < row["cost_nano"] <= row["reserved_nano"]


def test_a_client_that_hangs_up_pays_for_what_it_had_spoken(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    said = "x #weir:chunks=1000,delay_ms=5"
    with gpt.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=said
    ) as answer:
        next(answer.iter_bytes(3))
    row = weir.ended(sent[-1])
    assert (row["ending"], row["cost_nano"]) == ("client_gone", len(said) * PER_CHARACTER_NANO)


def test_a_sound_that_breaks_off_has_no_end(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    said = "x #weir:chunks=9,break_after=3"
    broken = gpt.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=said
    )
    with pytest.raises(httpx.RemoteProtocolError), broken as answer:
        answer.read()
    row = weir.ended(sent[-1])
    assert (row["ending"], row["cost_nano"]) == (
        "upstream_failed",
        len(said) * PER_CHARACTER_NANO,
    )


# -- transcriptions -----------------------------------------------------------------------------


def wav(seconds: int) -> bytes:
    """Silence in 16 bits at 8 kHz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(b"\0\0" * 8_000 * seconds)
    return file.getvalue()


def test_a_transcription_is_billed_by_the_seconds_that_were_heard(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    heard = gpt.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", wav(3)), prompt="#weir:say=Hello"
    )
    assert heard.text == "Hello"
    # The header is taken for sound as well: 44 bytes are 3 ms.
    row = settled(weir, sent[-1], 3_003 * PER_SECOND_NANO // 1_000, "provider")
    assert (row["route"], row["reserved_nano"]) == ("audio.transcriptions", row["cost_nano"])
    english = gpt.audio.translations.create(
        model="whisper-1", file=("a.wav", wav(1)), prompt="#weir:say=Hello"
    )
    assert english.text == "Hello"
    row = settled(weir, sent[-1], 1_003 * PER_SECOND_NANO // 1_000, "provider")
    assert row["route"] == "audio.translations"


def test_a_transcription_is_billed_by_the_tokens_that_are_reported(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    gpt.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=("a.wav", wav(3)), prompt="one two"
    )
    settled(weir, sent[-1], (2 + 30) * 2_500 + 2 * 10_000, "provider")
    stream = gpt.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=("a.wav", wav(3)), prompt="one two", stream=True
    )
    assert [event.type for event in stream][-1] == "transcript.text.done"
    settled(weir, sent[-1], (2 + 30) * 2_500 + 2 * 10_000, "provider")


def test_sound_of_unknown_length_is_held_and_charged_by_its_bytes_where_nobody_tells(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    file = ("a.mp3", b"\xff\xfb" * 5_000)  # 10 s at 8,000 bits a second
    text: Any = gpt.audio.transcriptions.create(
        model="lost", file=file, prompt="one two", response_format="text"
    )
    assert text.strip() == "one two"
    row = settled(weir, sent[-1], 10 * PER_SECOND_NANO, "estimated")
    assert row["reserved_nano"] == row["cost_nano"]
    # The provider reports tokens, which this model has no price for.
    gpt.audio.transcriptions.create(model="lost", file=file, prompt="one two")
    settled(weir, sent[-1], 10 * PER_SECOND_NANO, "estimated")


# -- refusals -----------------------------------------------------------------------------------


def test_what_has_no_price_for_it_is_refused_before_it_is_sent(
    weir: GatewayProcess, gpt: OpenAI
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.chat.completions.create(model="painter", messages=[{"role": "user", "content": "x"}])
    assert caught.value.code == "price_unknown"
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.audio.speech.create(model="painter", voice="alloy", input="x")
    assert caught.value.code == "price_unknown"
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.audio.transcriptions.create(model="tts-1", file=("a.wav", wav(1)))
    assert caught.value.code == "price_unknown"


def test_a_spent_budget_refuses_images_of_any_kind(weir: GatewayProcess, gpt: OpenAI) -> None:
    spent = gpt.with_options(default_headers={"x-weir-workflow": "spent"})
    with pytest.raises(openai.APIStatusError) as caught:
        spent.images.generate(model="painter", prompt="x")
    assert (caught.value.status_code, caught.value.code) == (402, "budget_exceeded")
    with pytest.raises(openai.APIStatusError) as caught:
        spent.images.edit(model="painter", prompt="x", image=b"\x89PNG")
    assert caught.value.status_code == 402
