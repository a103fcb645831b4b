"""Estimates tokens with tiktoken where a provider reports nothing.

The vocabulary is OpenAI's; other models make up to several times as many tokens of digits, line
breaks or Thai. So this count never bounds what a request may cost: `gateway/input_size.py` does.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tiktoken

from gateway.input_size import MESSAGE_OVERHEAD_TOKENS

ENCODING = "cl100k_base"
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
