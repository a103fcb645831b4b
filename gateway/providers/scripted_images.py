"""How the scripted provider draws: an image is the text that it would say, in base64. Pure."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.errors import ApiError
from gateway.forms import Form, read_form
from gateway.providers.scripted_wire import (
    Answer,
    RequestError,
    Said,
    ScriptedRequest,
    Wire,
    event,
    openai_error,
    read_limit,
    read_object,
    tokens_in,
)

# Tokens of an image that goes in.
PICTURE_TOKENS = 5


def read_images(body: bytes) -> ScriptedRequest:
    """Read a request for new images; raise RequestError."""
    fields = read_object(body)
    return _request(fields, read_limit(fields, "n") or 1, fields.get("stream") is True)


def read_edits(body: bytes) -> ScriptedRequest:
    """Read a form with images to change; raise RequestError."""
    form = form_of(body)
    count = str(form.get("n", "1"))
    if not count.isdecimal():
        raise RequestError("n: must be a whole number")
    return _request(form, int(count), form.get("stream") == "true")


def form_of(body: bytes) -> Form:
    """The form of a body; raise RequestError."""
    try:
        return read_form(body)
    except ApiError as error:
        raise RequestError(error.message) from error


def pictures_in(fields: Mapping[str, Any]) -> int:
    """How many images go in."""
    return len(fields.files) if isinstance(fields, Form) else 0


def _request(fields: Mapping[str, Any], count: int, stream: bool) -> ScriptedRequest:
    prompt = fields.get("prompt")
    if not isinstance(prompt, str):
        raise RequestError("prompt: must be a text")
    return ScriptedRequest(
        model=str(fields.get("model", "")),
        prompt=prompt,
        prompts=(prompt,) * count,
        prompt_tokens=tokens_in([prompt]) + PICTURE_TOKENS * pictures_in(fields),
        max_tokens=None,
        stream=stream,
        fields=fields,
    )


class ImageWords:
    """The words of images (`Wording`); a streamed one comes in as many parts as it has tokens."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def opening(self) -> bytes:
        return b": drawing\n\n"

    def piece(self, index: int, text: str) -> bytes:
        return event(
            {
                "type": "image_generation.partial_image",
                "partial_image_index": index,
                "b64_json": _picture(text),
            }
        )

    def closing(self, said: Sequence[Said]) -> Sequence[bytes]:
        """One event for each image; the input is told with the first."""
        events = []
        for index, one in enumerate(said):
            fields: dict[str, object] = {
                "type": "image_generation.completed",
                "b64_json": _picture(one.text),
            }
            if self._answer.reports_usage:
                extra = self._answer.reasoning_tokens if index == 0 else 0
                fields["usage"] = self._usage(one.tokens + extra, with_input=index == 0)
            events.append(event(fields))
        return events

    def whole(self, said: Sequence[Said]) -> bytes:
        fields: dict[str, object] = {
            "created": self._answer.created_s,
            "data": [{"b64_json": _picture(one.text)} for one in said],
        }
        if self._answer.reports_usage:
            made = sum(one.tokens for one in said) + self._answer.reasoning_tokens
            fields["usage"] = self._usage(made, with_input=True)
        return orjson.dumps(fields)

    def _usage(self, made: int, *, with_input: bool) -> dict[str, object]:
        request = self._answer.request
        tokens = request.prompt_tokens if with_input else 0
        pictures = PICTURE_TOKENS * pictures_in(request.fields) if with_input else 0
        details = {
            "text_tokens": tokens - pictures,
            "image_tokens": pictures,
            "cached_tokens": self._answer.cached_tokens if with_input else 0,
        }
        return {
            "input_tokens": tokens,
            "output_tokens": made,
            "total_tokens": tokens + made,
            "input_tokens_details": details,
        }


def _picture(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


IMAGES = Wire("img", read_images, ImageWords, openai_error)
EDITS = Wire("img", read_edits, ImageWords, openai_error)
