"""Captured streams, and what a meter has to find in each.

The captures are written after the vendors' documented examples. They hold what a gateway may not
touch: unknown fields and events, log probabilities, sealed thinking, characters of several bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from budgets.usage import TokenUsage
from gateway.dialects.chat import ChatMeter
from gateway.dialects.completions import CompletionMeter
from gateway.dialects.messages_stream import MessageMeter
from gateway.dialects.port import Meter
from gateway.dialects.responses_stream import ResponseMeter

FOLDER = Path(__file__).resolve().parents[3] / "captures"
MeterClass = Callable[[int, Callable[[str], int]], Meter]
METERS: dict[str, MeterClass] = {
    "chat": ChatMeter,
    "completions": CompletionMeter,
    "messages": MessageMeter,
    "responses": ResponseMeter,
}


@dataclass(frozen=True)
class Finding:
    """What is in a capture. `text` is everything generated, `hidden` the usage-only events."""

    usage: TokenUsage | None
    text: str
    finished: bool = True
    failed: bool = False
    hidden: int = 0
    early: TokenUsage | None = None
    uses: dict[str, int] = field(default_factory=dict)


FINDINGS: dict[str, Finding] = {
    "chat/audio": Finding(
        TokenUsage(fresh=19, audio_input=100, output=14, audio_output=97), "Hello there", hidden=1
    ),
    "chat/cache_writes": Finding(
        TokenUsage(fresh=300, cached=1200, cache_write=500, output=10, reasoning=40),
        "Kept.",
        hidden=1,
    ),
    "chat/error": Finding(None, "Once", finished=False, failed=True),
    "chat/length": Finding(TokenUsage(fresh=9, output=2), "Once upon", hidden=1),
    "chat/reasoning_with_comments": Finding(
        TokenUsage(fresh=10, output=5, reasoning=4), "The user greets.Two lines.", hidden=1
    ),
    "chat/refusal": Finding(
        TokenUsage(fresh=81, output=11), "I'm sorry, I cannot assist with that.", hidden=1
    ),
    "chat/stop_sequence": Finding(TokenUsage(fresh=9, output=5), "One, two, ", hidden=1),
    "chat/text": Finding(
        TokenUsage(fresh=86, cached=1920, output=180, reasoning=120),
        "Gr\u00fc\u00dfe aus \u6771\u4eac \U0001f5fc",
        hidden=1,
    ),
    "chat/tool_calls": Finding(
        TokenUsage(fresh=73, output=46),
        'get_weather{"location":"Paris"}get_weather{"location":"Bogot\u00e1"}',
        hidden=1,
    ),
    "chat/truncated": Finding(None, "Once upon a", finished=False),
    "chat/two_choices": Finding(TokenUsage(fresh=8, output=4), "HeadsTails.!", hidden=1),
    "chat/unknown_fields": Finding(TokenUsage(fresh=7, output=2), "Seen.", hidden=1),
    "completions/comments": Finding(
        TokenUsage(fresh=14, cached=16, output=3), "Two lines.", hidden=1
    ),
    "completions/text": Finding(
        TokenUsage(fresh=5, output=8), "ThisThat is was a test one", hidden=1
    ),
    "completions/truncated": Finding(None, "Once upon", finished=False),
    "messages/cache": Finding(
        TokenUsage(fresh=21, cached=188_086, cache_write=1_000, cache_write_1h=111, output=393),
        "Noted.",
        early=TokenUsage(fresh=21, cached=188_086, cache_write=1_000, cache_write_1h=111, output=1),
    ),
    "messages/error": Finding(
        None, "Once", finished=False, failed=True, early=TokenUsage(fresh=25, output=1)
    ),
    "messages/max_tokens": Finding(
        TokenUsage(fresh=12, output=2), "Once upon", early=TokenUsage(fresh=12, output=1)
    ),
    "messages/parallel_tools": Finding(
        TokenUsage(fresh=472, output=89),
        'Okay, let\'s check.get_weather{"location": "San Francisco, CA"}get_time{"zone": "PST"}',
        early=TokenUsage(fresh=472, output=2),
    ),
    "messages/refusal": Finding(
        TokenUsage(fresh=564, output=22), "I can't", early=TokenUsage(fresh=564, output=1)
    ),
    "messages/stop_sequence": Finding(
        TokenUsage(fresh=11, output=6), "One, two, ", early=TokenUsage(fresh=11, output=1)
    ),
    "messages/text": Finding(
        TokenUsage(fresh=25, output=15),
        "Hello! Gr\u00fc\u00dfe aus \u6771\u4eac \U0001f5fc",
        early=TokenUsage(fresh=25, output=1),
    ),
    "messages/thinking": Finding(
        TokenUsage(fresh=41, output=22, reasoning=109),
        "Let me solve this step by step:\n\n1. First break down 27 * 453\n2. 453 = 400 + 50 + 3"
        "27 * 453 = 12,231",
        early=TokenUsage(fresh=41, output=3),
    ),
    "messages/truncated": Finding(
        None, "Once upon", finished=False, early=TokenUsage(fresh=25, output=1)
    ),
    "messages/unknown_events": Finding(TokenUsage(fresh=17, output=4), "Two lines."),
    "messages/web_search": Finding(
        TokenUsage(fresh=10_682, output=510),
        'I\'ll check the weather.web_search{"query": "weather NYC today"}Sunny.',
        early=TokenUsage(fresh=2_679, output=3),
        uses={"web_search_requests": 1},
    ),
    "responses/comments": Finding(TokenUsage(fresh=14, output=4), "Two lines."),
    "responses/custom_tool": Finding(
        TokenUsage(fresh=75, output=33), "apply_patch*** Begin Patch\n"
    ),
    "responses/failed": Finding(None, "", failed=True),
    "responses/incomplete": Finding(TokenUsage(fresh=12, output=16), "Once upon a time"),
    "responses/parallel_tools": Finding(
        TokenUsage(fresh=10, cache_write=100, output=23, reasoning=64),
        'Checking both cities.get_weather{"location":"Paris"}get_weather{"location":"Bogot\u00e1"}',
    ),
    "responses/refusal": Finding(
        TokenUsage(fresh=40, output=9), "I'm sorry, I cannot help with that."
    ),
    "responses/text": Finding(
        TokenUsage(fresh=72, cached=256, output=20, reasoning=32),
        "Hi! Gr\u00fc\u00dfe aus \u6771\u4eac \U0001f5fc",
    ),
    "responses/truncated": Finding(None, "Once upon", finished=False),
    "responses/web_search_and_unknown_events": Finding(
        TokenUsage(fresh=9_120, output=28), "Good news.novel", uses={"web_search_call": 1}
    ),
}


@cache
def capture(name: str) -> bytes:
    """The bytes of a capture, such as `messages/text`."""
    return (FOLDER / f"{name}.sse").read_bytes()


def meter_for(name: str, count: Callable[[str], int], limit_tokens: int = 1_000_000) -> Meter:
    """A fresh meter of the capture's dialect."""
    return METERS[name.partition("/")[0]](limit_tokens, count)
