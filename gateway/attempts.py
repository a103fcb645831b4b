"""Stage 6: asks one deployment after the other until one answers, and writes each attempt down.

Whom to ask and when to stop is decided in routing/attempts.py; here it is done. At most one attempt
of a request can have been billed without an answer, and it is the last: so the hold, which covers
the dearest candidate, covers whatever the attempts cost together.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import orjson

from budgets.value import value
from gateway.clock import since_ms
from gateway.desk import Desk, Spending
from gateway.errors import gateway_stopping
from gateway.providers.port import RawHeaders, UpstreamError, UpstreamFault, UpstreamReply
from gateway.providers.whole_reply import WholeReply
from gateway.relay import UNKNOWN_LENGTH, Outcome
from gateway.response import ClientGone, Receive, unless_gone
from gateway.upstream_errors import all_resting, upstream_failed
from routing.attempts import AttemptPlan, Failure, RetryLimits, Turn
from routing.catalog import ModelCard
from routing.health import counts_as_failure
from telemetry.event import Ending

# How long the body of an error is waited for that is not passed on unless all else fails.
ERROR_BODY_S = 0.25
REQUEST_ID_HEADERS = (b"x-request-id", b"request-id")

Ask = Callable[[Spending, ModelCard, Receive], Awaitable[UpstreamReply]]
GONE = "client_gone"


@value
class Tried:
    """One attempt: of whom, after what pause, what came of it, and how long that took.

    `status` is 0 and `fault` says why where no response began.
    """

    place: ModelCard
    wait_ms: int
    status: int
    fault: str
    took_ms: float

    def as_json(self, number: int) -> Mapping[str, object]:
        return {
            "attempt": number,
            "model": self.place.name,
            "provider": self.place.provider,
            "upstream_model": self.place.upstream_model,
            "status": self.status,
            "fault": self.fault,
            "waited_ms": self.wait_ms,
            "took_ms": self.took_ms,
        }


class Attempts:
    """Makes the attempts of requests whose money is held."""

    def __init__(self, desk: Desk, ask: Ask) -> None:
        """`ask` sends a request to one deployment and waits for the head of its response."""
        self._desk = desk
        self._ask = ask
        self._limits = RetryLimits(desk.limits.attempts, desk.limits.retry_wait_ms)

    async def open(self, spending: Spending, receive: Receive) -> UpstreamReply | Outcome:
        """A response to relay, the provider's own refusal included, or why there is none."""
        board = self._desk.health
        plan = self._plan(spending)
        tried: list[Tried] = []
        found: UpstreamReply | Outcome = Outcome(
            Ending.UPSTREAM_FAILED, 0, b"", error=all_resting(spending.card.name), billed=False
        )
        turn = plan.first()
        while turn is not None:
            if turn.wait_ms:
                try:
                    await unless_gone(asyncio.sleep(turn.wait_ms / 1_000), receive)
                except ClientGone:
                    found = Outcome(Ending.CLIENT_GONE, 0, b"", billed=False, streamed=True)
                    break
                except asyncio.CancelledError:
                    error = gateway_stopping()
                    found = Outcome(Ending.DEADLINE_HIT, 0, b"", error=error, billed=False)
                    break
                if not board.usable(turn.place):
                    break  # another request probes it, or found it down, meanwhile
            if tried:
                self._count(turn, tried)
            found, failure = await self._try(spending, turn, receive, tried)
            if failure is None:
                break
            turn = plan.after(turn.place, failure) if self._in_time(spending) else None
            if turn is not None and not isinstance(found, Outcome):
                found = await _set_aside(found)
        spending.event.attempts = len(tried)
        if len(tried) > 1 or (tried and tried[0].fault):
            rows = [one.as_json(number) for number, one in enumerate(tried, 1)]
            spending.event.attempts_json = orjson.dumps(rows).decode()
        return found

    def _plan(self, spending: Spending) -> AttemptPlan:
        route = spending.route
        cards = [candidate.model for candidate in route.in_turn(self._limits.attempts)]
        last_resort = cards.pop() if route.last_resort else None
        return AttemptPlan(cards, last_resort, self._limits, self._desk.health, random.random)

    def _in_time(self, spending: Spending) -> bool:
        """Whether one more attempt may begin: it must end before the lease of the hold does."""
        return time.perf_counter() - spending.dispatched_s < self._desk.limits.retry_within_s

    async def _try(
        self, spending: Spending, turn: Turn, receive: Receive, tried: list[Tried]
    ) -> tuple[UpstreamReply | Outcome, Failure | None]:
        """Ask one deployment; no failure where what came is the answer."""
        place = spending.card = turn.place
        board, event = self._desk.health, spending.event
        begun_s = time.perf_counter()
        status, fault, told = 0, GONE, False
        board.asked(place)
        try:
            reply = await self._ask(spending, place, receive)
            status, fault, told = reply.status, "", True
            wish_ms = board.answered(place, status, reply.headers, since_ms(begun_s))
        except ClientGone:
            return Outcome(Ending.CLIENT_GONE, 0, b"", streamed=True), None
        except UpstreamError as error:
            fault = error.kind.value
            if error.kind is not UpstreamFault.BUSY:  # that is no fault of the provider's
                told = True
                board.failed(place, fault)
            return _failed(spending, place, error), Failure(None, billed=error.reached_provider)
        finally:
            if not told:
                board.let_go(place)
            tried.append(Tried(place, turn.wait_ms, status, fault, since_ms(begun_s)))
        event.first_byte_ms = since_ms(spending.call.started_s)
        event.upstream_request_id = _request_id_of(reply.headers)
        return reply, Failure(status, wish_ms) if counts_as_failure(status) else None

    def _count(self, turn: Turn, tried: Sequence[Tried]) -> None:
        how = "again" if any(one.place == turn.place for one in tried) else "next"
        self._desk.tally.retried(turn.place.provider, how, _cause(tried[-1]))


def _failed(spending: Spending, place: ModelCard, error: UpstreamError) -> Outcome:
    """No response came: what is billed of that, nobody can know once the request was sent."""
    return Outcome(
        Ending.UPSTREAM_FAILED,
        0,
        b"",
        output_tokens=0 if spending.call.request.stream else UNKNOWN_LENGTH,
        error=upstream_failed(error, place.provider),
        billed=error.reached_provider,
    )


async def _set_aside(reply: UpstreamReply) -> UpstreamReply:
    """Read an error's body, which frees its connection; one that does not come is done without."""
    try:
        async with asyncio.timeout(ERROR_BODY_S):
            body = await reply.read()
    except (TimeoutError, UpstreamError):
        reply.close()
        body = b""
    return WholeReply(reply.status, reply.headers, body)


def _cause(tried: Tried) -> str:
    """Why there was another attempt, from a short list."""
    if tried.status == 0:
        return tried.fault
    return "429" if tried.status == 429 else f"{min(tried.status // 100, 5)}xx"


def _request_id_of(headers: RawHeaders) -> str:
    """The provider's own name for the request, by which its support finds it."""
    for name, content in headers:
        if name in REQUEST_ID_HEADERS:
            return content[:256].decode("latin-1")
    return ""
