"""What a request may cost at most with each model, before it is sent. Pure.

The input is bounded by the request's size; the output by the client's limit, or by what the model,
the configuration and the tightest budget allow where the client set none. Spent money shortens such
an answer; money that is only held does so no more than to a part, for waiting may give it back.
What goes for money goes for tokens, where a budget counts them.

Where the budget is tight, what is set aside is what the workflow's answers really are: a whole
answer without a limit is bounded by it, and a stream begins with it and grows (`allowance.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from budgets.admission import Headroom
from budgets.answer_sizes import AnswerSizes
from budgets.prices import (
    DEFAULT_SERVICE_TIER,
    Price,
    PriceCard,
    affordable_output_tokens,
    ceiling_nano,
)
from budgets.scopes import Charge, Unit
from budgets.value import value
from gateway.dialects.unseen import Beyond
from gateway.input_size import InputSize
from gateway.media import Media, MediaBound, bound_media
from gateway.room import Room
from gateway.wire import ModelRequest, asks_for_an_hour
from routing.catalog import Capability, ModelCard, Rejection, RejectionCode
from routing.decide import Quote

# Below one part in so many of the headroom, a hold for the longest answer cannot starve anybody.
TIGHT_SHARE = 20
MIN_ANSWER_TOKENS = 16
# The least to begin a stream with, while it may wait for more.
MIN_STEP_TOKENS = 64
# For money that is only held, an answer is cut to a fair part of what it could be: a quarter, and
# while it may wait no less than this either; at the end of its wait, whichever is less.
SHORT_ANSWER_TOKENS = 256
FAIR_PART = 4
WITHOUT_LIMIT = 1 << 53


@value
class Bid:
    """A quote with what it rests on: the price in force, and the bound to put into the request.

    `output_tokens` covers one choice; `total_output_tokens` all of them. `inject_tokens` is the
    bound the gateway must set itself, None where the client's own is as tight. `held_tokens` is
    what the ceiling covers of all choices: less than the bound where the hold grows in steps.
    `media` bounds a request for images or sound.
    """

    price: Price
    ceiling_nano: int
    output_tokens: int
    total_output_tokens: int
    inject_tokens: int | None
    input_tokens: int
    held_tokens: int
    media: MediaBound | None = None

    def price_of(self, output_tokens: int) -> tuple[int, int]:
        """What a hold must have for so many output tokens: nano-USD, and tokens in all."""
        nano = ceiling_nano(self.price, self.input_tokens, output_tokens)
        return nano, self.input_tokens + output_tokens

    @property
    def tokens(self) -> int:
        """What is held of budgets in tokens: input and output together."""
        return self.input_tokens + self.held_tokens

    def charges(self, charges: Sequence[Charge]) -> tuple[Charge, ...]:
        """Charges to budgets of this model, with what this model can take of them."""
        amounts = {Unit.USD: self.ceiling_nano, Unit.TOKENS: self.tokens}
        return tuple([replace(charge, amount=amounts.get(charge.unit)) for charge in charges])


@dataclass(slots=True)
class Quoter:
    """Quotes for one request; `may_wait` where it can come back when less of its money is held.

    `sizes` knows what the workflow's answers take, `step_tokens` is what a stream begins with where
    it does not (0: holds do not grow), and `spoken_tokens` what the messages are for each model
    whose vocabulary is known. `beyond` bounds what the request reads that is not in it.

    It remembers its bids: the decision asks for them first and the reservation again.
    """

    prices: PriceCard
    request: ModelRequest
    room: Room
    now_s: int
    answer_cap_tokens: int
    size: InputSize
    may_wait: bool = True
    step_tokens: int = 0
    workflow: str = ""
    sizes: AnswerSizes = field(default_factory=AnswerSizes)
    spoken_tokens: Mapping[str, int] = field(default_factory=dict)
    service_tier: str = DEFAULT_SERVICE_TIER
    beyond: Beyond | None = None
    is_free: bool = False
    least_audio_bits_per_s: int = 8_000
    is_tight: bool = False  # whether a bid of it was
    _bids: dict[str, Bid | None] = field(default_factory=dict)

    def __call__(self, card: ModelCard) -> Quote:
        """The most this request can cost with a model; without a price there is no ceiling."""
        bid = self.bid(card)
        if bid is None:
            return Quote(None, 0)
        return Quote(bid.ceiling_nano, bid.output_tokens, self._over(card, bid))

    def bid(self, card: ModelCard) -> Bid | None:
        """The quote with what it rests on; None where the model has no price."""
        if card.name not in self._bids:
            self._bids[card.name] = self._bid(card)
        return self._bids[card.name]

    def _bid(self, card: ModelCard) -> Bid | None:
        price = self.prices.at(card.price_model, self.now_s, self.service_tier)
        if price is None:
            return None
        if self.request.media is not None:
            return self._media_bid(card, price, self.request.media)
        if not price.by_tokens:
            return None
        if price.keeps_dearer and asks_for_an_hour(self.request.raw):
            price = price.for_an_hour()
        if self.is_free:
            return Bid(price, 0, 0, 0, None, 0, 0)
        input_tokens = self.input_tokens(card)
        asked, choices = self.request.output_tokens, self.request.choices
        most = card.max_output_tokens
        output = min(most, self.answer_cap_tokens if asked is None else asked)
        left = self.room.left_with(card.name)
        full_nano = ceiling_nano(price, input_tokens, output * choices)
        tight = self._is_tight(left, full_nano, input_tokens + output * choices)
        grows = tight and self._grows(card)
        if tight and (asked is None or grows):
            now = _fitting(left, price, input_tokens)
            later = _fitting(self.room.unheld(card.name), price, input_tokens)
            if asked is None:
                if not grows:
                    output = min(output, self._learned(self.sizes.bound, card) or output)
                output = self._affordable(now // choices, later // choices, output, grows=grows)
        total = held = output * choices
        if grows and (asked is None or total <= later):
            step = choices * (self._learned(self.sizes.size, card) or self.step_tokens)
            held = self._first_step(now, min(total, step))
        if asked is None:
            limited = left.nano is not None or left.tokens is not None
            inject = output if limited or output < most else None
        else:
            inject = output if output < asked else None
        ceiling = ceiling_nano(price, input_tokens, held)
        return Bid(price, ceiling, output, total, inject, input_tokens, held)

    def _media_bid(self, card: ModelCard, price: Price, media: Media) -> Bid | None:
        """The quote for images or sound: nothing of them can be cut short, so all is held."""
        overhead, least = card.prompt_overhead_tokens, self.least_audio_bits_per_s
        bound = bound_media(media, price, card.max_output_tokens, overhead, least)
        if bound is None:
            return None
        usage = bound.usage
        return Bid(
            price,
            bound.ceiling_nano,
            usage.output_tokens // self.request.choices,
            usage.output_tokens,
            None,
            usage.input_tokens,
            usage.output_tokens,
            bound,
        )

    def _is_tight(self, left: Headroom, full_nano: int, full_tokens: int) -> bool:
        """Whether a hold for the longest answer is a part of what is left that others may miss."""
        tight = (left.nano is not None and full_nano > left.nano // TIGHT_SHARE) or (
            left.tokens is not None and full_tokens > left.tokens // TIGHT_SHARE
        )
        self.is_tight = self.is_tight or tight
        return tight

    def _over(self, card: ModelCard, bid: Bid) -> Rejection | None:
        """Why a budget of the model, or one that counts tokens, cannot bear it; None if all can."""
        own = self.room.models.get(card.name)
        if own is not None and not own.bears(bid.ceiling_nano, bid.tokens):
            why = f"its own budget: {_too_much(own, bid)}"
            return Rejection(card.name, RejectionCode.MODEL_BUDGET, why)
        left_tokens = self.room.left.tokens
        if left_tokens is not None and bid.tokens > left_tokens:
            why = f"takes up to {bid.tokens} tokens and {left_tokens} are left"
            return Rejection(card.name, RejectionCode.OVER_HEADROOM, why)
        return None

    def _learned(self, rule: Callable[[str, str], int | None], card: ModelCard) -> int | None:
        return rule(self.workflow, card.name)

    def _grows(self, card: ModelCard) -> bool:
        """Whether a hold can follow what is generated: what a model thinks unseen, it cannot."""
        unseen = Capability.REASONING in card.capabilities
        return self.request.stream and self.step_tokens > 0 and not unseen

    def _first_step(self, now: int, step: int) -> int:
        """The step, or what fits now where that is enough to begin with."""
        enough = MIN_STEP_TOKENS if self.may_wait else MIN_ANSWER_TOKENS
        return min(step, now) if now >= min(enough, step) else step

    def _affordable(self, now: int, later: int, output: int, *, grows: bool) -> int:
        """As much of the output as budgets bear, if that is enough for an answer at all.

        `now` and `later` tokens fit: now, and if nothing were held. Where held money stands in the
        way, what fits without it, unless a fair part fits now; a stream that grows may come to
        have it.
        """
        wish = min(later, output)
        if wish < min(MIN_ANSWER_TOKENS, output):
            return output
        if grows:
            return wish
        parts = (SHORT_ANSWER_TOKENS, wish // FAIR_PART)
        fair = max(parts) if self.may_wait else max(MIN_ANSWER_TOKENS, min(parts))
        return min(now, output) if now >= min(fair, wish) else wish

    def input_tokens(self, card: ModelCard) -> int:
        """At most so many input tokens with a model."""
        spoken = self.spoken_tokens.get(card.name)
        seen = self.size.bound_tokens(card.prompt_overhead_tokens, spoken)
        return seen if self.beyond is None else self.beyond.bound(seen, card.context_tokens)


def _fitting(left: Headroom, price: Price, input_tokens: int) -> int:
    """The most output tokens that what is left bears; below 0 where the input does not fit."""
    fitting = WITHOUT_LIMIT
    if left.nano is not None:
        fitting = affordable_output_tokens(price, input_tokens, left.nano)
    if left.tokens is not None:
        fitting = min(fitting, left.tokens - input_tokens)
    return fitting


def _too_much(left: Headroom, bid: Bid) -> str:
    if left.nano is not None and bid.ceiling_nano > left.nano:
        return f"costs up to {bid.ceiling_nano} nano-USD and {left.nano} are left"
    if left.tokens is not None and bid.tokens > left.tokens:
        return f"takes up to {bid.tokens} tokens and {left.tokens} are left"
    return "no request is left"
