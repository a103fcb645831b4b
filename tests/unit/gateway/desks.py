"""A whole request without a network: a desk with a ledger in memory and scripted providers.

    desk = make_desk({"main": scripted(say="hello")})
    reply = run(ask(desk, chat()))
    [event] = events(desk)

A provider's script is its own `default`, or what the last message asks for (`#weir:...`).
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
import uvloop

from budgets.budget_book import BudgetBook
from budgets.money import nano_from_usd
from budgets.port import EventShaper, LedgerStore
from budgets.prices import PriceCard, make_price
from budgets.scopes import Budget, ScopeKind, Window
from budgets.stores.in_memory import InMemoryLedger
from gateway.auth import Principal, Role
from gateway.desk import Desk, Limits
from gateway.dialects.index import BY_ROUTE
from gateway.errors import unauthorized
from gateway.health_board import HealthBoard
from gateway.known_ids import KnownIds
from gateway.ledger_watch import LedgerWatch
from gateway.lifecycle import Lifecycle
from gateway.providers.port import Provider, RawHeaders, Timeouts, UpstreamCall, UpstreamReply
from gateway.providers.script import Script
from gateway.providers.scripted import ScriptedProvider
from gateway.response import Message
from gateway.tally import Tally
from gateway.tokenizer import Tokenizer
from gateway.waiting import Line
from routing.catalog import Capability, Catalog, ModelCard, Tier
from routing.policies import Policy
from telemetry.event import TelemetryEvent, assumed_event, correction_event, event_from_json

T = TypeVar("T")
KEY = b"sk-weir-for-tests"
SHAPER = EventShaper(assumed_event, correction_event)
INPUT_PICO, OUTPUT_PICO = 1_000_000, 2_000_000  # a microdollar for a token in, two for one out
INPUT_NANO, OUTPUT_NANO = 1_000, 2_000
PRINCIPAL = Principal("key1", "Ana", "acme", "lab", "notes", Role.DATA)
TIMEOUTS = Timeouts(connect_s=1, first_byte_s=1, idle_s=1, total_s=5)
LIMITS = Limits(
    body_bytes=100_000,
    answer_cap_tokens=200,
    lease_ms=60_000,
    attempts=3,
    concurrent_requests=100,
)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run on the loop that the gateway runs on; ten seconds are enough for anything here."""

    async def limited() -> T:
        async with asyncio.timeout(10):
            return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(limited())


def scripted(**script: Any) -> Callable[[str], Provider]:
    """A provider that answers from this script."""
    return lambda name: ScriptedProvider(name, Script(**script))


class FaultyProvider:
    """A provider with a fault of the gateway's own making: it raises what a bug would."""

    def __init__(self, name: str, fault: BaseException) -> None:
        self.name = name
        self.ready = True
        self._fault = fault

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        raise self._fault


def faulty(fault: BaseException) -> Callable[[str], Provider]:
    return lambda name: FaultyProvider(name, fault)


def new_ledger() -> InMemoryLedger:
    return InMemoryLedger(SHAPER)


def make_desk(
    providers: Mapping[str, Callable[[str], Provider]],
    *,
    budgets: Mapping[ScopeKind, str] | None = None,
    book: Sequence[Budget] = (),
    ledger: LedgerStore | None = None,
    principal: Principal = PRINCIPAL,
    limits: Limits = LIMITS,
    line: Line | None = None,
    new_ids_per_hour: int = 1_000,
) -> Desk:
    """One tier with one model for each provider, in their order.

    `budgets` are in dollars, one for each of a kind; `book` is any others. Without a `line` nobody
    waits for money that is held.
    """
    cards = [
        ModelCard(
            name=f"model-{name}",
            provider=name,
            upstream_model=f"up-{name}",
            price_model=f"model-{name}",
            context_tokens=4_096,
            max_output_tokens=1_000,
            capabilities=frozenset({Capability.TOOLS}),
        )
        for name in providers
    ]
    catalog = Catalog(cards, [Tier("small", 1, tuple(card.name for card in cards))])
    pico = {"fresh": INPUT_PICO, "output": OUTPUT_PICO}
    in_usd = [
        Budget(kind, "*", Window.TOTAL, nano_from_usd(limit_usd))
        for kind, limit_usd in (budgets or {}).items()
    ]
    everything = BudgetBook([*in_usd, *book])
    ledger = ledger or new_ledger()
    tally = Tally()
    return Desk(
        authenticate=lambda headers: principal if _carries_key(headers) else None,
        denial=lambda headers: unauthorized(),
        ledger=ledger,
        budgets=everything,
        prices=PriceCard([make_price(card.name, pico, version="v1") for card in cards]),
        catalog=catalog,
        policies={name: Policy(name, "small") for name in ("default", "own")},
        health=HealthBoard(),
        providers={name: make(name) for name, make in providers.items()},
        timeouts=dict.fromkeys(providers, TIMEOUTS),
        limit_fields=dict.fromkeys(providers, "max_tokens"),
        frontier=cards[0],
        tier_of={card.name: "small" for card in cards},
        tokenizer=Tokenizer(),
        limits=limits,
        line=line or Line(places=0, wait_s=0),
        tally=tally,
        watch=LedgerWatch(ledger, tally),
        ids=KnownIds(everything, new_ids_per_hour),
    )


def _carries_key(headers: Any) -> bool:
    return (b"authorization", b"Bearer " + KEY) in list(headers)


def chat(message: str = "Hello", **fields: Any) -> bytes:
    """The body of a request."""
    body = {"model": "auto", "messages": [{"role": "user", "content": message}], **fields}
    return orjson.dumps(body)


@dataclass(slots=True)
class Client:
    """One client's side of one request: what it was sent, and whether it has hung up."""

    body: bytes
    headers: RawHeaders = ((b"authorization", b"Bearer " + KEY),)
    sent: list[Message] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    route: str = "/v1/chat/completions"
    _asked: bool = False

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        assert [m["type"] for m in self.sent].count("http.response.start") == 1
        return int(self.sent[0]["status"])

    def header(self, name: bytes) -> bytes | None:
        return dict(self.sent[0]["headers"]).get(name)

    @property
    def text(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def ended(self) -> bool:
        """Whether the response is whole."""
        return bool(self.sent) and self.sent[-1].get("more_body", False) is False

    @property
    def error(self) -> dict[str, Any]:
        found = orjson.loads(self.text)["error"]
        assert isinstance(found, dict)
        return found


def scope(headers: RawHeaders) -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}


async def ask(
    desk: Desk,
    body: bytes,
    *headers: tuple[bytes, bytes],
    route: str = "/v1/chat/completions",
) -> Client:
    """One request from its first byte to its last."""
    await start_providers(desk)
    client = Client(body, route=route)
    client.headers = [*client.headers, *headers]
    await carry(Lifecycle(desk), client)
    return client


async def carry(lifecycle: Lifecycle, client: Client) -> None:
    dialect = BY_ROUTE[client.route]
    await lifecycle.answer(dialect, scope(client.headers), client.receive, client.send)


async def crowd(desk: Desk, count: int, body: bytes, *headers: tuple[bytes, bytes]) -> list[Client]:
    """So many callers who ask the same at once; all have their answers."""
    await start_providers(desk)
    lifecycle = Lifecycle(desk)
    clients = [Client(body) for _ in range(count)]
    for client in clients:
        client.headers = [*client.headers, *headers]
    await asyncio.gather(*(carry(lifecycle, client) for client in clients))
    return clients


async def start_providers(desk: Desk) -> None:
    for provider in desk.providers.values():
        await provider.start()


def events(desk: Desk) -> list[TelemetryEvent]:
    """Every event in the outbox, the oldest first."""
    return [event_from_json(row.payload) for row in desk.ledger.outbox_after(0, 10_000)]


def assert_at_rest(desk: Desk) -> None:
    """Nothing is held, and every account is the sum of its entries."""
    ledger = desk.ledger
    assert isinstance(ledger, InMemoryLedger)
    assert list(ledger.faults()) == []
    assert run(ledger.expire(1 << 50)) == [], "a hold was left open"


def posted_nano(desk: Desk) -> int:
    """What the ledger posted altogether."""
    ledger = desk.ledger
    assert isinstance(ledger, InMemoryLedger)
    return sum(total.posted_nano for total in ledger.totals_by_day())
