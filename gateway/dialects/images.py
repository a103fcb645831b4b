"""Images: the dialects of `/v1/images/generations` and `/v1/images/edits`."""

from collections.abc import Callable, Mapping
from typing import Any

from budgets.media_usage import usage_from_images, usage_of_image_tokens
from budgets.usage import TokenUsage, UsageFault
from gateway.dialects.media_style import MediaMeter, MediaStyle
from gateway.dialects.port import Meter, ModelRequest
from gateway.errors import bad_request
from gateway.forms import Form, flag_in, number_in, read_form
from gateway.media import Media
from gateway.wire import flag, model_of, parse_object, positive

# OpenAI makes 10 at most; a client must not ask for a hold without bounds.
MAX_IMAGES = 100
MAX_PARTIALS = 100


class Images(MediaStyle):
    """The dialect of `/v1/images/generations`."""

    name = "images.generations"
    speech = "images"
    route = "/v1/images/generations"
    path = "/images/generations"

    def read(self, raw: bytes) -> ModelRequest:
        body = parse_object(raw)
        model = model_of(body)
        asked = (positive(body, "n"), positive(body, "partial_images", least=0))
        return _request(raw, body, model, asked, stream=flag(body, "stream"))

    def usage_in(self, answer: object) -> TokenUsage | UsageFault:
        return usage_from_images(answer)

    def meter(self, limit_tokens: int, count: Callable[[str], int]) -> Meter:
        return MediaMeter(limit_tokens, count, ".completed", _usage_at_the_end)


class ImageEdits(Images):
    """The dialect of `/v1/images/edits`: the same with images that go in, in a form."""

    name = "images.edits"
    route = "/v1/images/edits"
    path = "/images/edits"

    def read(self, raw: bytes) -> ModelRequest:
        form = read_form(raw)
        model = model_of(form)
        partials = None if form.get("partial_images") == "0" else number_in(form, "partial_images")
        asked = (number_in(form, "n"), partials)
        return _request(raw, form, model, asked, stream=flag_in(form, "stream"))


def _request(
    raw: bytes,
    body: Mapping[str, Any],
    model: str,
    asked: tuple[int | None, int | None],
    *,
    stream: bool,
) -> ModelRequest:
    images, partials = asked[0] or 1, asked[1] or 0
    if images > MAX_IMAGES:
        raise bad_request(f"`n` must be at most {MAX_IMAGES}.", "n")
    if partials > MAX_PARTIALS:
        raise bad_request(f"`partial_images` must be at most {MAX_PARTIALS}.", "partial_images")
    files = body.files if isinstance(body, Form) else []
    in_files = sum(file.end - file.start for file in files)
    return ModelRequest(
        raw=raw,
        body=body,
        model=model,
        stream=stream,
        wants_usage=True,
        output_tokens=None,
        choices=images,
        media=Media("images", images, len(raw) - in_files, pictures=len(files), partials=partials),
        content_type=body.content_type if isinstance(body, Form) else b"",
    )


def _usage_at_the_end(event: Mapping[str, Any]) -> TokenUsage | UsageFault:
    """One finished image and its tokens, where they are told."""
    made = TokenUsage(images=1)
    if event.get("usage") is None:
        return made
    usage = usage_of_image_tokens(event["usage"])
    return usage if isinstance(usage, UsageFault) else made.plus(usage)
