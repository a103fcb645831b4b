"""What this process has seen since it started, counted as it happens and read by `/metrics`.

Every label comes from the configuration or from a closed list, so however many names clients make
up, there are no more counters. Money is counted from what the ledger posted, so the counters add up
to it:

    posted since the start = settled + expired + corrected up - corrected down
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from enum import StrEnum

from budgets.ledger import HoldState, Settlement
from budgets.usage import RECORDED_CLASSES
from telemetry.event import TelemetryEvent

ADDED_MS = (0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1_000.0)
FIRST_BYTE_MS = (50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 30_000.0, 60_000.0)


class LedgerOutcome(StrEnum):
    """What became of an error of the ledger; each error has exactly one of these.

    `denied`: the request got 503 before a provider was asked. `assumed`: a provider had been asked,
    and the request was settled at its ceiling. `left_to_lease`: not even that could be written, so
    its hold is charged when the lease ends. `allowed`: all budgets of the request are soft, and it
    was admitted within this gateway's allowance. `retried`: work beside the requests, done again
    later.
    """

    DENIED = "denied"
    ASSUMED = "assumed"
    LEFT_TO_LEASE = "left_to_lease"
    ALLOWED = "allowed"
    RETRIED = "retried"


class Histogram:
    """Counts by upper bound, in milliseconds; the last count is of what is above all bounds."""

    __slots__ = ("bounds_ms", "counts", "sum_ms")

    def __init__(self, bounds_ms: Sequence[float]) -> None:
        self.bounds_ms = bounds_ms
        self.counts = [0] * (len(bounds_ms) + 1)
        self.sum_ms = 0.0

    def add(self, value_ms: float) -> None:
        self.counts[bisect_left(self.bounds_ms, value_ms)] += 1
        self.sum_ms += value_ms


class ModelCount:
    """The requests of one model in one tier: how they ended, what they used, what was posted."""

    __slots__ = ("cost_nano", "endings", "tokens")

    def __init__(self) -> None:
        self.endings: dict[tuple[str, int], int] = {}
        self.tokens = [0] * len(RECORDED_CLASSES)
        self.cost_nano = 0


class Tally:
    """The counters; use it from the event loop."""

    __slots__ = (
        "added",
        "by_model",
        "corrected_down_nano",
        "corrected_up_nano",
        "expired",
        "expired_nano",
        "first_byte",
        "ledger_errors",
        "overrun_nano",
        "overruns",
        "refusals",
        "retries",
        "settlements",
    )

    def __init__(self) -> None:
        self.by_model: dict[tuple[str, str], ModelCount] = {}
        self.refusals: dict[str, int] = {}
        self.retries: dict[tuple[str, str, str], int] = {}
        self.added = Histogram(ADDED_MS)
        self.first_byte = Histogram(FIRST_BYTE_MS)
        self.settlements = 0
        self.overruns = 0
        self.overrun_nano = 0
        self.corrected_up_nano = 0
        self.corrected_down_nano = 0
        self.expired: dict[HoldState, int] = {}
        self.expired_nano = 0
        self.ledger_errors: dict[tuple[LedgerOutcome, str], int] = {}

    def settled(self, event: TelemetryEvent, settlement: Settlement) -> None:
        """A request ended and its hold with it; call it once for each."""
        self.settlements += 1
        count = self._model(event)
        count.tokens[0] += event.fresh_tokens
        count.tokens[1] += event.cached_tokens
        count.tokens[2] += event.cache_write_tokens
        count.tokens[3] += event.audio_input_tokens
        count.tokens[4] += event.output_tokens
        count.tokens[5] += event.reasoning_tokens
        count.tokens[6] += event.audio_output_tokens
        self.added.add(event.gateway_ms)
        if event.first_byte_ms:
            self.first_byte.add(event.first_byte_ms)
        if settlement.overrun_nano:
            self.overruns += 1
            self.overrun_nano += settlement.overrun_nano
        if settlement.state is HoldState.SETTLED:
            count.cost_nano += settlement.posted_nano
        elif settlement.correction:
            self._correct(settlement.posted_nano)

    def _correct(self, delta_nano: int) -> None:
        """The truth about a hold that had expired, and was counted then."""
        if delta_nano > 0:
            self.corrected_up_nano += delta_nano
        else:
            self.corrected_down_nano -= delta_nano

    def turned_away(self, event: TelemetryEvent) -> None:
        """A request was refused and is on record."""
        self._model(event)

    def _model(self, event: TelemetryEvent) -> ModelCount:
        model = (event.model, event.tier)
        count = self.by_model.get(model)
        if count is None:
            count = self.by_model[model] = ModelCount()
        ending = (event.ending, event.status // 100)
        count.endings[ending] = count.endings.get(ending, 0) + 1
        return count

    def refused(self, code: str) -> None:
        """A request got an error of the gateway's own, by the name of the error."""
        self.refusals[code] = self.refusals.get(code, 0) + 1

    def retried(self, provider: str, how: str, cause: str) -> None:
        """An attempt after one that failed: `again` at the same deployment or at the `next` one."""
        key = (provider, how, cause)
        self.retries[key] = self.retries.get(key, 0) + 1

    def ended_leases(self, settlements: Iterable[Settlement]) -> None:
        """Holds ended because their lease ran out."""
        for settlement in settlements:
            self.expired[settlement.state] = self.expired.get(settlement.state, 0) + 1
            self.expired_nano += settlement.posted_nano

    def ledger_failed(self, outcome: LedgerOutcome, cause: str) -> None:
        """The ledger raised an error; `cause` is one of its closed list."""
        key = (outcome, cause)
        self.ledger_errors[key] = self.ledger_errors.get(key, 0) + 1
