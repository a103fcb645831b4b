"""Which cap stops at most a given share of normal runs, told from the runs there were.

Let `n` runs be like the ones to come (exchangeable with them). Then the chance that a further run
needs more than the k-th smallest of their needs is at most `1 - k / (n + 1)`, whatever the needs
are distributed like, and `k = ceil((n + 1) * (1 - share))` keeps it at `share` or below. This is
the order statistic of split conformal prediction (Vovk, Gammerman and Shafer, "Algorithmic Learning
in a Random World", 2005; Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-Free
Predictive Inference for Regression", JASA 113, 2018, section 2.2). Where `k` is beyond `n` no run
says anything about so rare a need: 2 % take 49 runs, and below that there is no advice.

The chance is over the runs seen as well as the next one; about the runs seen alone, the share that
the cap would have stopped is told with a Wilson score interval (Wilson, "Probable Inference, the
Law of Succession, and Statistical Inference", JASA 22, 1927).

A run needs more of a budget than it costs: the most that its next request may cost has to fit in
beside what is spent. What it needs is the most it had posted and held at once.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, sqrt

from budgets.money import NANO_PER_USD
from budgets.value import value

DEFAULT_SHARE = Fraction(2, 100)
MIN_SHARE, MAX_SHARE = Fraction(1, 1_000), Fraction(1, 2)
Z_95 = 1.959963984540054
_CENT_NANO = NANO_PER_USD // 100


@value
class Stopped:
    """How many of the past runs a cap would have stopped; the share with its 95 % interval."""

    runs: int
    share: float
    low: float
    high: float


@value
class Advice:
    """What `runs` past runs say; amounts are nano-USD.

    `median_nano` and `quantile_nano` are of the costs, the latter at the rank of the cap.
    `cap_nano` is that rank of the needs, rounded up. With `missing_runs` above 0 there is no cap.
    """

    runs: int
    missing_runs: int
    median_nano: int | None
    quantile_nano: int | None
    cap_nano: int | None
    stopped: Stopped | None


def runs_needed(share: Fraction) -> int:
    """The fewest runs that can tell which cap stops at most `share` of further ones."""
    return ceil(1 / share) - 1


def rank(runs: int, share: Fraction) -> int | None:
    """Which of the needs in order, counted from 1, is the cap; None where there are too few."""
    place = ceil((runs + 1) * (1 - share))
    return place if place <= runs else None


def wilson(hits: int, runs: int) -> tuple[float, float]:
    """The 95 % score interval of a share of which `hits` in `runs` (one or more) were seen."""
    share, z_squared = hits / runs, Z_95 * Z_95
    middle = share + z_squared / (2 * runs)
    reach = Z_95 * sqrt(share * (1 - share) / runs + z_squared / (4 * runs * runs))
    scale = 1 + z_squared / runs
    low = 0.0 if hits == 0 else (middle - reach) / scale
    high = 1.0 if hits == runs else (middle + reach) / scale
    return low, high


def rounded_up(amount_nano: int) -> int:
    """An amount a person would write: whole cents, and two digits below ten cents; never less."""
    step_nano = 1
    while step_nano < _CENT_NANO and step_nano * 100 <= amount_nano:
        step_nano *= 10
    return -(-amount_nano // step_nano) * step_nano


def advise(costs_nano: Sequence[int], needs_nano: Sequence[int], share: Fraction) -> Advice:
    """The advice of past runs; costs and needs have one number for each run, in any order."""
    runs = len(needs_nano)
    if runs != len(costs_nano):
        raise ValueError(f"{len(costs_nano)} costs and {runs} needs are not of the same runs")
    costs = sorted(costs_nano)
    median_nano = costs[(runs - 1) // 2] if costs else None
    place = rank(runs, share)
    if place is None:
        return Advice(runs, runs_needed(share) - runs, median_nano, None, None, None)
    cap_nano = rounded_up(sorted(needs_nano)[place - 1])
    hits = sum(need > cap_nano for need in needs_nano)
    stopped = Stopped(hits, hits / runs, *wilson(hits, runs))
    return Advice(runs, 0, median_nano, costs[place - 1], cap_nano, stopped)
