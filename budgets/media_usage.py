"""The usage reports of images, speech and transcriptions, made disjoint like all others.

A report counts tokens, or what it bills instead: the images of an answer, the seconds of a sound.
What it cannot be right about is a `UsageFault`, never a guess.
"""

import math
import reprlib
from collections.abc import Mapping

from budgets.usage import MAX_TOKENS, TokenUsage, UsageFault

MS_PER_S = 1_000
# Longer than any file that is taken; what is above is no length.
MAX_SOUND_S = 1_000_000


def usage_from_images(answer: object) -> TokenUsage | UsageFault:
    """The images in `data`, and the tokens in `usage` where there is one.

    `input_tokens` includes `image_tokens` and cached ones; all output is images.
    Source: OpenAI API reference, `ImagesResponse`.
    """
    if not isinstance(answer, Mapping):
        return UsageFault("body", reprlib.repr(answer)[:80])
    data, report = answer.get("data"), answer.get("usage")
    if data is not None and not isinstance(data, list):
        return UsageFault("data", reprlib.repr(data)[:80])
    images = len(data or ())
    if report is None:
        if images:
            return TokenUsage(images=images)
        return UsageFault("data", "no image and no usage")
    usage = usage_of_image_tokens(report)
    if isinstance(usage, UsageFault):
        return usage
    return TokenUsage(
        fresh=usage.fresh,
        cached=usage.cached,
        image_input=usage.image_input,
        output=usage.output,
        images=images,
    )


def usage_of_image_tokens(report: object) -> TokenUsage | UsageFault:
    """The `usage` object itself, as the last event of a stream has it."""
    totals = _counts(report, "", "input_tokens", "output_tokens")
    if isinstance(totals, UsageFault):
        return totals
    inside = _inside(report, "input_tokens_details", "image_tokens", "cached_tokens")
    if isinstance(inside, UsageFault):
        return inside
    image_input, cached = inside
    if image_input > totals[0]:
        return UsageFault("input_tokens_details", "more tokens than input_tokens")
    # Cached tokens may be of images as well; these are the dearer ones.
    cached = min(cached, totals[0] - image_input)
    return TokenUsage(
        fresh=totals[0] - image_input - cached,
        cached=cached,
        image_input=image_input,
        output=totals[1],
    )


def usage_from_speech(report: object) -> TokenUsage | UsageFault:
    """The `usage` object at the end of streamed speech: text in, sound out.

    Source: OpenAI API reference, `SpeechAudioDoneEvent`.
    """
    totals = _counts(report, "", "input_tokens", "output_tokens")
    if isinstance(totals, UsageFault):
        return totals
    return TokenUsage(fresh=totals[0], audio_output=totals[1])


def usage_from_transcription(answer: object) -> TokenUsage | UsageFault:
    """The `usage` object of a transcription, in tokens or seconds, or the sound's `duration`.

    Source: OpenAI API reference, `Transcription` and `TranscriptionVerbose`.
    """
    if not isinstance(answer, Mapping):
        return UsageFault("body", reprlib.repr(answer)[:80])
    report = answer.get("usage")
    if report is None:
        return _heard(answer.get("duration"), "duration")
    if isinstance(report, Mapping) and report.get("type") == "duration":
        return _heard(report.get("seconds"), "usage.seconds")
    totals = _counts(report, "", "input_tokens", "output_tokens")
    if isinstance(totals, UsageFault):
        return totals
    inside = _inside(report, "input_token_details", "audio_tokens")
    if isinstance(inside, UsageFault):
        return inside
    if inside[0] > totals[0]:
        return UsageFault("input_token_details", "more tokens than input_tokens")
    return TokenUsage(fresh=totals[0] - inside[0], audio_input=inside[0], output=totals[1])


def _heard(seconds: object, field: str) -> TokenUsage | UsageFault:
    """So many seconds in milliseconds, rounded up; some providers send them as text."""
    if isinstance(seconds, str):
        try:
            seconds = float(seconds)
        except ValueError:
            return UsageFault(field, reprlib.repr(seconds)[:80])
    known = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not known or not 0 < seconds <= MAX_SOUND_S:  # type: ignore[operator]
        return UsageFault(field, "missing" if seconds is None else reprlib.repr(seconds)[:80])
    return TokenUsage(sound_ms=math.ceil(seconds * MS_PER_S))  # type: ignore[operator]


def _counts(report: object, where: str, *fields: str) -> list[int] | UsageFault:
    """The counts of these fields, 0 where one is missing; the first has to be there."""
    if not isinstance(report, Mapping):
        return UsageFault("usage", reprlib.repr(report)[:80])
    if not where and report.get(fields[0]) is None:
        return UsageFault(fields[0], "missing")
    counts = []
    for field in fields:
        count = report.get(field)
        if count is None:
            count = 0
        if type(count) is not int or not 0 <= count <= MAX_TOKENS:
            return UsageFault(where + field, reprlib.repr(count)[:80])
        counts.append(count)
    return counts


def _inside(report: object, name: str, *fields: str) -> list[int] | UsageFault:
    """The counts inside one of the detail objects; zeros where there is none."""
    details = report.get(name) if isinstance(report, Mapping) else None
    return [0] * len(fields) if details is None else _counts(details, f"{name}.", *fields)
