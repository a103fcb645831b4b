"""What a stream may generate with the money that is held for it, and how that grows in steps.

A stream without a tight budget holds enough for its longest answer and never asks. In a tight one
it holds a step, and asks for the next before it needs it; where the budget bears no more the
stream is cut at what it holds. Two streams can so share a budget that neither could have whole.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from budgets.ledger import Hold, LedgerError, Reservation
from budgets.port import LedgerStore
from budgets.scopes import Charge, ScopeKind, Unit

LOG = logging.getLogger("weir.gateway")
# The least that is worth a move of the ledger.
LEAST_STEP_TOKENS = 32


class Allowance:
    """Output tokens that an open hold covers. One request uses it, from one task.

    `tokens` is what may be generated now, of all choices together, and `most_tokens` what it can
    grow to. `hold` and `reservation` are as they are now.
    """

    __slots__ = ("_ledger", "_price", "_scope", "hold", "most_tokens", "reservation", "tokens")

    def __init__(
        self,
        ledger: LedgerStore,
        reservation: Reservation,
        hold: Hold,
        tokens: int,
        most_tokens: int,
        price: Callable[[int], tuple[int, int]],
        model: str = "",
    ) -> None:
        """`price` says what so many output tokens ask of a hold: nano-USD, and tokens in all.

        What is held of budgets of the `model` that answers grows with it, of others it stays.
        """
        self._ledger = ledger
        self._scope = f"{ScopeKind.MODEL}:{model}"
        self.reservation = reservation
        self._price = price
        self.hold = hold
        self.tokens = tokens
        self.most_tokens = most_tokens

    @property
    def watermark_tokens(self) -> int | None:
        """Where to ask for more; None where there is no more to have."""
        if self.tokens >= self.most_tokens:
            return None
        return self.tokens - max(LEAST_STEP_TOKENS, self.tokens // 4)

    async def more(self) -> bool:
        """Hold another step, a smaller one where the budget does not bear it; whether there is any.

        A ledger that does not answer gives nothing: the stream has what it holds.
        """
        step = min(self.most_tokens - self.tokens, max(LEAST_STEP_TOKENS, self.tokens // 2))
        while step > 0:
            try:
                if await self._extend(self.tokens + step):
                    return True
            except LedgerError as error:
                LOG.error("hold %s does not grow: %s", self.hold.hold_id, error)
                return False
            if step < LEAST_STEP_TOKENS:
                return False
            step //= 4
        return False

    async def _extend(self, tokens: int) -> bool:
        amount_nano, all_tokens = self._price(tokens)
        own = {Unit.USD: amount_nano, Unit.TOKENS: all_tokens}
        wish = replace(
            self.reservation,
            amount_nano=max(amount_nano, self.hold.amount_nano),
            tokens=max(all_tokens, self.reservation.tokens),
            charges=tuple([self._grown(charge, own) for charge in self.reservation.charges]),
        )
        extended = await self._ledger.extend(self.hold, wish)
        if not isinstance(extended, Hold):
            return False
        self.hold, self.reservation, self.tokens = extended, wish, tokens
        return True

    def _grown(self, charge: Charge, own: Mapping[Unit, int]) -> Charge:
        if charge.amount is None or charge.scope != self._scope:
            return charge
        return replace(charge, amount=max(charge.amount, own.get(charge.unit, 0)))
