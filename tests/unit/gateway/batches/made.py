"""Files of batches as tests write them, and what they are bounded with."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from budgets.prices import Price, PriceCard, make_price
from gateway.batches.bounding import Terms
from gateway.errors import ApiError
from gateway.ownership import named_in
from routing.catalog import ModelCard

CHAT = "/v1/chat/completions"
PICO = {"fresh": 1_000_000, "output": 2_000_000}
HALF = {"fresh": 500_000, "output": 1_000_000}
NOW_S = 1_790_000_000


def chat(number: int = 1, **fields: Any) -> dict[str, Any]:
    """One line: a chat completion of at most ten tokens."""
    said = [{"role": "user", "content": "Hello"}]
    body = {"model": "tiny", "max_tokens": 10, "messages": said, **fields}
    return {"custom_id": f"c{number}", "method": "POST", "url": CHAT, "body": body}


@contextmanager
def refusal(words: str) -> Iterator[pytest.ExceptionInfo[ApiError]]:
    """An ApiError whose message has these words."""
    with pytest.raises(ApiError) as refused:
        yield refused
    assert re.search(words, refused.value.message), refused.value.message


def jsonl(*lines: object) -> bytes:
    """A file of these lines."""
    return b"".join(orjson.dumps(line) + b"\n" for line in lines)


def prices(*more: Price) -> PriceCard:
    """What a token costs alone, and half of it in a batch."""
    alone = make_price("tiny", PICO, version="v1")
    return PriceCard([alone, make_price("tiny", HALF, version="v1", service_tier="batch"), *more])


def terms(model: str = "tiny", upstream: str = "tiny", **changes: Any) -> Terms:
    """One model at one provider that speaks chat, responses and embeddings."""
    card = ModelCard(
        name="tiny",
        provider="here",
        upstream_model=upstream,
        price_model="tiny",
        context_tokens=4_096,
        max_output_tokens=1_000,
    )
    given: dict[str, Any] = {
        "model": model,
        "card": card,
        "prices": prices(),
        "now_s": NOW_S,
        "spoken": frozenset({"chat", "responses", "embeddings"}),
        "files_in": lambda dialect, request: named_in(dialect, request).files,
        "hosted_tool_uses": 2,
    }
    return Terms(**{**given, **changes})
