"""Counts tokens of text: a bound that holds for every model, and an estimate where one is needed.

A byte-level tokenizer never makes more tokens than the text has bytes, so the size of the request
is a safe bound and costs nothing. The count by tiktoken is tighter, but it is OpenAI's vocabulary:
for other models it is widened by a factor. What a request really used, the provider reports.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tiktoken

ENCODING = "cl100k_base"
SAFETY_FACTOR_PERCENT = 150
MESSAGE_OVERHEAD_TOKENS = 8
MEDIA_TOKENS = 4_096
OFF_LOOP_CHARS = 20_000


def vocabulary_folder() -> Path:
    """The folder of vocabularies that the litellm package ships; litellm is not imported."""
    spec = find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the litellm package, whose vocabularies are used, is not installed")
    return Path(spec.submodule_search_locations[0]) / "litellm_core_utils" / "tokenizers"


class Tokenizer:
    """One loaded vocabulary (about 40 MB)."""

    def __init__(self) -> None:
        # tiktoken would download its vocabulary; it looks in this folder first.
        os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(vocabulary_folder()))
        self._encoding = tiktoken.get_encoding(ENCODING)

    def count(self, text: str) -> int:
        """Tokens of a text; about 0.3 ms for 1,000 tokens."""
        return len(self._encoding.encode_ordinary(text))

    async def count_prompt(self, body: Mapping[str, Any]) -> int:
        """Tokens of a request's messages and tools by this vocabulary, without media."""
        text = "\n".join(prompt_texts(body))
        if len(text) <= OFF_LOOP_CHARS:
            tokens = self.count(text)
        else:
            tokens = await asyncio.to_thread(self.count, text)
        return tokens + MESSAGE_OVERHEAD_TOKENS * len(body["messages"])


def prompt_texts(body: Mapping[str, Any]) -> Iterable[str]:
    """Every text of a request that a provider turns into input tokens."""
    names = ("messages", "tools", "functions", "response_format", "prediction")
    return texts_in([body.get(name) for name in names])


def texts_in(value: Any) -> Iterator[str]:
    """Every key and scalar inside a JSON value as text; data URLs are media, not text."""
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if not item.startswith("data:"):
                yield item
        elif isinstance(item, dict):
            yield from item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif item is not None:
            yield str(item)


def input_bound_tokens(size_bytes: int, messages: int, media: int, overhead_tokens: int) -> int:
    """At most so many input tokens, from the body's size alone.

    `media` is the number of images, sounds and files: what they cost has nothing to do with the
    bytes that name them. `overhead_tokens` is what the model's own template adds.
    """
    return size_bytes + MESSAGE_OVERHEAD_TOKENS * messages + MEDIA_TOKENS * media + overhead_tokens


def widened_tokens(counted_tokens: int, media: int, overhead_tokens: int) -> int:
    """A counted prompt as a bound for models with another vocabulary."""
    widened = -(-counted_tokens * SAFETY_FACTOR_PERCENT // 100)
    return widened + MEDIA_TOKENS * media + overhead_tokens
