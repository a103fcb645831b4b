"""The reports of images, speech and transcriptions become the same disjoint classes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.media_usage import usage_from_images, usage_from_speech, usage_from_transcription
from budgets.usage import MAX_TOKENS, TOKEN_CLASSES, UNITS, TokenUsage, UsageFault

DETAILS = {"text_tokens": 10, "image_tokens": 40}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"data": [{}, {}]}, TokenUsage(images=2)),
        (
            {
                "data": [{}],
                "usage": {"input_tokens": 50, "output_tokens": 9, "input_tokens_details": DETAILS},
            },
            TokenUsage(fresh=10, image_input=40, output=9, images=1),
        ),
        (
            {
                "data": [{}],
                "usage": {
                    "input_tokens": 50,
                    "output_tokens": 9,
                    "input_tokens_details": {**DETAILS, "cached_tokens": 45},
                },
            },
            TokenUsage(cached=10, image_input=40, output=9, images=1),
        ),
        ({"data": []}, UsageFault("data", "no image and no usage")),
        ({"data": {}}, UsageFault("data", "{}")),
        (
            {"usage": {"input_tokens": 3, "input_tokens_details": DETAILS}},
            UsageFault("input_tokens_details", "more tokens than input_tokens"),
        ),
        ({"usage": {"input_tokens": -3}}, UsageFault("input_tokens", "-3")),
    ],
)
def test_images_are_counted_and_their_tokens_told_apart(answer: Any, expected: object) -> None:
    assert usage_from_images(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"usage": {"type": "duration", "seconds": 9}}, TokenUsage(sound_ms=9_000)),
        ({"usage": {"type": "duration", "seconds": 8.4701}}, TokenUsage(sound_ms=8_471)),
        ({"duration": 8.5}, TokenUsage(sound_ms=8_500)),
        ({"duration": "8.5"}, TokenUsage(sound_ms=8_500)),
        (
            {
                "usage": {
                    "type": "tokens",
                    "input_tokens": 14,
                    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
                    "output_tokens": 5,
                }
            },
            TokenUsage(fresh=4, audio_input=10, output=5),
        ),
        ({"text": "Hi"}, UsageFault("duration", "missing")),
        ({"usage": {"type": "duration", "seconds": -1}}, UsageFault("usage.seconds", "-1")),
        ({"duration": "nan"}, UsageFault("duration", "nan")),
        ({"duration": True}, UsageFault("duration", "True")),
    ],
)
def test_a_transcription_is_told_in_tokens_or_in_seconds(answer: Any, expected: object) -> None:
    assert usage_from_transcription(answer) == expected


def test_speech_is_text_in_and_sound_out() -> None:
    report = {"input_tokens": 7, "output_tokens": 90, "total_tokens": 97}
    assert usage_from_speech(report) == TokenUsage(fresh=7, audio_output=90)
    assert usage_from_speech({}) == UsageFault("input_tokens", "missing")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(
        st.sampled_from(
            ["usage", "data", "type", "seconds", "duration", "input_tokens", "output_tokens",
             "input_tokens_details", "input_token_details", "image_tokens", "audio_tokens"]
        ),
        inner,
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.sampled_from([usage_from_images, usage_from_speech, usage_from_transcription]))
def test_no_report_raises_and_nothing_is_negative(found: object, read: Any) -> None:
    usage = read(found)
    if isinstance(usage, UsageFault):
        assert usage.field and usage.found and len(usage.found) <= 80
        return
    counts = [getattr(usage, name) for name in (*TOKEN_CLASSES, *UNITS)]
    assert all(type(count) is int and 0 <= count <= MAX_TOKENS for count in counts)
