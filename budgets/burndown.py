"""How fast a budget is being spent and when it will be gone, if spending goes on as it did.

The rate is what was spent in a recent sample, divided by the time since the sample's first request.
It rests on nothing else: no season, no trend. A sample that is too small gives no forecast.
"""

from enum import StrEnum

from budgets.rolling import RollingWindow
from budgets.scopes import AnyWindow, Budget, Window
from budgets.value import value

MIN_REQUESTS = 5
MIN_SPAN_S = 600
_HOUR_S, _DAY_S = 3_600, 86_400


class Outlook(StrEnum):
    """What becomes of a budget at the present rate."""

    NOT_ENOUGH_HISTORY = "not_enough_history"
    SPENT = "spent"
    LASTS = "lasts"
    RUNS_OUT = "runs_out"


@value
class Sample:
    """What was recently spent: requests that cost something, nano-USD, and the time they span."""

    requests: int
    spent_nano: int
    span_s: int


@value
class Burndown:
    """The rate in nano-USD, what it leads to, and when; None where there is no telling."""

    outlook: Outlook
    nano_per_hour: int | None
    nano_per_day: int | None
    runs_out_at_s: int | None


def lookback_s(window: AnyWindow) -> int:
    """How far back the sample reaches: the window's own length, from an hour to seven days."""
    if isinstance(window, RollingWindow):
        return min(max(window.length_s, _HOUR_S), 7 * _DAY_S)
    return {Window.HOUR: _HOUR_S, Window.DAY: _DAY_S}.get(window, 7 * _DAY_S)


def burn_down(
    budget: Budget, left_nano: int, sample: Sample, now_s: int, resets_at_s: int | None
) -> Burndown:
    """Forecast from what is left until requests are refused, and a sample of `lookback_s`."""
    enough = sample.requests >= MIN_REQUESTS and sample.span_s >= MIN_SPAN_S
    hourly = sample.spent_nano * _HOUR_S // sample.span_s if enough else None
    daily = sample.spent_nano * _DAY_S // sample.span_s if enough else None
    if left_nano <= 0:
        return Burndown(Outlook.SPENT, hourly, daily, None)
    if hourly is None:
        return Burndown(Outlook.NOT_ENOUGH_HISTORY, None, None, None)
    if sample.spent_nano <= 0 or _refills_as_fast(budget, sample):
        return Burndown(Outlook.LASTS, hourly, daily, None)
    runs_out_at_s = now_s + left_nano * sample.span_s // sample.spent_nano
    if resets_at_s is not None and runs_out_at_s >= resets_at_s:
        return Burndown(Outlook.LASTS, hourly, daily, None)
    return Burndown(Outlook.RUNS_OUT, hourly, daily, runs_out_at_s)


def _refills_as_fast(budget: Budget, sample: Sample) -> bool:
    """Whether a rolling window lets go of money as fast as it is spent, within its limit."""
    window = budget.window
    return (
        isinstance(window, RollingWindow)
        and sample.spent_nano * window.length_s <= budget.refuse_nano * sample.span_s
    )
