"""What a batch can cost at most: the bounds of its lines, added up. Pure.

Each line is bounded as a live request is (gateway/quotes.py), with the price of the service tier
`batch` where the price card has one. Nothing is written into a line, so one without a limit may
have the longest answer of its model, and tools that a provider runs need a limit of the client's.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field

from budgets.admission import Headroom
from budgets.money import MAX_LIMIT_NANO
from budgets.prices import Price, PriceCard
from budgets.value import value
from gateway.batches.lines import BatchLine, line_fault, read_line, renamed_line, spans
from gateway.dialects.port import Dialect
from gateway.dialects.unseen import Beyond, further_uses
from gateway.errors import ApiError, bad_request
from gateway.input_size import exact_size
from gateway.quotes import Bid, Quoter
from gateway.room import Room
from gateway.wire import ModelRequest
from routing.catalog import ModelCard

BATCH_TIER = "batch"
# Of every so many milliseconds of reading, others get a turn: the event loop waits for this thread.
TURN_MS = 2.0
# Longer texts are bounded by their bytes, as in live requests.
COUNTED_BYTES = 400_000
# A number to change with the arithmetic: bounds of an earlier one are computed again.
ARITHMETIC = 1
_NO_LIMITS = Room(Headroom(), {}, ())


@value
class Terms:
    """What lines are bounded with: the model at one provider, its price, and the limits.

    `model` is what the lines say. `count` counts texts in the model's own vocabulary, None where
    that is not known; `vocabulary` is its name. `spoken` are the dialects that the provider
    takes itself, `files_in` finds the ids of files that a request names.
    """

    model: str
    card: ModelCard
    prices: PriceCard
    now_s: int
    spoken: frozenset[str]
    files_in: Callable[[Dialect, ModelRequest], Iterable[str]]
    hosted_tool_uses: int = 0
    vocabulary: str = ""
    count: Callable[[Sequence[str]], int] | None = None

    @property
    def price(self) -> Price:
        """What a batch of the model costs now; raise ApiError (400) where that is not known."""
        return batch_price(self.prices, self.card, self.now_s)

    @property
    def basis(self) -> str:
        """A name for everything that a bound rests on beside the file."""
        card, price = self.card, self.price
        rests_on = (
            ARITHMETIC,
            (price.valid_from_s, price.version, price.service_tier, price.tiers),
            sorted(price.units.items()),
            (card.context_tokens, card.max_output_tokens, card.prompt_overhead_tokens),
            self.hosted_tool_uses,
            self.vocabulary,
        )
        return hashlib.sha256(repr(rests_on).encode()).hexdigest()[:32]


def batch_price(prices: PriceCard, card: ModelCard, now_s: int) -> Price:
    """The price of a model in batches; raise ApiError (400) where that is not known."""
    price = prices.at(card.price_model, now_s, BATCH_TIER)
    if price is None or not price.by_tokens:
        why = "has no price for tokens, so a batch of it cannot be bounded."
        raise bad_request(f"Model {card.name!r} {why}", "file", "price_unknown")
    return price


@value
class FileBound:
    """What the requests of a file can cost and take at most, together and the dearest of them.

    `model` is ours, at `provider`; `basis` names what the figures rest on beside the file.
    """

    url: str
    model: str
    provider: str
    upstream_model: str
    lines: int
    ceiling_nano: int
    tokens: int
    output_tokens: int
    line_nano: int
    line_tokens: int
    basis: str


@value
class ReadFile:
    """A file whose every line is a request that may be sent.

    `pieces` is the file as it is to be sent, empty where it goes as it came. `named` are the files
    that its requests name.
    """

    bound: FileBound
    named: frozenset[str]
    pieces: Sequence[bytes] = field(default=())


def bound_file(raw: bytes, start: int, end: int, terms: Terms) -> ReadFile:
    """Read, check and bound the lines between two places; raise ApiError (400) naming line, field.

    For a thread: it lets others run between lines.
    """
    pieces: list[bytes] = []
    seen: set[str] = set()
    named: set[str] = set()
    url = ""
    lines = nano = tokens = output = line_nano = line_tokens = 0
    turn_s = time.perf_counter() + TURN_MS / 1_000
    for number, begin, stop in spans(raw, start, end):
        line = read_line(number, raw[begin:stop])
        url = url or line.url
        _check(line, url, seen, terms)
        bid = bound_line(line, terms)
        lines, nano, tokens = number, nano + bid.ceiling_nano, tokens + bid.tokens
        output += bid.total_output_tokens
        line_nano, line_tokens = max(line_nano, bid.ceiling_nano), max(line_tokens, bid.tokens)
        if b"file_id" in line.text or b"\\u00" in line.text:
            named.update(terms.files_in(line.dialect, line.request))
        if terms.model != terms.card.upstream_model:
            pieces += (renamed_line(line, terms.card.upstream_model), b"\n")
        if time.perf_counter() > turn_s:
            time.sleep(0)
            turn_s = time.perf_counter() + TURN_MS / 1_000
    if max(nano, tokens) > MAX_LIMIT_NANO:
        raise bad_request("The batch could cost more than $9 million; split the file.", "file")
    card = terms.card
    bound = FileBound(
        url,
        card.name,
        card.provider,
        card.upstream_model,
        lines,
        nano,
        tokens,
        output,
        line_nano,
        line_tokens,
        terms.basis,
    )
    return ReadFile(bound, frozenset(named), pieces)


def bound_line(line: BatchLine, terms: Terms) -> Bid:
    """The most that one line can cost and take; raise ApiError (400) where nothing bounds it."""
    request, dialect = line.request, line.dialect
    beyond = None
    unseen = dialect.unseen(request)
    if unseen is not None:
        try:
            uses = further_uses(unseen, terms.hosted_tool_uses)
        except ApiError as error:
            raise line_fault(
                line.number, error.message, f"body.{error.param}", error.code
            ) from error
        if uses.inject is not None:
            field_name = unseen.limit_field
            why = f"tools that the provider runs need a limit: set `{field_name}` to {uses.inject}."
            raise line_fault(line.number, why, f"body.{field_name}", "unsupported_parameter")
        beyond = Beyond(unseen, uses)
    size = exact_size(dialect.input_parts(request))
    spoken: Mapping[str, int] = {}
    if terms.count is not None and size.text_bytes <= COUNTED_BYTES:
        spoken = {terms.card.name: terms.count(size.spoken)}
    bid = Quoter(
        prices=terms.prices,
        request=request,
        room=_NO_LIMITS,
        now_s=terms.now_s,
        answer_cap_tokens=terms.card.max_output_tokens,
        size=size,
        may_wait=False,
        spoken_tokens=spoken,
        service_tier=BATCH_TIER,
        beyond=beyond,
    ).bid(terms.card)
    if bid is None:
        why = f"model {line.request.model[:100]!r} has no price for tokens."
        raise line_fault(line.number, why, "body.model", "price_unknown")
    return bid


def _check(line: BatchLine, url: str, seen: set[str], terms: Terms) -> None:
    """Raise ApiError (400) where a line does not go with those before it."""
    if line.url != url:
        why = f"`url` is {line.url} and that of line 1 {url}; a batch has one."
        raise line_fault(line.number, why, "url")
    if line.dialect.speech not in terms.spoken:
        why = f"provider {terms.card.provider} does not serve {line.url}."
        raise line_fault(line.number, why, "url")
    if line.request.model != terms.model:
        why = f"`model` is not that of line 1, {terms.model[:100]!r}; a batch has one model."
        raise line_fault(line.number, why, "body.model")
    if line.custom_id in seen:
        raise line_fault(line.number, "`custom_id` is that of an earlier line.", "custom_id")
    seen.add(line.custom_id)
