"""What tokens cost: an effective-dated price card in integer pico-USD for each token.

A price holds from its `valid_from_s` until the next one of the same model and service tier. Classes
a price does not name fall back to their plain class (cached to fresh, reasoning to output), which
is how providers bill them. Some providers charge the whole request at a higher rate above a context
threshold; those are `context_tiers`. What is billed by the piece (an image, a character, a
millisecond of sound) has a rate for each of these `units`, which goes before those of tokens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter, mul

from budgets.money import PICO_PER_NANO, nano_from_pico
from budgets.usage import INPUT_CLASSES, TOKEN_CLASSES, UNITS, TokenUsage
from budgets.value import value

FALLBACK_CLASS: Mapping[str, str] = {
    "cached": "fresh",
    "cache_write": "fresh",
    "cache_write_1h": "cache_write",
    "audio_input": "fresh",
    "image_input": "fresh",
    "reasoning": "output",
    "audio_output": "output",
}
# The class whose side of the bill a unit stands on.
_SIDE_OF_UNIT: Mapping[str, str] = {"images": "output", "characters": "output", "sound_ms": "fresh"}
# An hour's write costs twice the input and one of five minutes 1.25 times, wherever both are told.
LONG_WRITE_PERMILLE = 1_600
DEFAULT_SERVICE_TIER = "default"
_counts = attrgetter(*TOKEN_CLASSES)
# Where the rates of input stand; that of writes for an hour comes last.
_INPUT_PLACES = tuple(
    sorted(range(len(INPUT_CLASSES)), key=lambda place: INPUT_CLASSES[place] == "cache_write_1h")
)


class PriceError(ValueError):
    """A price card that cannot be used; the message names the model and the field."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Pico-USD for each token of each class, above a number of input tokens."""

    above_input_tokens: int
    pico: Mapping[str, int]
    full: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Every request is priced, so the fallbacks are resolved once, in the order of the classes.
        full = tuple(self.rate_pico(name) for name in TOKEN_CLASSES)
        object.__setattr__(self, "full", full)

    def rate_pico(self, token_class: str) -> int:
        rate = self.pico.get(token_class)
        if rate is not None:
            return rate
        if token_class == "cache_write_1h" and "cache_write" in self.pico:
            return -(-self.pico["cache_write"] * LONG_WRITE_PERMILLE // 1_000)
        return self.rate_pico(FALLBACK_CLASS[token_class])


@dataclass(frozen=True, slots=True)
class Price:
    """One model's rates from a moment on; `tiers` ascend by context and start at 0 tokens.

    `dearest` covers cache writes that are kept for an hour only with `hour_long`, because nobody
    pays for those without asking; `keeps_dearer` says whether that makes a difference.

    `units` has pico-USD for each image, character or millisecond of sound; where it is all there
    is, the price is not `by_tokens`, and tokens alone have no price.
    """

    model: str
    valid_from_s: int
    version: str
    tiers: tuple[Rates, ...]
    service_tier: str = DEFAULT_SERVICE_TIER
    hour_long: bool = False
    units: Mapping[str, int] = field(default_factory=dict)
    by_tokens: bool = True
    dearest: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)
    keeps_dearer: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Input and output rate of the dearest classes in each context tier and those below it.
        dearest: list[tuple[int, int]] = []
        dearest_in = dearest_out = 0
        keeps_dearer = False
        for rates in self.tiers:
            *inputs, hour = [rates.full[place] for place in _INPUT_PLACES]
            keeps_dearer |= hour > max(inputs)
            dearest_in = max(dearest_in, *inputs, hour if self.hour_long else 0)
            dearest_out = max(dearest_out, *rates.full[len(INPUT_CLASSES) :])
            dearest.append((dearest_in, dearest_out))
        object.__setattr__(self, "dearest", tuple(dearest))
        object.__setattr__(self, "keeps_dearer", keeps_dearer)

    def for_an_hour(self) -> "Price":
        """The same price for a request that may write to a cache for an hour."""
        return replace(self, hour_long=True)

    def rates_for(self, input_tokens: int) -> Rates:
        chosen = self.tiers[0]
        for rates in self.tiers[1:]:
            if input_tokens > rates.above_input_tokens:
                chosen = rates
        return chosen


@value
class Cost:
    """What a request costs: nano-USD, rounded up once, and pico-USD by token class."""

    total_nano: int
    by_class_pico: Mapping[str, int]
    price_version: str

    @property
    def input_nano(self) -> int:
        """Input's share, such that input and output add up to the total."""
        return self.total_nano - self.output_nano

    @property
    def output_nano(self) -> int:
        by_class = self.by_class_pico
        pico = by_class["output"] + by_class["reasoning"] + by_class["audio_output"]
        return min(self.total_nano, nano_from_pico(pico))


def make_price(
    model: str,
    pico: Mapping[str, int],
    *,
    version: str,
    valid_from_s: int = 0,
    context_tiers: Mapping[int, Mapping[str, int]] | None = None,
    service_tier: str = DEFAULT_SERVICE_TIER,
    units: Mapping[str, int] | None = None,
) -> Price:
    """A checked price; raise PriceError for unknown classes, missing plain ones or bad rates.

    `context_tiers` maps a number of input tokens to the rates above it; a class it leaves out keeps
    its rate from below. With `units`, rates of tokens may be left out altogether.
    """
    by_tokens = bool(pico or context_tiers or not units)
    if not by_tokens:
        pico = {"fresh": 0, "output": 0}
    rates: dict[str, int] = {}
    tiers: list[Rates] = []
    for above in context_tiers or {}:
        if above <= 0:
            raise PriceError(f"{model}: a context tier starts above 0 tokens, got {above!r}")
    for name in ("fresh", "output"):
        if name not in pico:
            raise PriceError(f"{model}: no price for {name} tokens")
    for above, changed in sorted({0: pico, **(context_tiers or {})}.items()):
        rates = {**rates, **changed}
        for name, rate in rates.items():
            if name not in TOKEN_CLASSES:
                raise PriceError(f"{model}: unknown token class {name!r}")
            _check_rate(model, name, rate)
        tiers.append(Rates(above, rates))
    for name, rate in (units or {}).items():
        if name not in UNITS:
            raise PriceError(f"{model}: unknown unit {name!r}")
        _check_rate(model, name, rate)
    return Price(
        model,
        valid_from_s,
        version,
        tuple(tiers),
        service_tier,
        units=dict(units or {}),
        by_tokens=by_tokens,
    )


def _check_rate(model: str, name: str, rate: object) -> None:
    if isinstance(rate, bool) or not isinstance(rate, int) or rate < 0:
        raise PriceError(f"{model}: {name} must be zero or more pico-USD, got {rate!r}")


def cost(price: Price, usage: TokenUsage) -> Cost:
    """Rate times tokens, class by class, summed exactly and rounded up once.

    Usage in a unit that the price has a rate for is billed by that alone.
    """
    if price.units and any(getattr(usage, unit) for unit in price.units):
        return _cost_by_units(price, usage)
    rates = price.rates_for(usage.input_tokens) if len(price.tiers) > 1 else price.tiers[0]
    picos = tuple(map(mul, rates.full, _counts(usage)))
    by_class = dict(zip(TOKEN_CLASSES, picos, strict=True))
    return Cost(nano_from_pico(sum(picos)), by_class, price.version)


def _cost_by_units(price: Price, usage: TokenUsage) -> Cost:
    by_class = dict.fromkeys(TOKEN_CLASSES, 0)
    for unit, rate in price.units.items():
        by_class[_SIDE_OF_UNIT[unit]] += rate * getattr(usage, unit)
    return Cost(nano_from_pico(sum(by_class.values())), by_class, price.version)


def _dearest_pico(price: Price, input_tokens: int) -> tuple[int, int]:
    """The highest rate of an input and of an output token with at most so many input tokens.

    Every tier the input may reach counts, because the input is a bound and may be smaller.
    """
    if len(price.tiers) == 1:
        return price.dearest[0]
    reached = sum(rates.above_input_tokens < max(1, input_tokens) for rates in price.tiers)
    return price.dearest[reached - 1]


def ceiling_nano(price: Price, input_tokens: int, output_tokens: int) -> int:
    """The most that so many tokens can cost: each at its side's dearest class and tier."""
    dearest_in, dearest_out = _dearest_pico(price, input_tokens)
    return nano_from_pico(dearest_in * input_tokens + dearest_out * output_tokens)


def affordable_output_tokens(price: Price, input_tokens: int, budget_nano: int) -> int:
    """The most output tokens whose ceiling a budget bears; below 0 where the input does not fit."""
    dearest_in, dearest_out = _dearest_pico(price, input_tokens)
    left_pico = budget_nano * PICO_PER_NANO - dearest_in * input_tokens
    if left_pico < 0:
        return -1
    return left_pico // dearest_out if dearest_out else 1 << 53


class PriceCard:
    """Every known price, looked up by model, service tier and moment."""

    __slots__ = ("_prices",)

    def __init__(self, prices: Iterable[Price]) -> None:
        by_model: dict[tuple[str, str], list[Price]] = {}
        for price in prices:
            by_model.setdefault((price.model, price.service_tier), []).append(price)
        for dated in by_model.values():
            dated.sort(key=lambda price: price.valid_from_s, reverse=True)
        self._prices: Mapping[tuple[str, str], list[Price]] = by_model

    def at(self, model: str, now_s: int, service_tier: str = DEFAULT_SERVICE_TIER) -> Price | None:
        """The price in force at `now_s`; a service tier without its own price has the default's."""
        dated = self._prices.get((model, service_tier))
        if dated is None and service_tier != DEFAULT_SERVICE_TIER:
            dated = self._prices.get((model, DEFAULT_SERVICE_TIER))
        if dated is None:
            return None
        for price in dated:
            if price.valid_from_s <= now_s:
                return price
        return None
