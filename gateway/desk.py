"""What a request needs on its way, and what it has become so far. Values only, no behaviour."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from budgets.ledger import Hold
from budgets.port import LedgerStore
from budgets.prices import PriceCard
from budgets.scopes import BudgetBook, Charge
from budgets.value import value
from gateway.auth import Principal
from gateway.clock import now_ms
from gateway.health_board import HealthBoard
from gateway.identity import Identity
from gateway.ledger_watch import LedgerWatch
from gateway.providers.port import Provider, Timeouts
from gateway.quotes import Bid, Quoter
from gateway.response import RawHeaders
from gateway.tally import Tally
from gateway.tokenizer import Tokenizer
from gateway.wire import ChatRequest
from routing.catalog import Catalog, ModelCard
from routing.decide import RouteDecision
from routing.policies import Policy
from telemetry.event import TelemetryEvent


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may take: bytes of body, tokens of answer, seconds of everything."""

    body_bytes: int
    answer_cap_tokens: int
    lease_ms: int
    attempts: int
    concurrent_requests: int


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything a request needs on its way; built once by gateway/app.py."""

    authenticate: Callable[[Iterable[tuple[bytes, bytes]]], Principal | None]
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
    tally: Tally
    watch: LedgerWatch
    now_ms: Callable[[], int] = now_ms


@value
class Call:
    """An admitted request: its caller, what it asks, and every account it is charged to."""

    request_id: str
    started_s: float
    now_ms: int
    principal: Principal
    identity: Identity
    chat: ChatRequest
    headers: RawHeaders
    charges: tuple[Charge, ...]


@dataclass(slots=True)
class Spending:
    """A request whose money is held: what stages 6 to 9 pass along and fill in."""

    call: Call
    route: RouteDecision
    hold: Hold
    bids: Mapping[str, Bid]
    quoter: Quoter
    event: TelemetryEvent
    card: ModelCard
    dispatched_s: float = 0.0
    settled: bool = False
