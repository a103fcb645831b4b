"""What a Redis ledger remembers of new budgets: their openings, and which of them miss nothing.

Several gateways derive the same openings, each from what it read. A total is posted as the
difference to what was posted before, in one step. One that was derived from less than the total
that is there is left out, so a slow gateway never takes back what a faster one knows.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from budgets.ledger import LedgerError
from budgets.stores.redis_lane import Lane
from budgets.stores.redis_texts import accounts_json

OPEN_BATCH = 200


class Openings:
    """The part of `SeedingLedger` that is not about requests."""

    def __init__(self, lane: Lane, gateway: str) -> None:
        self._lane = lane
        self._gateway = gateway.encode()

    async def carry_over(self, totals: Mapping[str, int], now_ms: int, as_of: str) -> None:
        """Bring the openings of accounts to these totals."""
        life, _, seq = as_of.partition(" ")
        head = (life.encode(), seq.encode(), b"%d" % now_ms)
        for batch in _batches(totals):
            parts = [
                part
                for account, total in batch.items()
                for part in (account.encode(), accounts_json((account,)), b"%d" % total)
            ]
            answer = await self._lane.call("open", b"", *head, *parts)
            if answer[0] == b"error":
                raise LedgerError(f"what new budgets missed {answer[1].decode()}")

    async def counting(self) -> Collection[str]:
        """What this gateway noted, but for what another one spends without."""
        answer = await self._lane.call("counting", b"")
        noted = [field.partition(b"|") for field in answer[1]]
        return {name.decode() for gateway, _, name in noted if gateway == self._gateway}

    async def note_counting(self, names: Collection[str]) -> None:
        """Note the budgets that this gateway never spent without."""
        await self._lane.call("note", b"", self._gateway, *[name.encode() for name in names])

    async def oldest_hold_ms(self) -> int | None:
        """When the oldest open hold of any gateway was admitted."""
        answer = await self._lane.call("oldest", b"")
        return int(answer[1]) if answer[1] else None


def _batches(totals: Mapping[str, int]) -> Iterator[dict[str, int]]:
    remaining = iter(totals.items())
    while batch := dict(islice(remaining, OPEN_BATCH)):
        yield batch
