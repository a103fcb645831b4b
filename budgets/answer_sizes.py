"""How long a workflow's answers really are, learned from those it had. Pure.

A hold for the longest possible answer starves everybody else of a budget; most answers are a small
part of it. So where a budget is tight, a hold is sized by what the same workflow had from the same
model. The rule is distribution-free: of n exchangeable answers and one more, the new one exceeds
the k-th smallest of the n with a chance of at most 1 - k/(n + 1) (order statistics; Wilks 1941).

    n >= 99   the smallest k with k/(n + 1) >= 0.99: exceeded by 1 answer in 100, doubled
    n <  99   the largest answer so far, exceeded by 1 in n + 1, times four

The factors cover what order statistics cannot: that tomorrow's answers are not today's. A stream
that outgrows its size holds more; a whole answer would be cut short, so it is bounded by its size
only where enough answers stand behind it.
"""

from array import array
from collections import OrderedDict

SAMPLES = 256
MAX_SERIES = 4_096
QUANTILE_PERCENT = 99
ENOUGH = 99
FACTOR = 2
EARLY_FACTOR = 4
LEAST_TOKENS = 64
FEWEST_FOR_BOUND = 20
LEAST_BOUND_TOKENS = 256


class _Series:
    """The last answers of one workflow with one model, oldest overwritten first."""

    __slots__ = ("_next", "_size", "_tokens")

    def __init__(self) -> None:
        self._tokens = array("q")
        self._next = 0
        self._size: int | None = None

    def add(self, tokens: int) -> None:
        self._size = None
        if len(self._tokens) < SAMPLES:
            self._tokens.append(tokens)
            return
        self._tokens[self._next] = tokens
        self._next = (self._next + 1) % SAMPLES

    def __len__(self) -> int:
        return len(self._tokens)

    def size(self) -> int:
        if self._size is None:
            self._size = size_of(self._tokens)
        return self._size


def size_of(answers: "array[int] | list[int]") -> int:
    """Tokens that the next answer stays within, by the rule above; at least LEAST_TOKENS."""
    count = len(answers)
    if count < ENOUGH:
        return max(LEAST_TOKENS, EARLY_FACTOR * max(answers, default=0))
    rank = -(-(count + 1) * QUANTILE_PERCENT // 100)
    return max(LEAST_TOKENS, FACTOR * sorted(answers)[min(rank, count) - 1])


class AnswerSizes:
    """Sizes by workflow and model; the series that was used longest ago makes room for a new one.

    It takes 2 KB for each full series, so 8 MB at most.
    """

    __slots__ = ("_series",)

    def __init__(self) -> None:
        self._series: OrderedDict[tuple[str, str], _Series] = OrderedDict()

    def learn(self, workflow: str, model: str, output_tokens: int) -> None:
        """Remember one answer: all its generated tokens, for one choice."""
        key = (workflow, model)
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= MAX_SERIES:
                self._series.popitem(last=False)
            series = self._series[key] = _Series()
        else:
            self._series.move_to_end(key)
        series.add(max(0, output_tokens))

    def size(self, workflow: str, model: str) -> int | None:
        """Tokens to hold for one choice of the next answer; None where nothing is known."""
        series = self._series.get((workflow, model))
        return None if series is None else series.size()

    def bound(self, workflow: str, model: str) -> int | None:
        """Tokens to bound one choice of a whole answer by; None while too little is known."""
        series = self._series.get((workflow, model))
        if series is None or len(series) < FEWEST_FOR_BOUND:
            return None
        return max(LEAST_BOUND_TOKENS, series.size())

    def __len__(self) -> int:
        return len(self._series)
