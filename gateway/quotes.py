"""What a request may cost at most with each model, before it is sent. Pure.

The input is bounded by the request's size; the output by the client's limit, or by what the model,
the configuration and the tightest budget allow where the client set none. Spent money shortens such
an answer; money that is only held does so no more than to a part, for waiting may give it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from budgets.ledger import Account, headroom_nano
from budgets.prices import Price, PriceCard, affordable_output_tokens, ceiling_nano
from budgets.scopes import Charge
from budgets.value import value
from gateway.input_size import InputSize
from gateway.wire import ChatRequest
from routing.catalog import ModelCard
from routing.decide import Quote

MIN_ANSWER_TOKENS = 16
# For money that is only held, an answer is cut to a fair part of what it could be: a quarter, and
# while it may wait no less than this either; at the end of its wait, whichever is less.
SHORT_ANSWER_TOKENS = 256
FAIR_PART = 4


@value
class Room:
    """What the tightest budget of a request has left by its survey; None without a limit."""

    left_nano: int | None
    accounts: Mapping[str, Account]
    charges: tuple[Charge, ...]

    def unheld_nano(self) -> int | None:
        """What it would have left if the requests in flight cost nothing."""
        spent = {name: Account(account.posted_nano) for name, account in self.accounts.items()}
        return headroom_nano(spent, self.charges)

    def may_come_to(self, amount_nano: int) -> bool:
        """Whether so much may be left later, when nothing is held any more."""
        unheld_nano = self.unheld_nano()
        return unheld_nano is None or amount_nano <= unheld_nano


@value
class Bid:
    """A quote with what it rests on: the price in force, and the bound to put into the request.

    `output_tokens` covers one choice; `total_output_tokens` all of them. `inject_tokens` is the
    bound the gateway must set itself, None where the client's own is as tight.
    """

    price: Price
    ceiling_nano: int
    output_tokens: int
    total_output_tokens: int
    inject_tokens: int | None


@dataclass(slots=True)
class Quoter:
    """Quotes for one request; `may_wait` where it can come back when less of its money is held.

    It remembers its bids: the decision asks for them first and the reservation again.
    """

    prices: PriceCard
    request: ChatRequest
    room: Room
    now_s: int
    answer_cap_tokens: int
    size: InputSize
    may_wait: bool = True
    _bids: dict[str, Bid | None] = field(default_factory=dict)

    def __call__(self, card: ModelCard) -> Quote:
        """The most this request can cost with a model; without a price there is no ceiling."""
        bid = self.bid(card)
        return Quote(None, 0) if bid is None else Quote(bid.ceiling_nano, bid.output_tokens)

    def bid(self, card: ModelCard) -> Bid | None:
        """The quote with what it rests on; None where the model has no price."""
        if card.name not in self._bids:
            self._bids[card.name] = self._bid(card)
        return self._bids[card.name]

    def _bid(self, card: ModelCard) -> Bid | None:
        tier = self.request.body.get("service_tier")
        price = self.prices.at(
            card.price_model, self.now_s, tier if isinstance(tier, str) else "default"
        )
        if price is None:
            return None
        input_tokens = self.input_tokens(card)
        asked = self.request.output_tokens
        choices = self.request.choices
        most = card.max_output_tokens
        if asked is not None:
            output = min(asked, most)
            inject = output if output < asked else None
        else:
            output = min(most, self.answer_cap_tokens)
            left_nano = self.room.left_nano
            if left_nano is not None:
                full_nano = ceiling_nano(price, input_tokens, output * choices)
                if full_nano > left_nano:
                    output = self._affordable(price, input_tokens, output, choices)
            inject = output if left_nano is not None or output < most else None
        total = output * choices
        return Bid(price, ceiling_nano(price, input_tokens, total), output, total, inject)

    def _affordable(self, price: Price, input_tokens: int, output: int, choices: int) -> int:
        """As much of the output as budgets bear, if that is enough for an answer at all.

        Where held money stands in the way, what would fit without it, unless a fair part fits now.
        """

        def fits(budget_nano: int | None) -> int:
            tokens = affordable_output_tokens(price, input_tokens, budget_nano or 0) // choices
            return min(tokens, output)

        wish = fits(self.room.unheld_nano())
        if wish < min(MIN_ANSWER_TOKENS, output):
            return output
        parts = (SHORT_ANSWER_TOKENS, wish // FAIR_PART)
        fair = max(parts) if self.may_wait else max(MIN_ANSWER_TOKENS, min(parts))
        now = fits(self.room.left_nano)
        return now if now >= min(fair, wish) else wish

    def input_tokens(self, card: ModelCard) -> int:
        """At most so many input tokens with a model."""
        return self.size.bound_tokens(card.prompt_overhead_tokens)
