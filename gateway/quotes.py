"""What a request may cost at most with each model, before it is sent. Pure.

The input is bounded by the request's size; the output by the client's limit, or by what the model,
the configuration and the tightest budget allow where the client set none.
"""

from dataclasses import dataclass, field, replace

from budgets.prices import Price, PriceCard, affordable_output_tokens, ceiling_nano
from budgets.value import value
from gateway.input_size import InputSize, exact_size
from gateway.wire import ChatRequest
from routing.catalog import ModelCard
from routing.decide import Quote

MIN_ANSWER_TOKENS = 16


@value
class Bid:
    """A quote with what it rests on: the price in force, and the bound to put into the request.

    `output_tokens` covers one choice; `total_output_tokens` all of them. `inject_tokens` is the
    bound the gateway must set itself, None where the client's own is as tight. `held_tokens` is
    what the ceiling covers of all choices: less than the bound where the hold grows in steps.
    """

    price: Price
    ceiling_nano: int
    output_tokens: int
    total_output_tokens: int
    inject_tokens: int | None
    input_tokens: int
    held_tokens: int

    def price_of(self, output_tokens: int) -> tuple[int, int]:
        """What a hold must have for so many output tokens: nano-USD, and tokens in all."""
        nano = ceiling_nano(self.price, self.input_tokens, output_tokens)
        return nano, self.input_tokens + output_tokens


@dataclass(slots=True)
class Quoter:
    """Quotes for one request. `headroom_nano` is what its tightest budget has left.

    It remembers its bids: the decision asks for them first and the reservation again.
    """

    prices: PriceCard
    request: ChatRequest
    headroom_nano: int | None
    now_s: int
    answer_cap_tokens: int
    size: InputSize
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

    def measured(self) -> "Quoter":
        """Quotes for the same request with its input measured and not only taken at a glance."""
        return replace(self, size=exact_size(self.request.body), _bids={})

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
            if self.headroom_nano is not None:
                output = self._affordable(price, input_tokens, output, choices)
            inject = output if self.headroom_nano is not None or output < most else None
        total = output * choices
        return Bid(
            price,
            ceiling_nano(price, input_tokens, total),
            output,
            total,
            inject,
            input_tokens,
            total,
        )

    def _affordable(self, price: Price, input_tokens: int, output: int, choices: int) -> int:
        """As much of the output as the headroom bears, if that is enough for an answer at all."""
        headroom = self.headroom_nano or 0
        if ceiling_nano(price, input_tokens, output * choices) <= headroom:
            return output
        affordable = affordable_output_tokens(price, input_tokens, headroom) // choices
        return affordable if affordable >= min(MIN_ANSWER_TOKENS, output) else output

    def input_tokens(self, card: ModelCard) -> int:
        """At most so many input tokens with a model."""
        return self.size.bound_tokens(card.prompt_overhead_tokens)
