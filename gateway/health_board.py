"""The current health of every deployment and provider, as the last requests found it."""

from collections.abc import Iterable, Sequence

from gateway.clock import now_ms
from gateway.retry_after import retry_after_ms
from routing.attempts import RetryBudget
from routing.balance import Balancer
from routing.catalog import ModelCard
from routing.health import Breaker, Health, breaker_key, counts_as_failure

_UNTOUCHED = RetryBudget()


class HealthBoard:
    """Holds the latest `Health`, the retry budgets and the balance. Used from the event loop only.

    For each attempt: `asked`, then exactly one of `answered`, `failed` and `let_go`.
    """

    __slots__ = ("_balancer", "_budgets", "_health")

    def __init__(self) -> None:
        self._health = Health()
        self._balancer = Balancer()
        self._budgets: dict[str, RetryBudget] = {}

    @property
    def health(self) -> Health:
        return self._health

    def breaker(self, place: ModelCard) -> Breaker:
        return self._health.breaker(breaker_key(place))

    def order(self, card: ModelCard) -> Sequence[ModelCard]:
        """The places of a model, the one to ask first in front."""
        if not card.deployments:
            return (card,)
        return self._balancer.order(card, now_ms())

    def usable(self, place: ModelCard, after_ms: int = 0) -> bool:
        """Whether its breaker lets a request through, now or in a while."""
        if not self._health.breakers:
            return True
        return self.breaker(place).is_usable(now_ms() + after_ms)

    def may_retry(self, provider: str) -> bool:
        """Whether an attempt after the first may go there."""
        return self._budgets.get(provider, _UNTOUCHED).allows

    def asked(self, place: ModelCard) -> None:
        """A request is about to be sent; after a pause it is the one that probes."""
        self._balancer.asked(place)
        if self._health.breakers:
            self._health = self._health.with_attempt(breaker_key(place), now_ms())

    def answered(
        self,
        place: ModelCard,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        took_ms: float = 0.0,
    ) -> int:
        """A response began; its status says whether the provider is well.

        How long the provider wants to be left alone, in ms, where it is not.
        """
        at_ms = now_ms()
        if not counts_as_failure(status):
            self._balancer.answered(place, at_ms, took_ms)
            if self._health.breakers:
                self._health = self._health.with_success(breaker_key(place))
            if self._budgets:
                self._refill(place.provider)
            return 0
        wish_ms = retry_after_ms(headers, at_ms)
        self._note_failure(place, at_ms, f"status {status}", wish_ms)
        return wish_ms

    def failed(self, place: ModelCard, cause: str) -> None:
        """No response came."""
        self._note_failure(place, now_ms(), cause, 0)

    def let_go(self, place: ModelCard) -> None:
        """Nobody waits for the response any more: nothing is known but that."""
        self._balancer.let_go(place)
        if self._health.breakers:
            self._health = self._health.with_nothing(breaker_key(place), now_ms())

    def _note_failure(self, place: ModelCard, at_ms: int, cause: str, wish_ms: int) -> None:
        self._balancer.let_go(place)
        budget = self._budgets.get(place.provider, _UNTOUCHED)
        self._budgets[place.provider] = budget.failed()
        self._health = self._health.with_failure(
            breaker_key(place), at_ms, cause, retry_after_ms=wish_ms
        )

    def _refill(self, provider: str) -> None:
        budget = self._budgets.get(provider)
        if budget is None:
            return
        budget = budget.answered()
        if budget == _UNTOUCHED:
            del self._budgets[provider]
        else:
            self._budgets[provider] = budget
