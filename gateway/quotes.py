"""What a request may cost at most with each model, before it is sent. Pure.

The input is bounded by the request's size; the output by the client's limit, or by what the model,
the configuration and the tightest budget allow where the client set none. Spent money shortens such
an answer; money that is only held does so no more than to a part, for waiting may give it back.

Where the budget is tight, what is set aside is what the workflow's answers really are: a whole
answer without a limit is bounded by it, and a stream begins with it and grows (`allowance.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from budgets.admission import headroom_nano
from budgets.answer_sizes import AnswerSizes
from budgets.ledger import Account
from budgets.prices import Price, PriceCard, affordable_output_tokens, ceiling_nano
from budgets.scopes import Charge
from budgets.value import value
from gateway.input_size import InputSize
from gateway.wire import ChatRequest
from routing.catalog import Capability, ModelCard
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
    """Quotes for one request; `may_wait` where it can come back when less of its money is held.

    `sizes` knows what the workflow's answers take, `step_tokens` is what a stream begins with where
    it does not (0: holds do not grow), and `spoken_tokens` what the messages are for each model
    whose vocabulary is known.

    It remembers its bids: the decision asks for them first and the reservation again.
    """

    prices: PriceCard
    request: ChatRequest
    room: Room
    now_s: int
    answer_cap_tokens: int
    size: InputSize
    may_wait: bool = True
    step_tokens: int = 0
    workflow: str = ""
    sizes: AnswerSizes = field(default_factory=AnswerSizes)
    spoken_tokens: Mapping[str, int] = field(default_factory=dict)
    is_tight: bool = False  # whether a bid of it was
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
        asked, choices = self.request.output_tokens, self.request.choices
        most = card.max_output_tokens
        output = min(most, self.answer_cap_tokens if asked is None else asked)
        tight = self._is_tight(ceiling_nano(price, input_tokens, output * choices))
        grows = tight and self._grows(card)
        if asked is None and tight:
            if not grows:
                output = min(output, self._learned(self.sizes.bound, card) or output)
            output = self._affordable(price, input_tokens, output, choices, grows=grows)
        total = held = output * choices
        if grows and (asked is None or self._may_come_to(price, input_tokens, total)):
            step = choices * (self._learned(self.sizes.size, card) or self.step_tokens)
            held = self._first_step(price, input_tokens, min(total, step))
        if asked is None:
            inject = output if self.room.left_nano is not None or output < most else None
        else:
            inject = output if output < asked else None
        ceiling = ceiling_nano(price, input_tokens, held)
        return Bid(price, ceiling, output, total, inject, input_tokens, held)

    def _is_tight(self, full_nano: int) -> bool:
        """Whether a hold for the longest answer is a part of the headroom that others may miss."""
        left_nano = self.room.left_nano
        if left_nano is None or full_nano <= left_nano // TIGHT_SHARE:
            return False
        self.is_tight = True
        return True

    def _learned(self, rule: Callable[[str, str], int | None], card: ModelCard) -> int | None:
        return rule(self.workflow, card.name)

    def _grows(self, card: ModelCard) -> bool:
        """Whether a hold can follow what is generated: what a model thinks unseen, it cannot."""
        unseen = Capability.REASONING in card.capabilities
        return self.request.stream and self.step_tokens > 0 and not unseen

    def _may_come_to(self, price: Price, input_tokens: int, output_tokens: int) -> bool:
        return self.room.may_come_to(ceiling_nano(price, input_tokens, output_tokens))

    def _first_step(self, price: Price, input_tokens: int, step: int) -> int:
        """The step, or what is left where that is enough to begin with."""
        now = affordable_output_tokens(price, input_tokens, self.room.left_nano or 0)
        enough = MIN_STEP_TOKENS if self.may_wait else MIN_ANSWER_TOKENS
        return min(step, now) if now >= min(enough, step) else step

    def _affordable(
        self, price: Price, input_tokens: int, output: int, choices: int, *, grows: bool
    ) -> int:
        """As much of the output as budgets bear, if that is enough for an answer at all.

        Where held money stands in the way, what would fit without it, unless a fair part fits now;
        a stream that grows may come to have it.
        """

        def fits(budget_nano: int | None) -> int:
            tokens = affordable_output_tokens(price, input_tokens, budget_nano or 0) // choices
            return min(tokens, output)

        wish = fits(self.room.unheld_nano())
        if wish < min(MIN_ANSWER_TOKENS, output):
            return output
        if grows:
            return wish
        parts = (SHORT_ANSWER_TOKENS, wish // FAIR_PART)
        fair = max(parts) if self.may_wait else max(MIN_ANSWER_TOKENS, min(parts))
        now = fits(self.room.left_nano)
        return now if now >= min(fair, wish) else wish

    def input_tokens(self, card: ModelCard) -> int:
        """At most so many input tokens with a model."""
        spoken = self.spoken_tokens.get(card.name)
        return self.size.bound_tokens(card.prompt_overhead_tokens, spoken)
