"""How many input tokens a request can be at most, for any model. Pure.

A tokenizer covers each byte of a text with at most one token, whatever its vocabulary. So the
bytes of the text are a bound that holds for every model; they are about four times what an English
text really takes. Where a model's vocabulary is known, what its messages say is counted with it,
and only the rest (tools, schemas, unknown fields) by bytes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from budgets.value import value
from gateway.dialects.port import InputParts

MESSAGE_OVERHEAD_TOKENS = 8
MEDIA_TOKENS = 4_096
# Keys of a message and of its parts whose place is in the template, counted for each message.
_TEMPLATE_KEYS = frozenset({"role", "content", "type", "text"})
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
    """The bytes of a request's text, its media, and how many messages or parts are framed.

    `spoken` are the texts of the messages, where they were looked for; `other_bytes` is the rest,
    in which a token that the request gives as a number counts as a byte.
    """

    text_bytes: int
    media: int
    messages: int
    spoken: tuple[str, ...] = ()
    other_bytes: int = 0

    def bound_tokens(self, overhead_tokens: int, spoken_tokens: int | None = None) -> int:
        """At most so many tokens; `overhead_tokens` is what the model's own template adds.

        `spoken_tokens` is what `spoken` is in the model's vocabulary, where that was counted. What
        a medium costs has nothing to do with its bytes: each counts as 4,096 tokens.
        """
        text = self.text_bytes
        if spoken_tokens is not None:
            text = min(text, spoken_tokens + self.other_bytes)
        return (
            text
            + MESSAGE_OVERHEAD_TOKENS * self.messages
            + MEDIA_TOKENS * self.media
            + overhead_tokens
        )


def whole_size(raw: bytes, frames: int) -> InputSize:
    """The size at a glance, where there are no media: JSON is never shorter than its text."""
    return InputSize(len(raw), 0, frames)


def exact_size(parts: InputParts) -> InputSize:
    """The bytes of every key and value that may reach the model, and the media among them."""
    spoken: list[str] = []
    spoken_bytes, media = _measure(parts.said, _TEMPLATE_KEYS, spoken)
    other_bytes, more_media = _measure(parts.rest, frozenset(), None)
    other_bytes += parts.token_ids
    return InputSize(
        spoken_bytes + other_bytes, media + more_media, parts.frames, tuple(spoken), other_bytes
    )


def _measure(item: Any, free: frozenset[str], spoken: list[str] | None) -> tuple[int, int]:
    """Bytes and media of a JSON value without the keys in `free`; its texts go to `spoken`."""
    text_bytes = media = 0
    for found in _texts(item, free):
        if found is None:
            media += 1
            continue
        text_bytes += len(found) if found.isascii() else len(found.encode("utf-8", "replace"))
        if spoken is not None:
            spoken.append(found)
    return text_bytes, media


def _texts(item: Any, free: frozenset[str]) -> Iterator[str | None]:
    """Every text inside a JSON value; None for each medium, whose bytes are no text."""
    pending: list[Any] = [item]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            yield from [key for key in item if key not in free]
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
