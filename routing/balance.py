"""Which deployment of a model is asked first, and which next. Pure: it is told of time and chance.

    ordered    always the first that can be used
    weighted   in turns, so that of every so many requests each gets its share exactly
    latency    the one with the least first-byte time, counting what waits there now

The mean of the latencies forgets: without news it falls by two thirds in ten seconds, so that a
deployment that was slow is tried again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from routing.catalog import Balance, ModelCard

FORGET_MS = 10_000.0
# What one more measurement weighs beside the mean of those before it.
NEWS = 0.3

Key = tuple[str, str, str]


@dataclass(slots=True)
class _Seen:
    """What a deployment was like: its mean, when that was, how many wait, and its turn's credit."""

    mean_ms: float = 0.0
    at_ms: int = 0
    waiting: int = 0
    credit: int = 0

    def cost(self, now_ms: int) -> float:
        return self.mean_ms * exp(-max(0, now_ms - self.at_ms) / FORGET_MS) * (self.waiting + 1)


def _key(place: ModelCard) -> Key:
    return place.provider, place.name, place.upstream_model


class Balancer:
    """Puts the deployments of a model in order, and remembers how they did. One event loop's."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[Key, _Seen] = {}

    def order(self, card: ModelCard, now_ms: int) -> Sequence[ModelCard]:
        """The places of a model, the one to ask first in front."""
        places = card.places
        if len(places) == 1 or card.balance is Balance.ORDERED:
            return places
        seen = [self._of(place) for place in places]
        if card.balance is Balance.LATENCY:
            # Where nothing is known they take turns: fewest waiting first, then by position.
            ranked = [(one.cost(now_ms), one.waiting, number) for number, one in enumerate(seen)]
            return [places[number] for _, _, number in sorted(ranked)]
        for place, one in zip(places, seen, strict=True):
            one.credit += place.weight
        ranked_by_credit = sorted(range(len(places)), key=lambda number: -seen[number].credit)
        seen[ranked_by_credit[0]].credit -= sum(place.weight for place in places)
        return [places[number] for number in ranked_by_credit]

    def asked(self, place: ModelCard) -> None:
        """A request is about to be sent; tell `answered` or `let_go` once for it."""
        if place.balance is Balance.LATENCY:
            self._of(place).waiting += 1

    def answered(self, place: ModelCard, now_ms: int, took_ms: float) -> None:
        """Its first byte came after so long."""
        if place.balance is Balance.LATENCY:
            seen = self._of(place)
            seen.waiting -= 1
            known = seen.mean_ms > 0
            seen.mean_ms = seen.mean_ms * (1 - NEWS) + took_ms * NEWS if known else took_ms
            seen.at_ms = now_ms

    def let_go(self, place: ModelCard) -> None:
        """It failed, or nobody waits for it any more: that is no measurement."""
        if place.balance is Balance.LATENCY:
            self._of(place).waiting -= 1

    def _of(self, place: ModelCard) -> _Seen:
        key = _key(place)
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = _Seen()
        return seen
