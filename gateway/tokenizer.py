"""Counts tokens with tiktoken: estimates for any model, and the truth for those it is made for.

The vocabularies are OpenAI's; other models make up to several times as many tokens of digits, line
breaks or Thai. So a count bounds what a request may cost only with a model whose vocabulary it is;
for all others the bytes do (`gateway/input_size.py`).
"""

import asyncio
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tiktoken

from gateway.dialects.port import InputParts
from gateway.input_size import MESSAGE_OVERHEAD_TOKENS
from routing.catalog import ModelCard

ENCODING = "cl100k_base"
OFF_LOOP_CHARS = 20_000
VOCABULARIES = frozenset({"cl100k_base", "o200k_base"})
_SAME_WORDS = {"o200k_harmony": "o200k_base"}  # they differ in special tokens only


def vocabulary_folder() -> Path:
    """The folder of vocabularies that the litellm package ships; litellm is not imported."""
    spec = find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the litellm package, whose vocabularies are used, is not installed")
    return Path(spec.submodule_search_locations[0]) / "litellm_core_utils" / "tokenizers"


def vocabulary_of(upstream_model: str) -> str | None:
    """The vocabulary of one of OpenAI's models by its name; None for all others."""
    try:
        name = tiktoken.encoding_name_for_model(upstream_model)
    except KeyError:
        return None
    return _SAME_WORDS.get(name, name if name in VOCABULARIES else None)


def vocabularies(cards: Iterable[ModelCard], by_name: Collection[str]) -> Mapping[str, str]:
    """The vocabulary of each model that has one, by the model's name.

    For `auto` the upstream name decides, with providers in `by_name` only: elsewhere a model of
    such a name may be another one.
    """
    found: dict[str, str] = {}
    for card in cards:
        vocabulary: str | None = card.tokenizer
        if vocabulary == "auto":
            # A bound must hold wherever the request goes.
            known = {
                vocabulary_of(place.upstream_model) if place.provider in by_name else None
                for place in card.places
            }
            vocabulary = known.pop() if len(known) == 1 else None
        if vocabulary in VOCABULARIES:
            found[card.name] = str(vocabulary)
    return found


class Tokenizer:
    """One loaded vocabulary (about 40 MB), and others once somebody asks for them (to 90 MB)."""

    def __init__(self) -> None:
        # tiktoken would download its vocabulary; it looks in this folder first.
        os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(vocabulary_folder()))
        self._encoding = tiktoken.get_encoding(ENCODING)
        self._loaded = {ENCODING: self._encoding}

    async def spoken_tokens(self, vocabulary: str, texts: Sequence[str]) -> int:
        """Tokens of texts that a template keeps apart, in one of VOCABULARIES.

        The first use of a vocabulary loads it, off the event loop.
        """
        encoding = self._loaded.get(vocabulary)
        if encoding is None:
            encoding = await asyncio.to_thread(tiktoken.get_encoding, vocabulary)
            self._loaded[vocabulary] = encoding
        if sum(map(len, texts)) <= OFF_LOOP_CHARS:
            return _spoken(encoding, texts)
        return await asyncio.to_thread(_spoken, encoding, texts)

    async def counter(self, vocabulary: str) -> Callable[[Sequence[str]], int]:
        """The same for many requests, to be used in a thread."""
        await self.spoken_tokens(vocabulary, ())
        return partial(_spoken, self._loaded[vocabulary])

    def count(self, text: str) -> int:
        """Tokens of a text; about 0.3 ms for 1,000 tokens."""
        return len(self._encoding.encode_ordinary(text))

    async def count_prompt(self, parts: InputParts) -> int:
        """Tokens of what a request says and brings along by this vocabulary, without media."""
        text = "\n".join(texts_in([parts.said, parts.rest]))
        if len(text) <= OFF_LOOP_CHARS:
            tokens = self.count(text)
        else:
            tokens = await asyncio.to_thread(self.count, text)
        return tokens + parts.token_ids + MESSAGE_OVERHEAD_TOKENS * parts.frames


def _spoken(encoding: tiktoken.Encoding, texts: Sequence[str]) -> int:
    return sum(len(encoding.encode_ordinary(text)) for text in texts)


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
