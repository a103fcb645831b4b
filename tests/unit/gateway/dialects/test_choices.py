"""Streams of choices: one report of usage, one name, and everything else a dialect's own."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from gateway.dialects.chat import ChatMeter
from gateway.dialects.choices import ChoiceMeter
from gateway.dialects.completions import CompletionMeter
from gateway.errors import internal_error

METERS = {
    ChatMeter: lambda text: {"delta": {"content": text}},
    CompletionMeter: lambda text: {"text": text},
}


def event(body: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


@pytest.fixture(params=METERS, ids=lambda meter: meter.__name__)
def kind(request: pytest.FixtureRequest) -> type[ChoiceMeter]:
    chosen: type[ChoiceMeter] = request.param
    return chosen


def said(kind: type[ChoiceMeter], text: str) -> Mapping[str, Any]:
    return {"id": "c1", "choices": [METERS[kind](text)]}


def test_text_of_every_choice_counts(kind: type[ChoiceMeter]) -> None:
    meter = kind(100, lambda text: len(text.split()))
    meter.feed(event({"id": "c1", "choices": [METERS[kind]("to be"), METERS[kind](" or not")]}))
    assert meter.output_tokens() == 4
    assert meter.response_id == "c1"


def test_an_event_without_choices_tells_only_usage(kind: type[ChoiceMeter]) -> None:
    meter = kind(100, len)
    [first] = meter.feed(event(said(kind, "x")))
    assert not first.only_usage
    report = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    [last] = meter.feed(event({"choices": [], "usage": report}))
    assert last.only_usage
    assert meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.output_tokens) == (3, 2)


def test_an_error_inside_the_stream_is_seen(kind: type[ChoiceMeter]) -> None:
    meter = kind(100, len)
    meter.feed(event({"error": {"message": "no more"}}))
    assert meter.error_seen
    assert not meter.torn  # not every provider ends with [DONE]


def test_the_end_that_we_make_is_an_error_that_sdks_raise(kind: type[ChoiceMeter]) -> None:
    ending = kind(100, len).fail(internal_error("req_1"), "req_1")
    assert ending == internal_error("req_1").as_sse()
