"""Token usage in disjoint classes, so that no token is priced twice.

Providers report overlapping counts (OpenAI's `prompt_tokens` includes the cached ones, its
`completion_tokens` includes reasoning). They are made disjoint here, once, at the border; a report
that cannot be right is a `UsageFault`, never a guess.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass

from budgets.value import value

MAX_TOKENS = 1_000_000_000


@value
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
_TOTALS = ("prompt_tokens", "completion_tokens")
_INPUT_DETAILS = ("cached_tokens", "cache_write_tokens", "audio_tokens")
_OUTPUT_DETAILS = ("reasoning_tokens", "audio_tokens")


@dataclass(frozen=True, slots=True)
class UsageFault:
    """A usage report that cannot be right: which field, and what stood there."""

    field: str
    found: str


def _count(report: Mapping[str, object], field: str, where: str) -> int | UsageFault:
    value = report.get(field)
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    if value is None:
        return 0
    return UsageFault(where + field, reprlib.repr(value)[:80])


def _counts(
    report: Mapping[str, object], fields: tuple[str, ...], where: str
) -> list[int] | UsageFault:
    counts: list[int] = []
    for field in fields:
        counted = _count(report, field, where)
        if isinstance(counted, UsageFault):
            return counted
        counts.append(counted)
    return counts


def _details(
    report: Mapping[str, object], name: str, fields: tuple[str, ...]
) -> list[int] | UsageFault:
    """The counts inside one of the detail objects; zeros where there is none."""
    details = report.get(name)
    if details is None:
        return [0] * len(fields)
    if not isinstance(details, Mapping):
        return UsageFault(name, reprlib.repr(details)[:80])
    return _counts(details, fields, f"{name}.")


def usage_from_openai(report: object) -> TokenUsage | UsageFault:
    """Make the `usage` object of a chat completion disjoint; a UsageFault names what is wrong.

    `prompt_tokens` includes `cached_tokens` (and `cache_write_tokens`, `audio_tokens` where given);
    `completion_tokens` includes `reasoning_tokens` and `audio_tokens`.
    Source: OpenAI API reference, `CompletionUsage`.
    """
    if not isinstance(report, Mapping):
        return UsageFault("usage", reprlib.repr(report)[:80])
    if "prompt_tokens" not in report:
        return UsageFault("prompt_tokens", "missing")
    totals = _counts(report, _TOTALS, "")
    if isinstance(totals, UsageFault):
        return totals
    inputs = _details(report, "prompt_tokens_details", _INPUT_DETAILS)
    if isinstance(inputs, UsageFault):
        return inputs
    outputs = _details(report, "completion_tokens_details", _OUTPUT_DETAILS)
    if isinstance(outputs, UsageFault):
        return outputs
    fresh = totals[0] - sum(inputs)
    if fresh < 0:
        return UsageFault("prompt_tokens_details", "more tokens than prompt_tokens")
    visible = totals[1] - sum(outputs)
    if visible < 0:
        return UsageFault("completion_tokens_details", "more tokens than completion_tokens")
    cached, cache_write, audio_input = inputs
    reasoning, audio_output = outputs
    return TokenUsage(fresh, cached, cache_write, audio_input, visible, reasoning, audio_output)
