"""What a request needs on its way, and what it has become so far. Values only, no behaviour."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from budgets.answer_sizes import AnswerSizes
from budgets.budget_book import BudgetBook
from budgets.kills import Kill
from budgets.ledger import PLAIN, Bill, Hold, Reservation
from budgets.port import LedgerStore
from budgets.prices import PriceCard
from budgets.scopes import Charge
from budgets.thresholds import Pressure
from budgets.value import value
from gateway.auth import Principal
from gateway.clock import now_ms
from gateway.dialects.port import Dialect
from gateway.dialects.unseen import Beyond
from gateway.errors import ApiError
from gateway.health_board import HealthBoard
from gateway.identity import Identity
from gateway.input_size import InputSize
from gateway.known_ids import KnownIds
from gateway.landings import Approach
from gateway.ledger_watch import LedgerWatch
from gateway.ownership import Owners
from gateway.providers.port import Provider, RawHeaders, Timeouts
from gateway.quotes import Bid, Quoter
from gateway.run_inference import RunInference
from gateway.tally import Tally
from gateway.tokenizer import Tokenizer
from gateway.waiting import Line
from gateway.wire import ModelRequest
from routing.catalog import Catalog, ModelCard
from routing.classify import Classification
from routing.decide import NoRoute, RouteDecision
from routing.features import Features
from routing.policies import Policy
from telemetry.event import TelemetryEvent


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may take: bytes of body, tokens of answer, seconds of everything.

    `step_tokens` is what a stream of unknown length holds first where a budget is tight; with 0 a
    hold always covers the longest answer. `hosted_tool_uses` is how often one request may use its
    model again for tools that the provider runs. `retry_wait_ms` is what all pauses before attempts
    may take together; no attempt after the first begins later than `retry_within_s` after dispatch.
    `least_audio_bits_per_s` bounds the length of sound by its bytes.
    """

    body_bytes: int
    answer_cap_tokens: int
    lease_ms: int
    attempts: int
    concurrent_requests: int
    step_tokens: int = 0
    hosted_tool_uses: int = 8
    least_audio_bits_per_s: int = 8_000
    retry_wait_ms: int = 0
    retry_within_s: float = 60.0
    body_s: float = 30.0


Allow: TypeAlias = Callable[[Reservation], Hold | None]


async def keep_budgets() -> None:
    """Nobody else sets budgets."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything a request needs on its way; built once by gateway/app.py.

    `allow` holds what soft budgets bear while the ledger cannot be asked; None where nothing is.
    `inference` finds the runs that clients do not name; None where such requests stand alone.
    """

    authenticate: Callable[[Iterable[tuple[bytes, bytes]]], Principal | None]
    denial: Callable[[Iterable[tuple[bytes, bytes]]], ApiError]
    ledger: LedgerStore
    budgets: BudgetBook
    prices: PriceCard
    catalog: Catalog
    policies: Mapping[str, Policy]
    health: HealthBoard
    providers: Mapping[str, Provider]
    timeouts: Mapping[str, Timeouts]
    limit_fields: Mapping[str, str]
    frontier: ModelCard | None
    tier_of: Mapping[str, str]
    tokenizer: Tokenizer
    limits: Limits
    line: Line
    tally: Tally
    watch: LedgerWatch
    ids: KnownIds
    vocabularies: Mapping[str, str] = field(default_factory=dict)
    sizes: AnswerSizes = field(default_factory=AnswerSizes)
    owners: Owners = field(default_factory=Owners)
    inference: RunInference | None = None
    now_ms: Callable[[], int] = now_ms
    refresh_budgets: Callable[[], Awaitable[None]] = keep_budgets
    allow: Allow | None = None


@value
class Call:
    """An admitted request: its caller, what it asks, and every account it is charged to.

    `now_ms` is when it was admitted: when it came in, or when its last wait for money was over.
    `budgets` is the version of the budgets that its charges are from, `query` what follows the `?`.
    """

    request_id: str
    started_s: float
    now_ms: int
    principal: Principal
    identity: Identity
    dialect: Dialect
    request: ModelRequest
    headers: RawHeaders
    charges: tuple[Charge, ...]
    budgets: str | None = None
    waited_ms: float = 0.0
    query: bytes = b""


@dataclass(slots=True)
class Asking:
    """A request that looks for money.

    Once it `is_measured`, its size was not taken at a glance, and `spoken_tokens` says what its
    messages are for each model whose vocabulary is known. `beyond` bounds what it reads that is not
    in it. `pressure`, `kill` and `approach` (to the end of its run) are of the last survey, where
    any budget asks for them.
    """

    call: Call
    features: Features
    classification: Classification
    size: InputSize
    beyond: Beyond | None = None
    is_measured: bool = False
    spoken_tokens: Mapping[str, int] = field(default_factory=dict)
    pressure: Pressure | None = None
    kill: Kill | None = None
    approach: Approach | None = None


@value
class Denial:
    """No money for now: what to tell the client, and the budget it may wait for, if any.

    `kill` is the end of the request's run, where that is why.
    """

    route: RouteDecision | NoRoute
    error: ApiError
    held_by: str = ""
    kill: Kill | None = None


@dataclass(slots=True)
class Spending:
    """A request whose money is held: what stages 6 to 9 pass along and fill in.

    `bill` is what its settlement says beside the cost.
    """

    call: Call
    route: RouteDecision
    hold: Hold
    bids: Mapping[str, Bid]
    quoter: Quoter
    event: TelemetryEvent
    card: ModelCard
    reservation: Reservation
    approach: Approach | None = None
    bill: Bill = PLAIN
    dispatched_s: float = 0.0
    settled: bool = False
