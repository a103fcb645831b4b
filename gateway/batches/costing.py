"""What a batch cost: the usage of each answered line, priced line by line and added up. Pure.

A line that was answered reports its usage as its dialect does. A line that was refused, or was not
reached before the batch ended, is billed by nobody. The sum is exact and rounded up once.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from budgets.money import nano_from_pico
from budgets.prices import Cost, Price, cost
from budgets.usage import (
    TOKEN_CLASSES,
    TokenUsage,
    UsageFault,
    usage_from_openai,
    usage_from_responses,
)
from budgets.value import value
from gateway.dialects.port import Dialect
from telemetry.event import UsageSource


@value
class BatchCost:
    """What a batch used and costs, and for how many of its requests.

    `tokens` is what budgets in tokens take: also what stands for lines that did not tell.
    """

    usage: TokenUsage
    cost: Cost
    frontier_nano: int
    source: UsageSource
    tokens: int
    done: int
    failed: int


class LineCosts:
    """Adds up the lines of an output file as they come.

    `line_nano` and `line_tokens` bound a line: they stand for one that was answered and does not
    say what it used. `frontier` prices the same tokens with the frontier model, for comparison.
    """

    __slots__ = (
        "_by_class",
        "_dialect",
        "_frontier",
        "_frontier_nano",
        "_line_nano",
        "_line_tokens",
        "_price",
        "_usage",
        "done",
        "failed",
        "unclear",
    )

    def __init__(
        self,
        dialect: Dialect,
        price: Price,
        line_nano: int,
        line_tokens: int,
        frontier: Price | None = None,
    ) -> None:
        self._dialect = dialect
        self._price = price
        self._frontier = frontier
        self._line_nano = line_nano
        self._line_tokens = line_tokens
        self._usage = TokenUsage()
        self._by_class = dict.fromkeys(TOKEN_CLASSES, 0)
        self._frontier_nano = 0
        self.done = self.failed = self.unclear = 0

    def add(self, lines: Iterable[bytes]) -> None:
        """Take some lines; blank ones are none."""
        for line in lines:
            if line.strip():
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError:
            told = None
        if not isinstance(told, dict):
            self._miss()
            return
        response = told.get("response")
        status = response.get("status_code") if isinstance(response, dict) else None
        if not isinstance(response, dict) or told.get("error") or status not in (None, 200):
            self.failed += 1
            return
        usage = self._dialect.usage_in(response.get("body"))
        if isinstance(usage, UsageFault):
            self._miss()
            return
        self.done += 1
        self._usage = self._usage.plus(usage)
        for name, pico in cost(self._price, usage).by_class_pico.items():
            self._by_class[name] += pico
        if self._frontier is not None:
            self._frontier_nano += cost(self._frontier, usage).total_nano

    def _miss(self) -> None:
        self.done += 1
        self.unclear += 1

    def total(self) -> BatchCost:
        """What all lines come to."""
        usage = self._usage
        nano = nano_from_pico(sum(self._by_class.values())) + self.unclear * self._line_nano
        source = UsageSource.ESTIMATED if self.unclear else UsageSource.PROVIDER
        tokens = usage.input_tokens + usage.output_tokens + self.unclear * self._line_tokens
        price = Cost(nano, self._by_class, self._price.version)
        return BatchCost(usage, price, self._frontier_nano, source, tokens, self.done, self.failed)


_NOTHING = Cost(0, dict.fromkeys(TOKEN_CLASSES, 0), "")


def counts_in(batch: Mapping[str, Any]) -> tuple[int, int] | None:
    """How many requests were answered and how many failed, as the provider tells; None if not."""
    counts = batch.get("request_counts")
    if not isinstance(counts, dict):
        return None
    done, failed = counts.get("completed"), counts.get("failed")
    if type(done) is not int or type(failed) is not int or min(done, failed) < 0:
        return None
    return done, failed


def reported_usage(batch: Mapping[str, Any]) -> TokenUsage | None:
    """The usage of the whole batch where its object tells it; None where it does not."""
    report = batch.get("usage")
    if not isinstance(report, dict) or not report.get("total_tokens"):
        return None
    for read in (usage_from_responses, usage_from_openai):
        usage = read(report)
        if isinstance(usage, TokenUsage):
            return usage
    return None


def cost_of_nothing(failed: int) -> BatchCost:
    """A batch of which nothing was answered."""
    return BatchCost(TokenUsage(), _NOTHING, 0, UsageSource.PROVIDER, 0, 0, failed)


def cost_as_reported(usage: TokenUsage, price: Price, done: int, failed: int) -> BatchCost:
    """The provider's own sum, where its lines cannot be read.

    A sum says nothing of single lines, so where long ones are dearer all count as long.
    """
    tokens = usage.input_tokens + usage.output_tokens
    return BatchCost(usage, cost(price, usage), 0, UsageSource.ESTIMATED, tokens, done, failed)


def cost_as_held(nano: int, tokens: int, lines: int) -> BatchCost:
    """All that was held, where nobody tells what was used."""
    by_class = {**_NOTHING.by_class_pico, "output": nano * 1_000}
    held = Cost(nano, by_class, "")
    return BatchCost(TokenUsage(), held, 0, UsageSource.ASSUMED, tokens, lines, 0)
