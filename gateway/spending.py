"""Stages 6 to 9: money is held, so from here on the hold ends exactly once, whatever happens."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote

from budgets.ledger import Bill, HoldState, postings
from budgets.money import format_usd
from budgets.port import OutboxEvent
from budgets.prices import Cost, cost
from budgets.usage import TokenUsage
from gateway.allowance import Allowance
from gateway.attempts import Attempts
from gateway.clock import since_ms
from gateway.desk import Desk, Spending
from gateway.dialects.media_style import BytesMeter
from gateway.dialects.port import Bounds
from gateway.media import Media
from gateway.providers.port import RawHeaders, UpstreamCall, UpstreamReply
from gateway.quotes import Bid
from gateway.records import add_money, end_event, stamp
from gateway.relay import Outcome, StreamRelay, relay_whole
from gateway.response import (
    Receive,
    Send,
    end_stream,
    relayed_headers,
    send_error,
    send_whole,
    start_stream,
    unless_gone,
)
from gateway.tally import LedgerOutcome
from routing.catalog import ModelCard
from telemetry.event import Ending, UsageSource

# What a relay may take beyond the provider's own time limit, whose word is to come first.
RELAY_SLACK_S = 2.0
QUERY_SAFE = "!$%&'()*+,/:;=?@[]~"
PASSED_HEADERS = frozenset(
    {
        b"accept",
        b"openai-beta",
        b"anthropic-beta",
        b"anthropic-version",
        b"idempotency-key",
        b"traceparent",
        b"tracestate",
        b"user-agent",
        b"x-client-request-id",
    }
)


class Spender:
    """Asks the provider, carries the answer back, and settles what it cost."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._attempts = Attempts(desk, self._ask)

    async def spend(self, spending: Spending, receive: Receive, send: Send) -> None:
        """Stages 6 to 9 in order; the hold has ended when this returns or raises."""
        try:
            reply = await self._open(spending, receive)
            if isinstance(reply, Outcome):
                outcome, headers = reply, None
            else:
                outcome = await self._relay(spending, reply, receive, send)
                headers = reply.headers  # a whole answer that was read may have more to say
            price = await self._cost(spending, outcome)
            await self._settle(spending, outcome, price)
            if spending.call.dialect.goes_on:
                await self._desk.owners.save(outcome.response_id)
        finally:
            if not spending.settled:
                await asyncio.shield(self._settle_unknown(spending))
        await self._finish(spending, outcome, headers, send)

    async def _open(self, spending: Spending, receive: Receive) -> UpstreamReply | Outcome:
        """From here on the provider may bill: mark the hold, then make the attempts."""
        call = spending.call
        spending.event.gateway_ms = round(since_ms(call.started_s) - call.waited_ms, 3)
        spending.hold = await self._desk.ledger.dispatch(spending.hold, spending.event.to_json())
        spending.dispatched_s = time.perf_counter()
        return await self._attempts.open(spending, receive)

    async def _ask(self, spending: Spending, card: ModelCard, receive: Receive) -> UpstreamReply:
        """Open the call; a stream is let go with its client, a whole answer is billed anyway."""
        desk, call = self._desk, spending.call
        passed = [pair for pair in call.headers if pair[0] in PASSED_HEADERS]
        beyond = spending.quoter.beyond
        bounds = Bounds(
            spending.bids[card.name].inject_tokens,
            desk.limit_fields[card.provider],
            None if beyond is None else beyond.uses.inject,
        )
        body = call.dialect.upstream_body(call.request, card.upstream_model, bounds)
        if call.request.content_type:
            passed.append((b"content-type", call.request.content_type))
        path = call.dialect.path
        if call.query:
            path = f"{path}?{quote(call.query, safe=QUERY_SAFE)}"
        opening = desk.providers[card.provider].open(
            UpstreamCall(path, body, tuple(passed), desk.timeouts[card.provider])
        )
        return await (unless_gone(opening, receive) if call.request.stream else opening)

    async def _relay(
        self, spending: Spending, reply: UpstreamReply, receive: Receive, send: Send
    ) -> Outcome:
        call, count = spending.call, self._desk.tokenizer.count
        bid = spending.bids[spending.card.name]
        of_events = _is_event_stream(reply.headers)
        streamed = call.request.stream and (of_events or _is_sound(call.request.media))
        if not (streamed and reply.status < 300):
            most = bid.total_output_tokens if bid.media is None else 0
            return await relay_whole(reply, spending.card.provider, call.dialect, count, most)
        allowance = Allowance(
            self._desk.ledger,
            spending.reservation,
            spending.hold,
            bid.held_tokens,
            bid.total_output_tokens,
            bid.price_of,
            spending.card.name,
        )
        reserved = (b"x-weir-reserved-usd", format_usd(spending.hold.amount_nano).encode())
        own = [*self._own_headers(spending), reserved]
        if spending.approach is not None:
            own += spending.approach.headers(
                spending.hold.amount_nano, spending.reservation.tokens, 1
            )
        await start_stream(send, reply.status, relayed_headers(reply.headers, own))
        relay = StreamRelay(
            reply,
            send,
            provider=spending.card.provider,
            hide_usage=not call.request.wants_usage,
            allowance=allowance,
            limit_s=self._time_left_s(spending) + RELAY_SLACK_S,
            meter=call.dialect.meter(allowance.tokens, count) if of_events else BytesMeter(),
            request_id=call.request_id,
        )
        try:
            return await relay.run(receive)
        finally:
            spending.hold, spending.reservation = allowance.hold, allowance.reservation
            spending.event.reserved_nano = allowance.hold.amount_nano

    def _time_left_s(self, spending: Spending) -> float:
        """What is left of the time that the provider was given for the whole call."""
        total_s = self._desk.timeouts[spending.card.provider].total_s
        return total_s - (time.perf_counter() - spending.dispatched_s)

    async def _cost(self, spending: Spending, outcome: Outcome) -> Cost | None:
        """Price what the provider reported, or an estimate marked so; None: nothing is billed."""
        call = spending.call
        if not outcome.billed or call.dialect.is_free:
            return None
        source = UsageSource.PROVIDER
        usage, media = outcome.usage, call.request.media
        bid = spending.bids[spending.card.name]
        if usage is not None and media is not None and not _tells(bid, usage, media):
            usage = None
        if usage is None:
            source = UsageSource.ESTIMATED
            usage = await self._estimate(spending, outcome)
        price = cost(bid.price, usage)
        done = source is UsageSource.PROVIDER and outcome.ending is Ending.COMPLETED
        if done and media is None:
            each = -(-usage.output_tokens // call.request.choices)
            self._desk.sizes.learn(call.identity.scopes.workflow, spending.card.name, each)
        if call.dialect.goes_on:
            total = usage.input_tokens + usage.output_tokens
            known = total if source is UsageSource.PROVIDER else None
            team, response_id = call.identity.scopes.team, outcome.response_id
            is_kept = call.request.body.get("store") is not False
            self._desk.owners.learn(
                team, response_id, known, spending.card.provider, is_kept=is_kept
            )
            if self._desk.inference is not None:
                self._desk.inference.answered(team, response_id, call.identity.run)
        add_money(spending.event, usage, source, price, self._frontier_nano(spending, usage))
        spending.bill = _bill(spending, price.total_nano, usage)
        return price

    async def _estimate(self, spending: Spending, outcome: Outcome) -> TokenUsage:
        """The input as the provider told it before the end, or counted; the output as counted."""
        call, card, quoter = spending.call, spending.card, spending.quoter
        media = spending.bids[card.name].media
        if media is not None:
            return media.usage
        output = min(outcome.output_tokens, spending.bids[card.name].total_output_tokens)
        early = outcome.early
        if early is not None and early.input_tokens:
            return replace(early, output=output, reasoning=0, audio_output=0)
        counted = await self._desk.tokenizer.count_prompt(call.dialect.input_parts(call.request))
        counted += card.prompt_overhead_tokens
        if quoter.beyond is not None:
            counted += quoter.beyond.known_tokens or 0
            counted *= 1 + outcome.tool_uses
        return TokenUsage(fresh=min(counted, quoter.input_tokens(card)), output=output)

    def _frontier_nano(self, spending: Spending, usage: TokenUsage) -> int:
        """What the same tokens cost with the frontier model; 0 where that does not compare."""
        frontier = self._desk.frontier
        if frontier is None or spending.call.request.media is not None:
            return 0
        price = self._desk.prices.at(frontier.price_model, spending.quoter.now_s)
        return 0 if price is None else cost(price, usage).total_nano

    async def _settle(self, spending: Spending, outcome: Outcome, price: Cost | None) -> None:
        """End the hold and write the event, in one transaction. Repeating it changes nothing."""
        event = spending.event
        card = spending.card
        event.model, event.provider, event.upstream_model = (
            card.name,
            card.provider,
            card.upstream_model,
        )
        end_event(event, outcome.ending, outcome.status, outcome.error_code)
        stamp(event, spending.call.started_s)
        record = event.to_outbox()
        try:
            await self._post(spending, price, record)
        except asyncio.CancelledError:
            await asyncio.shield(self._post(spending, price, record))
            raise

    async def _post(self, spending: Spending, price: Cost | None, record: OutboxEvent) -> None:
        ledger = self._desk.ledger
        if price is None:
            settlement = await ledger.release(spending.hold, record)
        else:
            settlement = await ledger.settle(spending.hold, price.total_nano, record, spending.bill)
        if not spending.settled:
            spending.settled = True
            self._desk.tally.settled(spending.event, settlement)
        self._desk.line.freed(spending.hold.accounts)

    async def _settle_unknown(self, spending: Spending) -> None:
        """Something broke between hold and settlement: never free, never held for ever."""
        outcome = Outcome(Ending.UNKNOWN, 0, b"")
        if spending.hold.state is HoldState.HELD:
            await self._settle(spending, outcome, None)
            return
        price = Cost(spending.hold.amount_nano, {}, "")
        held = spending.reservation.tokens
        spending.bill = Bill(held, spending.card.name, spending.hold.amounts)
        spending.event.usage_source = UsageSource.ASSUMED
        spending.event.cost_nano = spending.event.output_cost_nano = spending.hold.amount_nano
        spending.event.input_cost_nano = 0
        await self._settle(spending, outcome, price)

    async def _finish(
        self, spending: Spending, outcome: Outcome, upstream: RawHeaders | None, send: Send
    ) -> None:
        """Send what was kept back until the money was settled."""
        if outcome.ending is Ending.CLIENT_GONE:
            return
        if outcome.streamed:
            if outcome.error is not None and not outcome.body:
                return  # a sound cannot tell: the client sees that it has no end
            with suppress(TimeoutError):  # one that does not read is left to the web server
                async with asyncio.timeout(RELAY_SLACK_S):
                    await end_stream(send, outcome.body)
            return
        own = self._own_headers(spending)
        own.append((b"x-weir-cost-usd", format_usd(spending.event.cost_nano).encode()))
        if spending.approach is not None:
            bill, cost_nano = spending.bill, spending.event.cost_nano
            own += spending.approach.headers(cost_nano, bill.tokens, int(bool(bill.model)))
        if outcome.error is not None:
            call = spending.call
            await send_error(send, outcome.error, own, call.dialect, call.request_id)
            return
        await send_whole(send, outcome.status, relayed_headers(upstream or (), own), outcome.body)

    def _own_headers(self, spending: Spending) -> list[tuple[bytes, bytes]]:
        route, identity = spending.route, spending.call.identity
        own = [
            (b"x-weir-request-id", spending.call.request_id.encode()),
            (b"x-weir-model", spending.card.name.encode()),
            (b"x-weir-tier", spending.event.tier.encode()),
            (b"x-weir-reason", route.reason.encode("ascii", "replace")),
            (b"x-weir-run", identity.run.encode()),
        ]
        if route.degraded is not None:
            own.append((b"x-weir-degraded", route.degraded.budget.encode("ascii", "replace")))
        if identity.overflow:
            own.append((b"x-weir-overflow", ",".join(identity.overflow).encode()))
        return own


def outcome_of(spending: Spending) -> LedgerOutcome:
    """What became of a request whose ledger failed in stages 6 to 9."""
    if spending.hold.state is HoldState.HELD:
        return LedgerOutcome.DENIED
    return LedgerOutcome.ASSUMED if spending.settled else LedgerOutcome.LEFT_TO_LEASE


def _bill(spending: Spending, cost_nano: int, usage: TokenUsage) -> Bill:
    """What was used, of which model; budgets of models that did not answer take nothing."""
    tokens, model = usage.input_tokens + usage.output_tokens, spending.card.name
    of_models = spending.quoter.room.of_models
    spared = {
        charge.account for name, charges in of_models.items() if name != model for charge in charges
    }
    return Bill(tokens, model, postings(spending.reservation.charges, cost_nano, tokens, spared))


def _is_sound(media: Media | None) -> bool:
    return media is not None and media.is_sound


def _tells(bid: Bid, usage: TokenUsage, media: Media) -> bool:
    """Whether a report on images or sound is in what they are billed by."""
    return bid.media is not None and bid.media.is_told_by(usage, media.unit)


def _is_event_stream(headers: RawHeaders) -> bool:
    return any(
        name == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in headers
    )
