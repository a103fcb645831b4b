"""How many input tokens a request can be at most, for any model. Pure.

A tokenizer covers each byte of a text with at most one token, whatever its vocabulary. So the
bytes of the text are a bound that holds for every model; they are about four times what an English
text really takes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from budgets.value import value

MESSAGE_OVERHEAD_TOKENS = 8
MEDIA_TOKENS = 4_096
# The field that holds the medium in a content part of each kind.
_MEDIA_FIELDS: Mapping[str, str] = {
    "image_url": "image_url",
    "input_image": "image_url",
    "image": "source",
    "input_audio": "input_audio",
    "audio": "audio",
    "file": "file",
    "input_file": "file",
    "document": "source",
}


@value
class InputSize:
    """The bytes of a request's text, its media, and its messages."""

    text_bytes: int
    media: int
    messages: int

    def bound_tokens(self, overhead_tokens: int) -> int:
        """At most so many tokens; `overhead_tokens` is what the model's own template adds.

        What a medium costs has nothing to do with its bytes: each counts as 4,096 tokens.
        """
        return (
            self.text_bytes
            + MESSAGE_OVERHEAD_TOKENS * self.messages
            + MEDIA_TOKENS * self.media
            + overhead_tokens
        )


def whole_size(raw: bytes, body: Mapping[str, Any]) -> InputSize:
    """The size at a glance, where there are no media: JSON is never shorter than its text."""
    return InputSize(len(raw), 0, len(body["messages"]))


def exact_size(body: Mapping[str, Any]) -> InputSize:
    """The bytes of every key and value, for any may reach the model, and the media among them."""
    text_bytes = media = 0
    for found in _texts(body):
        if found is None:
            media += 1
        else:
            text_bytes += len(found) if found.isascii() else len(found.encode("utf-8", "replace"))
    return InputSize(text_bytes, media, len(body["messages"]))


def _texts(item: Any) -> Iterator[str | None]:
    """Every text inside a JSON value; None for each medium, whose bytes are no text."""
    pending: list[Any] = [item]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            yield from item
            medium = _medium_of(item)
            if medium is None:
                pending.extend(item.values())
            else:
                yield None
                pending.extend(content for key, content in item.items() if key != medium)
        elif item is not None:
            yield str(item)


def _medium_of(part: Mapping[str, Any]) -> str | None:
    """The field of a content part that holds an image, a sound or a file."""
    kind = part.get("type")
    field = _MEDIA_FIELDS.get(kind) if isinstance(kind, str) else None
    return field if field is not None and isinstance(part.get(field), str | dict) else None
