"""Token usage in disjoint classes, so that no token is priced twice.

Providers report overlapping counts (OpenAI's `prompt_tokens` includes the cached ones, its
`completion_tokens` includes reasoning). They are made disjoint here, once, at the border; a report
that cannot be right is a `UsageFault`, never a guess.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass

MAX_TOKENS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one request by class; the classes do not overlap and their sum is the total."""

    fresh: int = 0
    cached: int = 0
    cache_write: int = 0
    audio_input: int = 0
    output: int = 0
    reasoning: int = 0
    audio_output: int = 0

    @property
    def input_tokens(self) -> int:
        return self.fresh + self.cached + self.cache_write + self.audio_input

    @property
    def output_tokens(self) -> int:
        return self.output + self.reasoning + self.audio_output

    def plus(self, other: "TokenUsage") -> "TokenUsage":
        """The sum, class by class."""
        return TokenUsage(*(getattr(self, name) + getattr(other, name) for name in TOKEN_CLASSES))


TOKEN_CLASSES: tuple[str, ...] = (
    "fresh",
    "cached",
    "cache_write",
    "audio_input",
    "output",
    "reasoning",
    "audio_output",
)
INPUT_CLASSES: tuple[str, ...] = TOKEN_CLASSES[:4]
OUTPUT_CLASSES: tuple[str, ...] = TOKEN_CLASSES[4:]


@dataclass(frozen=True, slots=True)
class UsageFault:
    """A usage report that cannot be right: which field, and what stood there."""

    field: str
    found: str


def _count(report: Mapping[str, object], field: str, where: str) -> int | UsageFault:
    value = report.get(field, 0)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
        return UsageFault(where + field, reprlib.repr(value)[:80])
    return value


def _details(report: Mapping[str, object], field: str) -> Mapping[str, object] | UsageFault:
    value = report.get(field)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        return UsageFault(field, reprlib.repr(value)[:80])
    return value


def usage_from_openai(report: object) -> TokenUsage | UsageFault:
    """Make the `usage` object of a chat completion disjoint; a UsageFault names what is wrong.

    `prompt_tokens` includes `cached_tokens` (and `cache_write_tokens`, `audio_tokens` where given);
    `completion_tokens` includes `reasoning_tokens` and `audio_tokens`.
    Source: OpenAI API reference, `CompletionUsage`.
    """
    if not isinstance(report, Mapping):
        return UsageFault("usage", reprlib.repr(report)[:80])
    prompt_details = _details(report, "prompt_tokens_details")
    completion_details = _details(report, "completion_tokens_details")
    if isinstance(prompt_details, UsageFault):
        return prompt_details
    if isinstance(completion_details, UsageFault):
        return completion_details
    if "prompt_tokens" not in report:
        return UsageFault("prompt_tokens", "missing")
    counts: list[int] = []
    for source, field, where in (
        (report, "prompt_tokens", ""),
        (report, "completion_tokens", ""),
        (prompt_details, "cached_tokens", "prompt_tokens_details."),
        (prompt_details, "cache_write_tokens", "prompt_tokens_details."),
        (prompt_details, "audio_tokens", "prompt_tokens_details."),
        (completion_details, "reasoning_tokens", "completion_tokens_details."),
        (completion_details, "audio_tokens", "completion_tokens_details."),
    ):
        counted = _count(source, field, where)
        if isinstance(counted, UsageFault):
            return counted
        counts.append(counted)
    prompt, completion, cached, cache_write, audio_in, reasoning, audio_out = counts
    if cached + cache_write + audio_in > prompt:
        return UsageFault("prompt_tokens_details", "more tokens than prompt_tokens")
    if reasoning + audio_out > completion:
        return UsageFault("completion_tokens_details", "more tokens than completion_tokens")
    return TokenUsage(
        fresh=prompt - cached - cache_write - audio_in,
        cached=cached,
        cache_write=cache_write,
        audio_input=audio_in,
        output=completion - reasoning - audio_out,
        reasoning=reasoning,
        audio_output=audio_out,
    )
