"""The current health of every model, as the last requests found it."""

from collections.abc import Iterable

from gateway.clock import now_ms
from routing.catalog import ModelCard
from routing.health import Health, breaker_key, counts_as_failure

MAX_RETRY_AFTER_S = 300


class HealthBoard:
    """Holds the latest `Health`. Used from the event loop only."""

    __slots__ = ("_health",)

    def __init__(self) -> None:
        self._health = Health()

    @property
    def health(self) -> Health:
        return self._health

    def asked(self, card: ModelCard) -> None:
        """A request is about to be sent; after a pause it is the one that probes."""
        if self._health.breakers:
            key = breaker_key(card.provider, card.name)
            self._health = self._health.with_attempt(key, now_ms())

    def answered(
        self, card: ModelCard, status: int, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """A response began; its status says whether the provider is well."""
        key = breaker_key(card.provider, card.name)
        if not counts_as_failure(status):
            if self._health.breakers:
                self._health = self._health.with_success(key)
            return
        self._health = self._health.with_failure(
            key, now_ms(), f"status {status}", retry_after_ms=_retry_after_ms(headers)
        )

    def failed(self, card: ModelCard, cause: str) -> None:
        """No response came."""
        key = breaker_key(card.provider, card.name)
        self._health = self._health.with_failure(key, now_ms(), cause)


def _retry_after_ms(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The provider's own wish in seconds; a date or nonsense counts as no wish."""
    for name, value in headers:
        if name == b"retry-after" and value.isdigit():
            return min(int(value), MAX_RETRY_AFTER_S) * 1000
    return 0
