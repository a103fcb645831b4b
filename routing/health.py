"""Which providers can be used now: circuit breakers as values, moved only by what is recorded.

    CLOSED     --failures in a row-->            OPEN until a time
    CLOSED     --the provider says retry later-> OPEN until then
    OPEN       --that time, next attempt-->      HALF_OPEN: one request probes, the others stay away
    HALF_OPEN  --success-->                      CLOSED
    HALF_OPEN  --failure-->                      OPEN, for twice as long as before
    HALF_OPEN  --the probe never reports-->      one more probe, later
    HALF_OPEN  --the probe was called off-->     one more probe, at once

Times are milliseconds on whichever clock the caller uses throughout.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from routing.catalog import ModelCard

_COUNTING_STATUSES = frozenset({401, 402, 408, 429})


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When a breaker opens and for how long; the pause doubles up to its maximum.

    It opens after `failures_to_open` in a row that lasted `spell_ms`, or at once after
    `failures_at_once`. With many requests a second, five that fail within a moment are common at a
    provider that answers half of them, and half is better than nothing.

    The longest pause is how long a provider that is well again may go without requests, while one
    that is not gets one request in so long. Only what a provider asks for itself may be longer.
    """

    failures_to_open: int = 5
    spell_ms: int = 1_000
    failures_at_once: int = 20
    pause_ms: int = 5_000
    max_pause_ms: int = 8_000
    max_wish_ms: int = 300_000
    probe_ms: int = 60_000


DEFAULT_LIMITS = BreakerLimits()


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is known of one deployment: one model at one provider, under its name there.

    `until_ms` is the end of the pause while OPEN, and of the probe's time while HALF_OPEN.
    `since_ms` is when the failures in a row began.
    """

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    until_ms: int = 0
    pause_ms: int = 0
    cause: str = ""
    since_ms: int = 0

    def is_usable(self, now_ms: int) -> bool:
        return self.state is BreakerState.CLOSED or now_ms >= self.until_ms

    def record_attempt(self, now_ms: int, limits: BreakerLimits = DEFAULT_LIMITS) -> "Breaker":
        """A request is about to be sent: after the pause, it is the one that probes."""
        if self.state is BreakerState.CLOSED or now_ms < self.until_ms:
            return self
        return replace(self, state=BreakerState.HALF_OPEN, until_ms=now_ms + limits.probe_ms)

    def record_success(self) -> "Breaker":
        """The model answered: every earlier failure is forgotten."""
        return self if self == _FRESH else _FRESH

    def record_nothing(self, now_ms: int) -> "Breaker":
        """An attempt was called off before it told anything; the next one may probe."""
        if self.state is not BreakerState.HALF_OPEN:
            return self
        return replace(self, until_ms=now_ms)

    def record_failure(
        self,
        now_ms: int,
        cause: str,
        *,
        retry_after_ms: int = 0,
        limits: BreakerLimits = DEFAULT_LIMITS,
    ) -> "Breaker":
        """The model failed by its own fault; see `counts_as_failure`.

        `retry_after_ms` is the provider's own wish to be left alone; it opens the breaker at once.
        """
        failures, since_ms = self.failures + 1, self.since_ms if self.failures else now_ms
        asked_until_ms = now_ms + min(retry_after_ms, limits.max_wish_ms)
        if self.state is BreakerState.OPEN and now_ms < self.until_ms:
            # Sent before the breaker opened: no news, unless the provider asks for more time.
            return replace(self, until_ms=max(self.until_ms, asked_until_ms))
        if self.state is BreakerState.CLOSED and not _is_spell(failures, now_ms - since_ms, limits):
            if not retry_after_ms:
                return replace(self, failures=failures, cause=cause, since_ms=since_ms)
            return Breaker(
                BreakerState.OPEN, failures, asked_until_ms, self.pause_ms, cause, since_ms
            )
        pause_ms = min(limits.max_pause_ms, self.pause_ms * 2 or limits.pause_ms)
        until_ms = max(now_ms + pause_ms, asked_until_ms)
        return Breaker(BreakerState.OPEN, failures, until_ms, pause_ms, cause, since_ms)


def _is_spell(failures: int, lasted_ms: int, limits: BreakerLimits) -> bool:
    """Whether failures in a row are more than a moment's bad luck."""
    long_enough = lasted_ms >= limits.spell_ms or failures >= limits.failures_at_once
    return failures >= limits.failures_to_open and long_enough


_FRESH = Breaker()


def counts_as_failure(status: int | None) -> bool:
    """Whether an upstream status (None: no response) speaks against the provider.

    Broken connections, 5xx, timeouts, throttling, and a refused key or an empty account do, because
    the next request will meet them too. Any other 4xx was caused by the request itself and never
    does: one client's bad requests must not take a provider from the others.
    """
    return status is None or status >= 500 or status in _COUNTING_STATUSES


def breaker_key(place: ModelCard) -> str:
    """The name of the breaker of one deployment."""
    return f"{place.provider}/{place.name}/{place.upstream_model}"


@dataclass(frozen=True, slots=True)
class Health:
    """Every breaker that ever failed, and the providers that say they are not ready.

    `breakers` maps `breaker_key` to its breaker, `not_ready` a provider to the reason. A missing
    name is healthy.
    """

    breakers: Mapping[str, Breaker] = field(default_factory=dict)
    not_ready: Mapping[str, str] = field(default_factory=dict)

    def why_down(self, card: ModelCard, now_ms: int) -> str | None:
        """Why a model cannot be used now, at none of its places; None where it can."""
        if not (self.breakers or self.not_ready):
            return None
        whys: list[str] = []
        for place in card.places:
            why = self._why_place_down(place, now_ms)
            if why is None:
                return None
            whys.append(why)
        return "; ".join(dict.fromkeys(whys))

    def _why_place_down(self, place: ModelCard, now_ms: int) -> str | None:
        provider = place.provider
        if provider in self.not_ready:
            return f"provider {provider} is not ready: {self.not_ready[provider]}"
        breaker = self.breakers.get(breaker_key(place))
        if breaker is None or breaker.is_usable(now_ms):
            return None
        if breaker.state is BreakerState.HALF_OPEN:
            return f"provider {provider} is being probed after: {breaker.cause}"
        wait_s = (breaker.until_ms - now_ms) / 1_000
        return f"provider {provider} rests for {wait_s:.0f} s after: {breaker.cause}"

    def with_breaker(self, key: str, breaker: Breaker) -> "Health":
        """The same health but for one breaker; a healthy one is dropped."""
        if self.breakers.get(key, _FRESH) == breaker:
            return self
        others = {name: known for name, known in self.breakers.items() if name != key}
        return replace(self, breakers=others if breaker == _FRESH else {**others, key: breaker})

    def breaker(self, key: str) -> Breaker:
        return self.breakers.get(key, _FRESH)

    def with_attempt(
        self, key: str, now_ms: int, limits: BreakerLimits = DEFAULT_LIMITS
    ) -> "Health":
        return self.with_breaker(key, self.breaker(key).record_attempt(now_ms, limits))

    def with_success(self, key: str) -> "Health":
        return self.with_breaker(key, _FRESH)

    def with_nothing(self, key: str, now_ms: int) -> "Health":
        return self.with_breaker(key, self.breaker(key).record_nothing(now_ms))

    def with_failure(
        self,
        key: str,
        now_ms: int,
        cause: str,
        *,
        retry_after_ms: int = 0,
        limits: BreakerLimits = DEFAULT_LIMITS,
    ) -> "Health":
        failed = self.breaker(key).record_failure(
            now_ms, cause, retry_after_ms=retry_after_ms, limits=limits
        )
        return self.with_breaker(key, failed)

    def with_ready(self, provider: str, reason: str | None) -> "Health":
        """A provider became ready (`reason` None) or says why it is not."""
        if self.not_ready.get(provider) == reason:
            return self
        others = {name: why for name, why in self.not_ready.items() if name != provider}
        return replace(self, not_ready=others if reason is None else {**others, provider: reason})
