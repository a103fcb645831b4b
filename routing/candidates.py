"""Which models can serve a request: dialect, health, abilities, price, room, money, in order."""

from collections.abc import Callable, Iterable

from budgets.value import value
from routing.catalog import Capability, ModelCard, Rejection, RejectionCode
from routing.features import Features
from routing.health import Health
from routing.work import Work, work_of

UNCAPPED_OUTPUT_TOKENS = 256


@value
class Quote:
    """The most a request costs at a model: nano-USD (None: no price) for so many output tokens.

    `over` is why a budget cannot bear it that the headroom in money says nothing of.
    """

    ceiling_nano: int | None
    output_tokens: int
    over: Rejection | None = None


@value
class Candidate:
    """A model that can serve the request, and the most that costs."""

    model: ModelCard
    ceiling_nano: int
    output_tokens: int


def needed_capabilities(features: Features) -> frozenset[Capability]:
    """What a model must be able to do for this request."""
    needs = (
        (features.tools, Capability.TOOLS),
        (features.images, Capability.VISION),
        (features.audio, Capability.AUDIO),
        (features.files, Capability.FILES),
        (features.schema, Capability.SCHEMA),
    )
    return frozenset(capability for asked, capability in needs if asked)


def _why_too_long(card: ModelCard, features: Features, output_tokens: int) -> str:
    """Why prompt and answer do not fit; empty where they do.

    Without a client's cap, the answer may be as long as what is left, so a short one must fit.
    """
    prompt = features.prompt_tokens + card.prompt_overhead_tokens
    room = output_tokens
    if features.max_output_tokens is None:
        room = min(room, UNCAPPED_OUTPUT_TOKENS)
    if prompt + room <= card.context_tokens:
        return ""
    return f"about {prompt} prompt and {room} output tokens exceed {card.context_tokens}"


def _other_work(card: ModelCard, work: Work) -> str:
    """Why a model is not for this work; empty where it is."""
    if card.works is None or work in card.works:
        return ""
    return f"is for {' and '.join(sorted(card.works))}, not for {work}"


class Survey:
    """The verdicts on the models looked at so far; lives for one `decide`."""

    __slots__ = (
        "_dialect",
        "_features",
        "_headroom_nano",
        "_health",
        "_needed",
        "_now_ms",
        "_quote",
        "_work",
        "rejected",
        "too_dear",
    )

    def __init__(
        self,
        features: Features,
        health: Health,
        quote: Callable[[ModelCard], Quote],
        headroom_nano: int | None,
        now_ms: int,
        dialect: str = "",
        work: Work | None = None,
    ) -> None:
        """`dialect` is the way of asking; empty asks for none.

        `work` is what a model must be for, None where the client named the model.
        """
        self._dialect = dialect
        self._work = work
        self._features = features
        self._health = health
        self._quote = quote
        self._headroom_nano = headroom_nano
        self._now_ms = now_ms
        self._needed = needed_capabilities(features)
        self.rejected: dict[str, Rejection] = {}
        self.too_dear: list[tuple[str, Candidate]] = []

    def keep(self, tier: str, cards: Iterable[ModelCard]) -> list[Candidate]:
        """The models of a tier that can answer, in order."""
        kept: list[Candidate] = []
        for card in cards:
            # A model may stand in several tiers; it is judged once.
            if card.name not in self.rejected:
                verdict = self._judge(card, tier)
                if isinstance(verdict, Candidate):
                    kept.append(verdict)
                else:
                    self.rejected[card.name] = verdict
        return kept

    def keep_last(self, card: ModelCard) -> Candidate | None:
        """The last resort where it can answer; that it is too dear is no offer to the ledger."""
        if card.name in self.rejected:
            return None
        offers = len(self.too_dear)
        verdict = self._judge(card, "")
        del self.too_dear[offers:]
        if isinstance(verdict, Candidate):
            return verdict
        self.rejected[card.name] = verdict
        return None

    def is_down(self) -> bool:
        """Whether a model looked at so far is out of reach for the moment."""
        codes = (rejection.code for rejection in self.rejected.values())
        return RejectionCode.PROVIDER_DOWN in codes

    def _why_unfit(self, card: ModelCard) -> str:
        """Why a model cannot be asked in this way; empty where it can."""
        dialect, spoken = self._dialect, card.dialects
        if spoken is not None and dialect and dialect not in spoken:
            return (
                _other_work(card, work_of(dialect)) or f"{card.provider} does not speak {dialect}"
            )
        return "" if self._work is None else _other_work(card, self._work)

    def _judge(self, card: ModelCard, tier: str) -> Candidate | Rejection:
        unfit = self._why_unfit(card)
        if unfit:
            return Rejection(card.name, RejectionCode.DIALECT, unfit)
        down = self._health.why_down(card, self._now_ms)
        if down is not None:
            return Rejection(card.name, RejectionCode.PROVIDER_DOWN, down)
        if not self._needed <= card.capabilities:
            lacks = ", ".join(sorted(self._needed - card.capabilities))
            return Rejection(card.name, RejectionCode.CAPABILITY_MISSING, f"lacks {lacks}")
        quote = self._quote(card)
        if quote.ceiling_nano is None:
            why = f"no price for {card.price_model}"
            return Rejection(card.name, RejectionCode.PRICE_UNKNOWN, why)
        too_long = _why_too_long(card, self._features, quote.output_tokens)
        if too_long:
            return Rejection(card.name, RejectionCode.CONTEXT_EXCEEDED, too_long)
        kept = Candidate(card, quote.ceiling_nano, quote.output_tokens)
        if quote.over is not None:
            self.too_dear.append((tier, kept))
            return quote.over
        left_nano = self._headroom_nano
        if left_nano is not None and quote.ceiling_nano > left_nano:
            self.too_dear.append((tier, kept))
            why = f"costs up to {quote.ceiling_nano} nano-USD and {left_nano} are left"
            return Rejection(card.name, RejectionCode.OVER_HEADROOM, why)
        return kept
