"""The money of a batch: every line's most, held on all budgets of its caller before it is sent.

What goes for a live request goes here, with three differences. Each line counts as a request.
Nobody waits: what others hold may be held for a day. And nothing is admitted without the ledger,
not even where all budgets are soft.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace

import orjson

from budgets.admission import surveyed
from budgets.kills import killed_by
from budgets.ledger import BudgetsChangedError, Hold, Refusal, Reservation
from budgets.prices import Price
from budgets.scopes import Charge
from budgets.value import value
from gateway.auth import Principal
from gateway.batches.bounding import FileBound
from gateway.batches.kept import for_lines
from gateway.batches.kit import Kit
from gateway.batches.lines import BATCHED
from gateway.charging import charges_of, refused
from gateway.clock import new_request_id, since_ms
from gateway.desk import Asking, Call, Denial
from gateway.dialects.port import Dialect
from gateway.errors import run_killed
from gateway.identity import OWN_RUN, Asked, Identity, identify
from gateway.input_size import InputSize
from gateway.providers.port import RawHeaders
from gateway.refusing import Refuser, begin
from gateway.wire import ModelRequest
from routing.candidates import Candidate
from routing.catalog import ModelCard
from routing.classify import Classification
from routing.decide import RouteDecision
from routing.features import Features
from routing.lexicon import Task
from telemetry.event import TelemetryEvent

MAX_CHANGES = 5
_UNCLASSIFIED = Classification(Task.CHAT, 0.0, ("a batch is not classified",))


@value
class BatchAsked:
    """A batch as it is asked for: by whom, of which file, and for how long."""

    started_s: float
    principal: Principal
    headers: RawHeaders
    raw: bytes
    body: Mapping[str, object]
    file_id: str
    bound: FileBound
    card: ModelCard
    price: Price
    window_s: int


@value
class Held:
    """A batch whose money is held, and the event that it began."""

    hold: Hold
    charges: tuple[Charge, ...]
    identity: Identity
    event: TelemetryEvent


def as_batch(dialect: Dialect) -> Dialect:
    """The same dialect under the name that batches have on record."""
    named = copy.copy(dialect)
    named.name = f"batch.{dialect.name}"
    return named


_ON_RECORD = {url: as_batch(dialect) for url, dialect in BATCHED.items()}


async def hold_for(kit: Kit, asked: BatchAsked) -> Held:
    """Hold the most a batch may cost; raise ApiError (402, 400, 403) or LedgerError."""
    desk = kit.desk
    request_id = new_request_id()
    who = Asked(request_id, dict(asked.headers), asked.body)
    # What a run keeps for its end is for one request.
    identity = replace(identify(asked.principal, who, desk.ids, desk.inference), lands=False)
    route = _route(asked)
    for _ in range(MAX_CHANGES):
        asking = _asking(kit, asked, identity, request_id)
        try:
            found = await _hold_once(kit, asked, asking, route)
        except BudgetsChangedError:
            await desk.refresh_budgets()
            continue
        if isinstance(found, Denial):
            raise await Refuser(desk).turn_away(asking, found)
        event = begin(desk, asking, route, found.amount_nano)
        event.batch_requests = asked.bound.lines
        event.attempts = 1
        event.decision_json = orjson.dumps(
            {**route.evidence(), "batch": {"input_file_id": asked.file_id}}
        ).decode()
        event.gateway_ms = since_ms(asked.started_s)
        return Held(found, asking.call.charges, identity, event)
    raise BudgetsChangedError("budgets change faster than a batch can be admitted")


async def _hold_once(
    kit: Kit, asked: BatchAsked, asking: Asking, route: RouteDecision
) -> Hold | Denial:
    desk, call = kit.desk, asking.call
    if desk.budgets.kills:
        accounts = await desk.ledger.survey(surveyed(call.charges))
        lone_run = call.identity.run_source == OWN_RUN
        scopes = call.identity.scopes
        kill = killed_by(accounts, call.charges, scopes, lone_run=lone_run)
        if kill is not None:
            return Denial(route, run_killed(kill), kill=kill)
    wish = Reservation(
        hold_id=call.request_id,
        amount_nano=asked.bound.ceiling_nano,
        charges=call.charges,
        now_ms=call.now_ms,
        lease_ms=(asked.window_s + kit.section.lease_margin_s) * 1_000,
        scopes=call.identity.shared_scopes,
        tokens=asked.bound.tokens,
        budgets=call.budgets,
    )
    hold = await desk.ledger.reserve(wish)
    if isinstance(hold, Refusal):
        return Denial(route, refused(hold, wish.charges))
    return hold


def _asking(kit: Kit, asked: BatchAsked, identity: Identity, request_id: str) -> Asking:
    """The batch as the request that it is on record: admitted now, under the budgets of now."""
    desk, bound = kit.desk, asked.bound
    now_ms, book = desk.now_ms(), desk.budgets
    charges = charges_of(book, identity, now_ms)
    charges += book.model_charges((bound.model,), now_ms // 1_000).get(bound.model, ())
    request = ModelRequest(
        raw=asked.raw,
        body=asked.body,
        model=bound.model,
        stream=False,
        wants_usage=True,
        output_tokens=None,
        choices=1,
    )
    call = Call(
        request_id,
        asked.started_s,
        now_ms,
        asked.principal,
        identity,
        _ON_RECORD[bound.url],
        request,
        asked.headers,
        for_lines(charges, bound.lines),
        book.version,
    )
    return Asking(call, Features(), _UNCLASSIFIED, InputSize(0, 0, 0))


def _route(asked: BatchAsked) -> RouteDecision:
    """Nothing is decided: the file names the model."""
    bound = asked.bound
    one = Candidate(asked.card, bound.ceiling_nano, bound.output_tokens)
    return RouteDecision(
        candidates=(one,),
        tier="",
        policy="",
        rule="",
        reason=f"the file of the batch names {bound.model}".encode("ascii", "replace").decode(),
        reserve=one,
        rejected=(),
        conditions=(),
        missed_rules=(),
        tiers_tried=(),
        headroom_nano=None,
        over_headroom=False,
    )
