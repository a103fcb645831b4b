"""What images and sound may use at most (gateway.media), and how long a WAV is (gateway.wav)."""

import io
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.prices import cost, make_price
from budgets.usage import TokenUsage
from gateway.media import Media, bound_media, sound_ms
from gateway.wav import wav_ms

BY_TOKENS = make_price(
    "m", {"fresh": 5, "image_input": 10, "audio_input": 7, "output": 40}, version="v"
)
BY_PIECES = make_price(
    "m", {}, version="v", units={"images": 9_000, "characters": 15_000, "sound_ms": 3_000}
)
ASKED = st.one_of(
    st.builds(
        Media,
        st.just("images"),
        count=st.integers(1, 10),
        text_bytes=st.integers(0, 999),
        pictures=st.integers(0, 3),
        partials=st.integers(0, 3),
    ),
    st.builds(Media, st.just("characters"), count=st.integers(1, 999)),
    st.builds(
        Media,
        st.just("sound_ms"),
        sound_ms=st.integers(0, 10**6),
        sound_bytes=st.integers(0, 10**6),
    ),
)


@given(ASKED, st.sampled_from([BY_TOKENS, BY_PIECES]), st.integers(1, 9_999))
def test_what_is_held_covers_what_is_charged_where_nothing_is_reported(
    media: Media, price: object, most: int
) -> None:
    assert price in (BY_TOKENS, BY_PIECES)
    chosen = BY_TOKENS if price == BY_TOKENS else BY_PIECES
    bound = bound_media(media, chosen, most, 3, 8_000)
    assert bound is not None
    assert 0 < cost(chosen, bound.usage).total_nano <= bound.ceiling_nano
    assert bound.is_told_by(bound.usage, media.unit)
    assert not bound.is_told_by(TokenUsage(), media.unit)


def test_a_report_in_other_units_tells_nothing() -> None:
    by_pieces = bound_media(Media("images", 2), BY_PIECES, 9, 0, 8_000)
    by_tokens = bound_media(Media("images", 2), BY_TOKENS, 9, 0, 8_000)
    assert by_pieces is not None and by_tokens is not None
    assert not by_pieces.is_told_by(TokenUsage(fresh=5, output=9), "images")
    assert not by_tokens.is_told_by(TokenUsage(images=2), "images")
    assert by_tokens.is_told_by(TokenUsage(fresh=5, output=9), "images")


def test_a_price_for_other_pieces_is_none() -> None:
    painter = make_price("m", {}, version="v", units={"images": 1})
    assert bound_media(Media("sound_ms", sound_ms=5), painter, 9, 0, 8_000) is None


def test_bytes_last_as_long_as_the_bitrate_says_rounded_up() -> None:
    assert (sound_ms(1_000, 8_000), sound_ms(1, 8_000), sound_ms(1, 9_000)) == (1_000, 1, 1)


def wav(channels: int = 1, width: int = 2, rate: int = 8_000, frames: int = 8_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(bytes(channels * width * frames))
    return file.getvalue()


@given(
    st.integers(1, 2), st.sampled_from([1, 2, 4]), st.integers(1_000, 9_000), st.integers(0, 9_000)
)
def test_plain_samples_are_never_longer_than_said(
    channels: int, width: int, rate: int, frames: int
) -> None:
    raw = b"--d" + wav(channels, width, rate, frames) + b"--d"
    found = wav_ms(raw, 3, len(raw) - 3)
    assert found is not None
    assert 0 <= found - frames * 1_000 / rate <= 44 * 1_000 / (channels * width * rate) + 1


def test_a_header_that_lies_of_its_length_is_not_believed() -> None:
    raw = bytearray(wav())
    raw[40:44] = (2).to_bytes(4, "little")
    assert wav_ms(bytes(raw), 0, len(raw)) == 1_003


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfb" * 50,
        wav()[:40],
        wav().replace(b"WAVE", b"AVI "),
        wav().replace(b"fmt ", b"data"),
        wav().replace(b"fmt ", b"junk"),
        wav()[:20] + b"\x55\x00" + wav()[22:],
        wav()[:22] + b"\x00\x00" + wav()[24:],
    ],
)
def test_what_is_no_plain_wav_has_no_length(raw: bytes) -> None:
    assert wav_ms(raw, 0, len(raw)) is None


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(rest: bytes) -> None:
    raw = b"RIFF\0\0\0\0WAVE" + rest
    assert (wav_ms(raw, 0, len(raw)) or 0) >= 0
