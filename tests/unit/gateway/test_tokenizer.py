"""Counting tokens of text for an estimate."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.port import InputParts
from gateway.input_size import MESSAGE_OVERHEAD_TOKENS
from gateway.tokenizer import (
    OFF_LOOP_CHARS,
    VOCABULARIES,
    Tokenizer,
    texts_in,
    vocabulary_folder,
    vocabulary_of,
)
from tests.unit.gateway.desks import run


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer()


def test_the_vocabulary_is_on_this_machine() -> None:
    assert any(vocabulary_folder().iterdir())


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("hello world", 2), ("<|endoftext|>", 7), ("\U0001f9d1", 3)]
)
def test_texts_are_counted_and_special_names_are_plain_text(
    tokenizer: Tokenizer, text: str, tokens: int
) -> None:
    assert tokenizer.count(text) == tokens


@given(st.text(max_size=200))
def test_a_text_never_has_more_tokens_than_bytes(text: str) -> None:
    counted = Tokenizer().count(text)
    assert counted <= len(text.encode())


def test_a_long_prompt_is_counted_like_a_short_one(tokenizer: Tokenizer) -> None:
    text = "word " * OFF_LOOP_CHARS
    parts = InputParts([{"content": text}], {"tools": ["t"]}, frames=2, token_ids=7)
    whole = "\n".join(texts_in([parts.said, parts.rest]))
    expected = tokenizer.count(whole) + 2 * MESSAGE_OVERHEAD_TOKENS + 7
    assert run(tokenizer.count_prompt(parts)) == expected


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("a", ["a"]),
        (None, []),
        ({"k": 7, "l": [True, None]}, {"k", "l", "7", "True"}),
        ([{"url": "data:image/png;base64,AAAA"}], ["url"]),
    ],
)
def test_every_key_and_scalar_is_text_but_media_are_not(value: Any, texts: Any) -> None:
    assert set(texts_in(value)) == set(texts)


def test_deep_values_are_walked_without_recursion() -> None:
    deep: Any = "end"
    for _ in range(100_000):
        deep = [deep]
    assert list(texts_in(deep)) == ["end"]


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-5-nano", "o200k_base"),
        ("gpt-oss-120b", "o200k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("davinci-002", "cl100k_base"),
        ("text-davinci-003", None),
        ("claude-sonnet-4-5", None),
        ("smollm2-135m", None),
        ("", None),
    ],
)
def test_a_vocabulary_is_known_for_openais_models_only(model: str, vocabulary: str | None) -> None:
    assert vocabulary_of(model) == vocabulary


@pytest.mark.parametrize("vocabulary", sorted(VOCABULARIES))
def test_texts_are_counted_each_for_itself_in_the_vocabulary_that_is_asked_for(
    tokenizer: Tokenizer, vocabulary: str
) -> None:
    texts = ["Tell me about foxes, please.", "user"]
    assert run(tokenizer.spoken_tokens(vocabulary, texts)) == 9
    long = ["word " * OFF_LOOP_CHARS]
    assert run(tokenizer.spoken_tokens(vocabulary, long)) == OFF_LOOP_CHARS + 1
    assert run(tokenizer.spoken_tokens(vocabulary, [])) == 0
