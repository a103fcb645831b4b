"""Token usage in disjoint classes, so that no token is priced twice.

Providers report overlapping counts (OpenAI's `prompt_tokens` includes the cached ones, its
`completion_tokens` includes reasoning; Anthropic's `input_tokens` includes no cached ones). They
are made disjoint here, once, at the border; a report that cannot be right is a `UsageFault`, never
a guess.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from budgets.value import value

MAX_TOKENS = 1_000_000_000


@value
class TokenUsage:
    """Tokens of one request by class; the classes do not overlap and their sum is the total.

    `images` made, `characters` spoken and milliseconds of sound heard are no tokens: they are what
    some providers bill instead.
    """

    fresh: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio_input: int = 0
    image_input: int = 0
    output: int = 0
    reasoning: int = 0
    audio_output: int = 0
    images: int = 0
    characters: int = 0
    sound_ms: int = 0

    @property
    def input_tokens(self) -> int:
        written = self.cache_write + self.cache_write_1h
        return self.fresh + self.cached + written + self.audio_input + self.image_input

    @property
    def output_tokens(self) -> int:
        return self.output + self.reasoning + self.audio_output

    def plus(self, other: "TokenUsage") -> "TokenUsage":
        """The sum, class by class."""
        return TokenUsage(
            *(getattr(self, name) + getattr(other, name) for name in (*TOKEN_CLASSES, *UNITS))
        )


TOKEN_CLASSES: tuple[str, ...] = (
    "fresh",
    "cached",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "image_input",
    "output",
    "reasoning",
    "audio_output",
)
INPUT_CLASSES: tuple[str, ...] = TOKEN_CLASSES[:6]
OUTPUT_CLASSES: tuple[str, ...] = TOKEN_CLASSES[6:]
UNITS: tuple[str, ...] = ("images", "characters", "sound_ms")
"""What is billed by the piece instead of by the token."""
# Events tell of cache writes of any lifetime together, and of images among what is fresh.
RECORDED_CLASSES: tuple[str, ...] = tuple(
    [name for name in TOKEN_CLASSES if name not in ("cache_write_1h", "image_input")]
)
# Writes that last an hour are told apart in reports of our own making only: see docs/dialects.md.
_INPUT_DETAILS = ("cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "audio_tokens")
_OUTPUT_DETAILS = ("reasoning_tokens", "audio_tokens")
_MESSAGE_COUNTS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
)
_CACHE_LIVES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
# Further uses of the model that the totals leave out.
_EXTRA_ITERATIONS = frozenset({"compaction"})


@dataclass(frozen=True, slots=True)
class UsageFault:
    """A usage report that cannot be right: which field, and what stood there."""

    field: str
    found: str


@value
class UsageExtras:
    """What a report tells beyond the token classes; the price card has no rates for it.

    `tool_uses` counts the uses of tools that the provider runs, by the provider's name.
    """

    tool_uses: Mapping[str, int] = field(default_factory=dict)


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
    for name in fields:
        counted = _count(report, name, where)
        if isinstance(counted, UsageFault):
            return counted
        counts.append(counted)
    return counts


def _details(
    report: Mapping[str, object], name: str, fields: tuple[str, ...], where: str = ""
) -> list[int] | UsageFault:
    """The counts inside one of the detail objects; zeros where there is none."""
    details = report.get(name)
    if details is None:
        return [0] * len(fields)
    if not isinstance(details, Mapping):
        return UsageFault(where + name, reprlib.repr(details)[:80])
    return _counts(details, fields, f"{where}{name}.")


def usage_from_openai(report: object) -> TokenUsage | UsageFault:
    """Make the `usage` object of a chat completion disjoint; a UsageFault names what is wrong.

    `prompt_tokens` includes `cached_tokens` (and `cache_write_tokens`, `audio_tokens` where given);
    `completion_tokens` includes `reasoning_tokens` and `audio_tokens`.
    Source: OpenAI API reference, `CompletionUsage`.
    """
    return _disjoint(report, "prompt_tokens", "completion_tokens")


def usage_from_responses(report: object) -> TokenUsage | UsageFault:
    """The same for the `usage` object of a response: `input_tokens` and `output_tokens`.

    Source: OpenAI API reference, `ResponseUsage`.
    """
    return _disjoint(report, "input_tokens", "output_tokens")


def _disjoint(report: object, input_total: str, output_total: str) -> TokenUsage | UsageFault:
    if not isinstance(report, Mapping):
        return UsageFault("usage", reprlib.repr(report)[:80])
    if input_total not in report:
        return UsageFault(input_total, "missing")
    totals = _counts(report, (input_total, output_total), "")
    if isinstance(totals, UsageFault):
        return totals
    inputs = _details(report, f"{input_total}_details", _INPUT_DETAILS)
    if isinstance(inputs, UsageFault):
        return inputs
    outputs = _details(report, f"{output_total}_details", _OUTPUT_DETAILS)
    if isinstance(outputs, UsageFault):
        return outputs
    fresh = totals[0] - sum(inputs)
    if fresh < 0:
        return UsageFault(f"{input_total}_details", f"more tokens than {input_total}")
    visible = totals[1] - sum(outputs)
    if visible < 0:
        return UsageFault(f"{output_total}_details", f"more tokens than {output_total}")
    cached, cache_write, cache_write_1h, audio_input = inputs
    return TokenUsage(
        fresh, cached, cache_write, cache_write_1h, audio_input, 0, visible, outputs[0], outputs[1]
    )


def usage_from_embeddings(report: object) -> TokenUsage | UsageFault:
    """The `usage` object of embeddings: `prompt_tokens`, or `total_tokens` where it is alone.

    Source: OpenAI API reference, `CreateEmbeddingResponse.usage`.
    """
    if isinstance(report, Mapping) and "prompt_tokens" not in report and "total_tokens" in report:
        total = _count(report, "total_tokens", "")
        return total if isinstance(total, UsageFault) else TokenUsage(fresh=total)
    return _disjoint(report, "prompt_tokens", "completion_tokens")


def usage_from_anthropic(report: object) -> TokenUsage | UsageFault:
    """The `usage` object of a message, whose input counts are disjoint as they come.

    Cache writes that are kept for an hour are a class of their own; `output_tokens` includes
    `thinking_tokens`. What a compaction used is added, because the totals leave it out.
    Source: Anthropic API reference, `Usage` and `BetaUsage`.
    """
    if not isinstance(report, Mapping):
        return UsageFault("usage", reprlib.repr(report)[:80])
    usage = _message_usage(report, "")
    iterations = report.get("iterations")
    if isinstance(usage, UsageFault) or iterations is None:
        return usage
    if not isinstance(iterations, list):
        return UsageFault("iterations", reprlib.repr(iterations)[:80])
    for place, iteration in enumerate(iterations):
        if not isinstance(iteration, Mapping):
            return UsageFault(f"iterations[{place}]", reprlib.repr(iteration)[:80])
        kind = iteration.get("type")
        if isinstance(kind, str) and kind in _EXTRA_ITERATIONS:
            more = _message_usage(iteration, f"iterations[{place}].")
            if isinstance(more, UsageFault):
                return more
            usage = usage.plus(more)
    return usage


def _message_usage(report: Mapping[str, object], where: str) -> TokenUsage | UsageFault:
    if "input_tokens" not in report:
        return UsageFault(f"{where}input_tokens", "missing")
    counts = _counts(report, _MESSAGE_COUNTS, where)
    if isinstance(counts, UsageFault):
        return counts
    written = _details(report, "cache_creation", _CACHE_LIVES, where)
    if isinstance(written, UsageFault):
        return written
    thought = _details(report, "output_tokens_details", ("thinking_tokens",), where)
    if isinstance(thought, UsageFault):
        return thought
    fresh, cache_write, cached, output = counts
    if report.get("cache_creation_input_tokens") is None:
        cache_write = sum(written)
    if sum(written) > cache_write:
        return UsageFault(f"{where}cache_creation", "more tokens than cache_creation_input_tokens")
    visible = output - thought[0]
    if visible < 0:
        return UsageFault(f"{where}output_tokens_details", "more tokens than output_tokens")
    return TokenUsage(
        fresh=fresh,
        cached=cached,
        cache_write=cache_write - written[1],
        cache_write_1h=written[1],
        output=visible,
        reasoning=thought[0],
    )


def extras_from_anthropic(report: object) -> UsageExtras:
    """What the `usage` object of a message counts besides; what cannot be right is left out."""
    if not isinstance(report, Mapping):
        return UsageExtras()
    uses = report.get("server_tool_use")
    uses = uses if isinstance(uses, Mapping) else {}
    counted: dict[str, int] = {}
    for name in uses:
        count = _count(uses, name, "")
        if isinstance(count, int) and count:
            counted[name] = count
    return UsageExtras(counted)
