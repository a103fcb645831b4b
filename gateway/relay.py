"""Carries a provider's answer to the client and says what became of it.

A whole answer is read, then sent after it is settled. A stream passes event by event; its end is
kept back until the money is settled, so that whoever saw the end of an answer finds it in the
books.
Every relay returns exactly one Outcome; nothing here touches the ledger.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace

import orjson

from budgets.usage import TokenUsage, UsageFault
from budgets.value import value
from gateway.allowance import Allowance
from gateway.dialects.port import Dialect, Meter
from gateway.errors import ApiError, gateway_stopping, stream_cut
from gateway.providers.port import UpstreamError, UpstreamFault, UpstreamReply
from gateway.response import HangUpWatch, Receive, Send, send_part
from gateway.tokenizer import texts_in
from gateway.upstream_errors import upstream_failed
from telemetry.event import Ending

# A whole answer that was lost on its way had been made all the same, and may be as long as allowed.
UNKNOWN_LENGTH = sys.maxsize


@value
class Outcome:
    """How the relay ended: exactly one ending, the usage if the provider told it, and what is left.

    `body` is a whole answer, or the end of a stream that is still to be sent. `output_tokens`
    counts what was generated where the provider reported nothing; `early` is then what it said of
    the input, and `tool_uses` how often it used tools of its own. `billed` is false where the
    provider refused or was never reached. `response_id` is what later requests may go on from.
    """

    ending: Ending
    status: int
    body: bytes
    usage: TokenUsage | None = None
    fault: UsageFault | None = None
    output_tokens: int = 0
    error: ApiError | None = None
    billed: bool = True
    streamed: bool = False
    early: TokenUsage | None = None
    tool_uses: int = 0
    response_id: str = ""

    @property
    def error_code(self) -> str:
        """The stable name of what went wrong, or nothing."""
        if self.error is not None:
            return self.error.code
        return f"upstream_{self.status}" if self.status >= 400 else ""


async def relay_whole(
    reply: UpstreamReply,
    provider: str,
    dialect: Dialect,
    count: Callable[[str], int],
    most_tokens: int,
) -> Outcome:
    """Read a whole answer and find its usage; a broken answer becomes an error to send instead.

    `most_tokens` of output can be billed: without any, nothing needs to be counted.
    """
    try:
        body = await reply.read()
    except UpstreamError as error:
        broken = _broken(error, provider, reply.status, output_tokens=UNKNOWN_LENGTH)
        return replace(broken, billed=reply.status < 400)
    if reply.status >= 400:
        return Outcome(Ending.UPSTREAM_FAILED, reply.status, body, billed=False)
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        fault = UsageFault("body", "no JSON")
        tokens = count(body.decode("utf-8", "replace")) if most_tokens else 0
        return Outcome(Ending.COMPLETED, reply.status, body, fault=fault, output_tokens=tokens)
    usage, own_id = dialect.usage_in(answer), dialect.id_in(answer) if dialect.goes_on else ""
    if isinstance(usage, UsageFault):
        tokens = _count_answer(answer, dialect, count) if most_tokens else 0
        return Outcome(
            Ending.COMPLETED,
            reply.status,
            body,
            fault=usage,
            output_tokens=tokens,
            response_id=own_id,
        )
    return Outcome(Ending.COMPLETED, reply.status, body, usage, response_id=own_id)


def _count_answer(answer: object, dialect: Dialect, count: Callable[[str], int]) -> int:
    """Tokens that were generated in a whole answer; all its text where it has another shape."""
    generated = "".join(dialect.texts_in(answer))
    return count(generated) if generated else count("\n".join(texts_in(answer)))


def _broken(error: UpstreamError, provider: str, status: int, *, output_tokens: int = 0) -> Outcome:
    timed_out = error.kind in (UpstreamFault.IDLE_TIMEOUT, UpstreamFault.TOTAL_TIMEOUT)
    ending = Ending.DEADLINE_HIT if timed_out else Ending.UPSTREAM_FAILED
    failure = upstream_failed(error, provider)
    return Outcome(ending, status, b"", output_tokens=output_tokens, error=failure)


class StreamRelay:
    """One stream from provider to client, metered against what was reserved."""

    __slots__ = (
        "_allowance",
        "_hide_usage",
        "_limit_s",
        "_meter",
        "_provider",
        "_reply",
        "_request_id",
        "_send",
    )

    def __init__(
        self,
        reply: UpstreamReply,
        send: Send,
        *,
        provider: str,
        hide_usage: bool,
        allowance: Allowance,
        limit_s: float,
        meter: Meter,
        request_id: str,
    ) -> None:
        self._reply = reply
        self._send = send
        self._provider = provider
        self._hide_usage = hide_usage
        self._allowance = allowance
        self._limit_s = limit_s
        self._request_id = request_id
        self._meter = meter
        self._meter.allow(allowance.tokens, allowance.watermark_tokens)

    async def run(self, receive: Receive) -> Outcome:
        """Relay to the end, the cut, the hang-up or the failure; the stream's tail is not sent."""
        with HangUpWatch(receive, self._reply.close) as watch:
            try:
                # The provider keeps its own limit, but a client that does not read blocks the pump.
                async with asyncio.timeout(self._limit_s):
                    return await self._pump(watch)
            except UpstreamError as error:
                if watch.gone:
                    return self._outcome(Ending.CLIENT_GONE, b"")
                broken = _broken(error, self._provider, self._reply.status)
                return self._failed(broken.ending, broken.error)
            except TimeoutError:
                self._reply.close()
                if self._meter.torn:
                    return self._torn(Ending.DEADLINE_HIT, UpstreamFault.TOTAL_TIMEOUT)
                return self._outcome(Ending.DEADLINE_HIT, b"")
            except asyncio.CancelledError:
                self._reply.close()
                return self._failed(Ending.DEADLINE_HIT, gateway_stopping())

    async def _pump(self, watch: HangUpWatch) -> Outcome:
        kept: list[bytes] = []
        while chunk := await self._reply.read_some():
            if watch.gone:
                break
            passed: list[bytes] = []
            for event in self._meter.each(chunk):
                if self._meter.over_limit() and not await self._hold_more():
                    return await self._cut(passed)
                if event.done or kept:
                    kept.append(event.raw)
                elif not (event.only_usage and self._hide_usage):
                    passed.append(event.raw)
            if passed:
                await send_part(self._send, b"".join(passed))
            if self._meter.oversized:
                return await self._cut(passed=[])
            if self._meter.at_watermark():
                await self._hold_more()
        if watch.gone:
            return self._outcome(Ending.CLIENT_GONE, b"")
        if self._meter.torn:
            return self._torn(Ending.UPSTREAM_FAILED, UpstreamFault.BROKEN)
        ending = Ending.UPSTREAM_FAILED if self._meter.error_seen else Ending.COMPLETED
        return self._outcome(ending, b"".join(kept) + self._meter.pending)

    async def _hold_more(self) -> bool:
        """Hold more for the rest of the stream; whether there is room for what was generated."""
        allowance, meter = self._allowance, self._meter
        while await allowance.more():
            meter.allow(allowance.tokens, allowance.watermark_tokens)
            if not meter.over_limit():
                return True
        meter.allow(allowance.tokens, None)  # the limit itself asks once more
        return False

    async def _cut(self, passed: list[bytes]) -> Outcome:
        """Stop the provider at once; the client learns why in the stream's own way."""
        self._reply.close()
        if passed:
            await send_part(self._send, b"".join(passed))
        return self._failed(Ending.KILLED, stream_cut(self._allowance.hold.amount_nano))

    def _torn(self, ending: Ending, fault: UpstreamFault) -> Outcome:
        """A stream that is over before its dialect's own end, which SDKs take for a whole one."""
        error = UpstreamError(fault, "the stream ended before its end")
        return self._failed(ending, upstream_failed(error, self._provider))

    def _failed(self, ending: Ending, error: ApiError | None) -> Outcome:
        tail = b"" if error is None else self._meter.fail(error, self._request_id)
        return self._outcome(ending, tail, error)

    def _outcome(self, ending: Ending, tail: bytes, error: ApiError | None = None) -> Outcome:
        meter, usage = self._meter, self._meter.usage
        if ending is Ending.KILLED:
            usage = None  # a report seen before the cut tells less than what was generated
        return Outcome(
            ending,
            self._reply.status,
            tail,
            usage,
            meter.fault,
            0 if usage is not None else meter.output_tokens(),
            error,
            streamed=True,
            early=meter.early,
            tool_uses=sum(meter.extras.tool_uses.values()),
            response_id=meter.response_id,
        )
