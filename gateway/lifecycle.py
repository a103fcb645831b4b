"""One request from its first byte to its last: read this page first.

    1 admit     who calls, for which workflow and run, and is the body sound
    2 classify  what kind of work it is and how hard
    3 survey    what its budgets have left
    4 decide    which model answers, and why not the others
    5 reserve   set the most it may cost aside, on every budget or on none
    6 open      send it to the provider
    7 relay     carry the answer back, counting
    8 cost      price what was used
    9 settle    post the money and append the event, in one transaction, once
   10 collect   the event moves into DuckDB later, off this path (telemetry/collector.py)

An error before stage 5 costs nothing. From there on the hold ends exactly once, whatever happens.
"""

import asyncio
import logging
import time
from collections.abc import Iterable

from budgets.admission import headroom_nano, surveyed
from budgets.kills import Kill, gates, killed_by, shut
from budgets.ledger import LedgerError, Refusal, Reservation
from budgets.scopes import Charge, Unit
from budgets.thresholds import Pressure, pressure_on
from gateway.clock import new_request_id
from gateway.desk import Call, Desk, Spending
from gateway.errors import (
    ApiError,
    budget_exceeded,
    internal_error,
    ledger_unavailable,
    no_route,
    overloaded,
    run_killed,
    unauthorized,
)
from gateway.identity import OWN_RUN, identify
from gateway.input_size import exact_size, whole_size
from gateway.quotes import Quoter
from gateway.records import begin_event, end_event, stamp
from gateway.response import (
    Answer,
    ClientGone,
    RawHeaders,
    Receive,
    Scope,
    Send,
    read_body,
)
from gateway.run_kills import kill_event, mark_killed
from gateway.spending import Spender
from gateway.wire import read_chat_request
from routing.catalog import AUTO, Auto, Requested
from routing.classify import Classification, classify
from routing.decide import NoRoute, RouteDecision, decide
from routing.features import Features, extract_with_text
from routing.policies import RouteRequest
from telemetry.event import Ending, EventKind, TelemetryEvent

LOG = logging.getLogger("weir.gateway")
# Below one part in so many of the headroom, a hold by size cannot starve anybody.
TIGHT_SHARE = 20


class Lifecycle:
    """Carries requests through the ten stages. It remembers only how many are under way."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._spender = Spender(desk)
        self._rules_weigh = any(policy.weighs_pressure for policy in desk.policies.values())
        self._under_way = 0

    async def chat_completions(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one chat completion; every failure becomes one error in OpenAI's shape."""
        request_id = new_request_id()
        own = [(b"x-weir-request-id", request_id.encode())]
        answer = Answer(send)
        self._under_way += 1
        try:
            if self._under_way > self._desk.limits.concurrent_requests:
                raise overloaded(self._desk.limits.concurrent_requests)
            await self._serve(request_id, scope, receive, answer)
        except ApiError as error:
            await answer.fail(error, own)
        except ClientGone:
            return
        except LedgerError as error:
            LOG.error("request %s: %s", request_id, error)
            await answer.fail(ledger_unavailable(), own)
        except Exception:
            # A fault of ours must not look like a dropped connection; the log tells what it was.
            LOG.exception("request %s", request_id)
            await answer.fail(internal_error(request_id), own)
        finally:
            self._under_way -= 1

    async def _serve(self, request_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        call = await self._admit(request_id, scope, receive)
        features, classification = self._classify(call)
        headroom, pressure, kill = await self._survey(call)
        quoter = self._quoter(call, features, headroom)
        route = self._decide(call, features, classification, quoter, pressure)
        if isinstance(route, RouteDecision) and self._is_tight(route, quoter):
            quoter = quoter.measured()
            route = self._decide(call, features, classification, quoter, pressure)
        if kill is not None:
            raise await self._kill(call, classification, route, kill)
        if isinstance(route, NoRoute):
            raise await self._turn_away(call, classification, route, no_route(route))
        spending = await self._reserve(call, classification, route, quoter)
        await self._spender.spend(spending, receive, send)  # stages 6 to 9

    # 1 ------------------------------------------------------------------------------------

    async def _admit(self, request_id: str, scope: Scope, receive: Receive) -> Call:
        started_s = time.perf_counter()
        headers: RawHeaders = scope["headers"]
        principal = self._desk.authenticate(headers)
        raw = await read_body(scope, receive, self._desk.limits.body_bytes)
        if principal is None:
            raise unauthorized()
        chat = read_chat_request(raw)
        identity = identify(principal, dict(headers), chat.body, request_id)
        admitted_ms = self._desk.now_ms()
        book, lone_run = self._desk.budgets, identity.run_source == OWN_RUN
        charges = book.charges(identity.scopes, admitted_ms // 1000, lone_run=lone_run)
        if book.kills:
            charges += gates(charges, identity.scopes, lone_run=lone_run)
        return Call(request_id, started_s, admitted_ms, principal, identity, chat, headers, charges)

    # 2 ------------------------------------------------------------------------------------

    def _classify(self, call: Call) -> tuple[Features, Classification]:
        features, text = extract_with_text(call.chat.body)
        return features, classify(features, text)

    # 3 ------------------------------------------------------------------------------------

    async def _survey(self, call: Call) -> tuple[int | None, Pressure | None, Kill | None]:
        """What the tightest budget has left; pressure and kill where any budget asks for them."""
        accounts = await self._desk.ledger.survey(surveyed(call.charges))
        book, identity = self._desk.budgets, call.identity
        weighed = self._rules_weigh or book.degrades
        pressure = pressure_on(accounts, call.charges) if weighed else None
        kill = None
        if book.kills:
            lone_run = identity.run_source == OWN_RUN
            kill = killed_by(accounts, call.charges, identity.scopes, lone_run=lone_run)
        return headroom_nano(accounts, call.charges), pressure, kill

    # 4 ------------------------------------------------------------------------------------

    def _quoter(self, call: Call, features: Features, headroom: int | None) -> Quoter:
        desk, chat = self._desk, call.chat
        has_media = features.images or features.audio or features.files
        return Quoter(
            prices=desk.prices,
            request=chat,
            headroom_nano=headroom,
            now_s=call.now_ms // 1000,
            answer_cap_tokens=desk.limits.answer_cap_tokens,
            size=exact_size(chat.body) if has_media else whole_size(chat.raw, chat.body),
        )

    def _decide(
        self,
        call: Call,
        features: Features,
        classification: Classification,
        quoter: Quoter,
        pressure: Pressure | None,
    ) -> RouteDecision | NoRoute:
        desk = self._desk
        identity = call.identity
        request = RouteRequest(
            requested=self._requested(call),
            workflow=identity.workflow,
            team=call.principal.team,
            key_id=call.principal.key_id,
            features=features,
            classification=classification,
            pressure=pressure,
        )
        return decide(
            request,
            desk.catalog,
            desk.policies,
            desk.health.health,
            quoter,
            quoter.headroom_nano,
            call.now_ms,
        )

    def _requested(self, call: Call) -> Requested:
        """What the model name asks for; a key may come with a policy of its own for `auto`."""
        if call.chat.model == AUTO and call.principal.policy is not None:
            return Auto(call.principal.policy)
        return self._desk.catalog.resolve(call.chat.model)

    def _is_tight(self, route: RouteDecision, quoter: Quoter) -> bool:
        """Whether measuring the input could change what fits: at a glance it looks larger."""
        if quoter.headroom_nano is None:
            return False
        return route.over_headroom or route.ceiling_nano > quoter.headroom_nano // TIGHT_SHARE

    async def _turn_away(
        self,
        call: Call,
        classification: Classification,
        route: RouteDecision | NoRoute,
        error: ApiError,
    ) -> ApiError:
        """Write the refusal down, and hand back the error to send."""
        event = self._begin(call, classification, route, 0)
        event.kind = EventKind.REFUSAL
        end_event(event, Ending.REFUSED, error.status, error.code)
        stamp(event, call.started_s)
        event.gateway_ms = event.total_ms
        await self._desk.ledger.record(event.to_outbox())
        return error

    async def _kill(
        self,
        call: Call,
        classification: Classification,
        route: RouteDecision | NoRoute,
        kill: Kill,
    ) -> ApiError:
        """Refuse a request of a killed run; where this one ends it, mark the run first."""
        if kill.due and kill.account:
            event = kill_event(self._begin(call, classification, route, 0), kill)
            stamp(event, call.started_s)
            lease_ms = self._desk.limits.lease_ms
            await asyncio.shield(mark_killed(self._desk.ledger, kill, event, lease_ms))
        return await self._turn_away(call, classification, route, run_killed(kill))

    def _begin(
        self,
        call: Call,
        classification: Classification,
        route: RouteDecision | NoRoute,
        reserved_nano: int,
    ) -> TelemetryEvent:
        return begin_event(
            request_id=call.request_id,
            admitted_ms=call.now_ms,
            identity=call.identity,
            chat=call.chat,
            classification=classification,
            route=route,
            tier=self._tier_of(route),
            reserved_nano=reserved_nano,
        )

    # 5 ------------------------------------------------------------------------------------

    async def _reserve(
        self,
        call: Call,
        classification: Classification,
        route: RouteDecision,
        quoter: Quoter,
    ) -> Spending:
        cards = [candidate.model for candidate in route.candidates]
        bids = {card.name: bid for card in cards if (bid := quoter.bid(card)) is not None}
        reservation = Reservation(
            hold_id=call.request_id,
            amount_nano=max(bid.ceiling_nano for bid in bids.values()),
            charges=call.charges,
            now_ms=call.now_ms,
            lease_ms=self._desk.limits.lease_ms,
            scopes=call.identity.shared_scopes,
        )
        hold = await self._desk.ledger.reserve(reservation)
        if isinstance(hold, Refusal):
            error = _refused(hold, call.charges)
            raise await self._turn_away(call, classification, route, error)
        event = self._begin(call, classification, route, hold.amount_nano)
        return Spending(call, route, hold, bids, quoter, event, route.model)

    def _tier_of(self, route: RouteDecision | NoRoute) -> str:
        """The tier that was chosen, or that of a model the client named itself."""
        if isinstance(route, NoRoute):
            return ""
        return route.tier or self._desk.tier_of.get(route.model.name, "")


def _refused(refusal: Refusal, charges: Iterable[Charge]) -> ApiError:
    """The error for a refusal: a budget without room, or the gate of a run killed just now."""
    for charge in charges:
        if charge.account == refusal.account:
            if charge.unit is Unit.GATE:
                return run_killed(shut(charge))
            return budget_exceeded(refusal, charge.budget)
    return budget_exceeded(refusal)
