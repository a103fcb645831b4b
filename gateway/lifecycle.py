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
Where a budget's money is not spent but held by requests in flight, stages 3 to 5 are gone through
again each time the request's turn comes (gateway/waiting.py): what is left is another sum by then.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from budgets.admission import surveyed
from budgets.budget_book import tightest
from budgets.kills import gates, killed_by, shut
from budgets.landing import landing, landing_account, strips
from budgets.ledger import BudgetsChangedError, LedgerError, Refusal, Reservation
from budgets.scopes import Charge, ScopeKind, Unit
from budgets.thresholds import pressure_on
from gateway.clock import new_request_id
from gateway.desk import Asking, Call, Denial, Desk, Spending
from gateway.dialects.port import Dialect
from gateway.errors import (
    ApiError,
    budget_busy,
    budget_exceeded,
    internal_error,
    ledger_unavailable,
    no_route,
    overloaded,
    run_killed,
)
from gateway.identity import OWN_RUN, Asked, Identity, identify
from gateway.landings import approach_of
from gateway.outage import reserve, survey
from gateway.providers.port import RawHeaders
from gateway.quotes import Bid, Quoter
from gateway.refusing import Refuser, begin
from gateway.response import (
    Answer,
    ClientGone,
    HangUpWatch,
    Receive,
    Scope,
    Send,
    read_body_within,
)
from gateway.room import NO_MODELS, Room, room_of
from gateway.sizing import appraise, measure, reaches_out, vouch
from gateway.spending import Spender, outcome_of
from gateway.tally import LedgerOutcome
from gateway.waiting import Place, Turn, budget_key
from routing.catalog import AUTO, Auto, ModelWish, Requested, TierWish
from routing.decide import NoRoute, RouteDecision, decide
from routing.policies import RouteRequest

LOG = logging.getLogger("weir.gateway")
# How often budgets may change while one request looks for money.
MAX_CHANGES = 5


class Lifecycle:
    """Carries requests through the ten stages. It remembers only how many are under way."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._spender = Spender(desk)
        self._refuser = Refuser(desk)
        self._rules_weigh = any(policy.weighs_pressure for policy in desk.policies.values())
        self._under_way = 0

    async def answer(self, dialect: Dialect, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every failure becomes one error in the words of its dialect."""
        request_id = new_request_id()
        own = [(b"x-weir-request-id", request_id.encode())]
        answer = Answer(send, dialect, request_id)
        self._under_way += 1
        try:
            if self._under_way > self._desk.limits.concurrent_requests:
                raise overloaded(self._desk.limits.concurrent_requests)
            await self._serve(request_id, dialect, scope, receive, answer)
        except ApiError as error:
            await self._fail(answer, error, own)
        except ClientGone:
            return
        except LedgerError as error:
            denial = self._ledger_failed(request_id, LedgerOutcome.DENIED, error)
            await self._fail(answer, denial, own)
        except Exception:
            # A fault of ours must not look like a dropped connection; the log tells what it was.
            LOG.exception("request %s", request_id)
            await self._fail(answer, internal_error(request_id), own)
        finally:
            self._under_way -= 1

    @property
    def under_way(self) -> int:
        """How many requests are being answered now."""
        return self._under_way

    def _ledger_failed(
        self, request_id: str, outcome: LedgerOutcome, error: LedgerError
    ) -> ApiError:
        LOG.error("request %s (%s): %s", request_id, outcome, error)
        self._desk.watch.failed(outcome, error)
        return ledger_unavailable()

    async def _fail(self, answer: Answer, error: ApiError, own: RawHeaders) -> None:
        self._desk.tally.refused(error.code)
        await answer.fail(error, own)

    async def _serve(
        self, request_id: str, dialect: Dialect, scope: Scope, receive: Receive, send: Send
    ) -> None:
        call = await self._admit(request_id, dialect, scope, receive)
        asking = appraise(self._desk, call)  # stage 2
        if reaches_out(asking):
            await vouch(self._desk, asking)
        found = await self._set_aside(asking, last=not self._desk.line.is_open)
        if isinstance(found, Denial) and found.held_by and self._desk.line.is_open:
            found = await self._wait_for_money(asking, found, receive)
        if isinstance(found, Denial):
            raise await self._refuser.turn_away(asking, found)
        try:
            await self._spender.spend(found, receive, send)  # stages 6 to 9
        except LedgerError as error:
            raise self._ledger_failed(request_id, outcome_of(found), error) from error

    async def _set_aside(
        self, asking: Asking, place: Place | None = None, *, last: bool
    ) -> Spending | Denial:
        """Stages 3 to 5; `last` where there will be no waiting for a better moment.

        Again with other budgets where somebody has set some since this request came.
        """
        for _ in range(MAX_CHANGES):
            try:
                return await self._try_once(asking, place, last)
            except BudgetsChangedError:
                await self._desk.refresh_budgets()
                asking.call = self._readmitted(asking.call, asking.call.waited_ms)
        return await self._try_once(asking, place, last)

    async def _try_once(self, asking: Asking, place: Place | None, last: bool) -> Spending | Denial:
        """Stages 3 to 5, once."""
        room = await self._survey(asking)
        quoter = self._quoter(asking, room, last)
        route = self._decide(asking, quoter)
        if isinstance(route, RouteDecision) and not asking.is_measured and quoter.is_tight:
            await measure(self._desk, asking)
            quoter = self._quoter(asking, room, last)
            route = self._decide(asking, quoter)
        if asking.kill is not None:
            return Denial(route, run_killed(asking.kill), kill=asking.kill)
        if isinstance(route, NoRoute):
            return Denial(route, no_route(route))
        return await self._reserve(asking, route, quoter, place)

    async def _wait_for_money(
        self, asking: Asking, denial: Denial, receive: Receive
    ) -> Spending | Denial:
        """Stages 3 to 5 again whenever its turn comes, until that is decided or time is over."""
        found: Spending | Denial = denial
        with (
            self._desk.line.join(asking.call.charges, denial.held_by) as place,
            HangUpWatch(receive, place.give_up) as watch,
        ):
            turn = Turn.TRY
            while turn is Turn.TRY and isinstance(found, Denial) and found.held_by:
                place.stand_at(found.held_by)
                turn = await place.turn()
                asking.call = self._readmitted(asking.call, place.waited_ms)
                if turn is not Turn.LEAVE:
                    found = await self._set_aside(asking, place, last=turn is Turn.LAST_TRY)
        if watch.gone:
            await self._refuser.let_go(asking, found)
            raise ClientGone
        return found

    # 1 ------------------------------------------------------------------------------------

    async def _admit(
        self, request_id: str, dialect: Dialect, scope: Scope, receive: Receive
    ) -> Call:
        started_s = time.perf_counter()
        headers: RawHeaders = scope["headers"]
        principal = self._desk.authenticate(headers)
        limits = self._desk.limits
        raw = await read_body_within(scope, receive, limits.body_bytes, limits.body_s)
        if principal is None:
            raise self._desk.denial(headers)
        request = dialect.read(raw)
        said = () if dialect.is_free else dialect.said(request)
        asked = Asked(request_id, dict(headers), dialect.parties(request), said)
        identity = identify(principal, asked, self._desk.ids, self._desk.inference)
        admitted_ms = self._desk.now_ms()
        charges = () if dialect.is_free else self._charges(identity, admitted_ms)
        return Call(
            request_id,
            started_s,
            admitted_ms,
            principal,
            identity,
            dialect,
            request,
            headers,
            charges,
            self._desk.budgets.version,
            query=scope.get("query_string", b""),
        )

    def _charges(self, identity: Identity, now_ms: int) -> tuple[Charge, ...]:
        book, lone_run = self._desk.budgets, identity.run_source == OWN_RUN
        charges = book.charges(identity.scopes, now_ms // 1000, lone_run=lone_run)
        if identity.granted:
            charges = tightest((*charges, *identity.granted))
        if identity.lands and not lone_run:
            charges = landing(charges, identity.scopes.run)
        if book.kills:
            charges += gates(charges, identity.scopes, lone_run=lone_run)
        return charges

    def _readmitted(self, call: Call, waited_ms: float) -> Call:
        """The request as of now: a window may have begun anew, or a budget changed, meanwhile."""
        now_ms, budgets = self._desk.now_ms(), self._desk.budgets.version
        charges = () if call.dialect.is_free else self._charges(call.identity, now_ms)
        return replace(call, now_ms=now_ms, charges=charges, budgets=budgets, waited_ms=waited_ms)

    # 3 ------------------------------------------------------------------------------------

    async def _survey(self, asking: Asking) -> Room:
        """What the tightest budget has left; pressure and kill where any budget asks for them."""
        call, book = asking.call, self._desk.budgets
        names, of_models = surveyed(call.charges), NO_MODELS
        if book.caps_models:
            of_models = book.model_charges(self._models_for(call), call.now_ms // 1000)
            for charges in of_models.values():
                names += surveyed(charges)
        own = strips(call.charges, call.identity.scopes.run) if self._may_land(call) else ()
        if own:
            names.append(landing_account(call.identity.scopes.run))
        accounts = await survey(self._desk, names, call.charges)
        if own:
            asking.approach = approach_of(accounts, own, call.identity.scopes.run)
        if self._rules_weigh or book.degrades:
            asking.pressure = pressure_on(accounts, call.charges)
        if book.kills:
            lone_run = call.identity.run_source == OWN_RUN
            scopes = call.identity.scopes
            asking.kill = killed_by(accounts, call.charges, scopes, lone_run=lone_run)
        return room_of(accounts, call.charges, of_models)

    def _may_land(self, call: Call) -> bool:
        """Whether a budget of the request's run could keep something for its landing."""
        return self._desk.budgets.lands or bool(call.identity.granted)

    def _models_for(self, call: Call) -> Iterable[str]:
        """The models that could answer."""
        catalog = self._desk.catalog
        match self._requested(call):
            case ModelWish(model):
                return (model,)
            case TierWish(tier):
                return catalog.tiers_by_name[tier].models
            case Auto():
                return catalog.models
            case _:
                return ()

    # 4 ------------------------------------------------------------------------------------

    def _quoter(self, asking: Asking, room: Room, last: bool) -> Quoter:
        return Quoter(
            prices=self._desk.prices,
            request=asking.call.request,
            room=room,
            now_s=asking.call.now_ms // 1000,
            answer_cap_tokens=self._desk.limits.answer_cap_tokens,
            size=asking.size,
            may_wait=not last,
            step_tokens=self._desk.limits.step_tokens,
            workflow=asking.call.identity.scopes.workflow,
            sizes=self._desk.sizes,
            spoken_tokens=asking.spoken_tokens,
            service_tier=asking.call.dialect.service_tier(asking.call.request),
            beyond=asking.beyond,
            least_audio_bits_per_s=self._desk.limits.least_audio_bits_per_s,
            is_free=asking.call.dialect.is_free,
        )

    def _decide(self, asking: Asking, quoter: Quoter) -> RouteDecision | NoRoute:
        desk, call = self._desk, asking.call
        request = RouteRequest(
            requested=self._requested(call),
            workflow=call.identity.workflow,
            team=call.principal.team,
            key_id=call.principal.key_id,
            features=asking.features,
            classification=asking.classification,
            pressure=asking.pressure,
            dialect=call.dialect.speech,
        )
        return decide(
            request,
            desk.catalog,
            desk.policies,
            desk.health.health,
            quoter,
            quoter.room.left_nano,
            call.now_ms,
        )

    def _requested(self, call: Call) -> Requested:
        """What the model name asks for; a key may come with a policy of its own for `auto`."""
        if call.request.model == AUTO and call.principal.policy is not None:
            return Auto(call.principal.policy)
        return self._desk.catalog.resolve(call.request.model)

    # 5 ------------------------------------------------------------------------------------

    async def _reserve(
        self, asking: Asking, route: RouteDecision, quoter: Quoter, place: Place | None
    ) -> Spending | Denial:
        call, line = asking.call, self._desk.line
        cards = [candidate.model for candidate in route.candidates]
        bids = {card.name: bid for card in cards if (bid := quoter.bid(card)) is not None}
        wish = self._reservation(call, route, quoter, bids)
        # Where another model is left, nobody waits for the budget of one.
        asked = wish.charges if len(bids) == 1 else call.charges
        first = None if place is not None else line.waited_for(asked)
        if first is not None and quoter.room.unheld().bears(wish.amount_nano, wish.tokens):
            busy = budget_busy(first, line.retry_after_s)  # somebody was here before
            return Denial(route, busy, budget_key(first.account))
        hold = await reserve(self._desk, wish)
        while isinstance(hold, Refusal) and len(bids) > 1:
            used_up = hold.scope.removeprefix(f"{ScopeKind.MODEL}:")
            if bids.pop(used_up, None) is None:
                break
            # Somebody was faster since the survey; the other candidates may still answer.
            route = route.without(used_up, "its own budget was used up meanwhile")
            wish = self._reservation(call, route, quoter, bids)
            hold = await reserve(self._desk, wish)
        if isinstance(hold, Refusal):
            if not hold.only_held:
                error = _refused(hold, wish.charges)
                landable = asking.approach
                return Denial(route, error if landable is None else landable.told(error, hold))
            return Denial(route, budget_busy(hold, line.retry_after_s), budget_key(hold.account))
        event = begin(self._desk, asking, route, hold.amount_nano)
        card, approach = route.model, asking.approach
        return Spending(call, route, hold, bids, quoter, event, card, wish, approach)

    def _reservation(
        self, call: Call, route: RouteDecision, quoter: Quoter, bids: Mapping[str, Bid]
    ) -> Reservation:
        """The most any candidate may cost, and of the budgets of models what each of them may."""
        charges, of_models = call.charges, quoter.room.of_models
        if of_models:
            for candidate in route.in_turn(self._desk.limits.attempts):
                name = candidate.model.name
                if name in of_models:
                    charges += bids[name].charges(of_models[name])
        return Reservation(
            hold_id=call.request_id,
            amount_nano=max(bid.ceiling_nano for bid in bids.values()),
            charges=charges,
            now_ms=call.now_ms,
            lease_ms=self._desk.limits.lease_ms,
            scopes=call.identity.shared_scopes,
            tokens=max(bid.tokens for bid in bids.values()),
            budgets=call.budgets,
        )


def _refused(refusal: Refusal, charges: Iterable[Charge]) -> ApiError:
    """The error for a refusal: a budget without room, or the gate of a run killed just now."""
    for charge in charges:
        if charge.account == refusal.account:
            if charge.unit is Unit.GATE:
                return run_killed(shut(charge))
            return budget_exceeded(refusal, charge.budget)
    return budget_exceeded(refusal)
