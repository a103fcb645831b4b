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

from budgets.usage import TokenUsage, UsageFault, usage_from_openai
from budgets.value import value
from gateway.allowance import Allowance
from gateway.errors import ApiError, gateway_stopping, stream_cut, upstream_failed
from gateway.meter import StreamMeter
from gateway.providers.port import UpstreamError, UpstreamFault, UpstreamReply
from gateway.response import HangUpWatch, Receive, Send, send_part
from gateway.tokenizer import texts_in
from telemetry.event import Ending

# A whole answer that was lost on its way had been made all the same, and may be as long as allowed.
UNKNOWN_LENGTH = sys.maxsize


@value
class Outcome:
    """How the relay ended: exactly one ending, the usage if the provider told it, and what is left.

    `body` is a whole answer, or the end of a stream that is still to be sent. `output_tokens`
    counts what was generated where the provider reported nothing. `billed` is false where the
    provider refused or was never reached.
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

    @property
    def error_code(self) -> str:
        """The stable name of what went wrong, or nothing."""
        if self.error is not None:
            return self.error.code
        return f"upstream_{self.status}" if self.status >= 400 else ""


async def relay_whole(reply: UpstreamReply, provider: str, count: Callable[[str], int]) -> Outcome:
    """Read a whole answer and find its usage; a broken answer becomes an error to send instead."""
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
        tokens = count(body.decode("utf-8", "replace"))
        return Outcome(Ending.COMPLETED, reply.status, body, fault=fault, output_tokens=tokens)
    usage = usage_from_openai(answer.get("usage") if isinstance(answer, dict) else None)
    if isinstance(usage, UsageFault):
        tokens = _count_answer(answer, count)
        return Outcome(Ending.COMPLETED, reply.status, body, fault=usage, output_tokens=tokens)
    return Outcome(Ending.COMPLETED, reply.status, body, usage)


def _count_answer(answer: object, count: Callable[[str], int]) -> int:
    """Tokens that were generated in a whole answer; all its text where it has another shape."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if isinstance(choices, list):
        deltas = [{"delta": one.get("message")} for one in choices if isinstance(one, dict)]
        meter = StreamMeter(0, count)
        meter.feed(b"data: " + orjson.dumps({"choices": deltas}) + b"\n\n")
        if tokens := meter.output_tokens():
            return tokens
    return count("\n".join(texts_in(answer)))


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
        count: Callable[[str], int],
    ) -> None:
        self._reply = reply
        self._send = send
        self._provider = provider
        self._hide_usage = hide_usage
        self._allowance = allowance
        self._limit_s = limit_s
        self._meter = StreamMeter(allowance.tokens, count)
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
                tail = b"" if broken.error is None else broken.error.as_sse()
                return self._outcome(broken.ending, tail, broken.error)
            except TimeoutError:
                self._reply.close()
                return self._outcome(Ending.DEADLINE_HIT, b"")
            except asyncio.CancelledError:
                self._reply.close()
                stopping = gateway_stopping()
                return self._outcome(Ending.DEADLINE_HIT, stopping.as_sse(), stopping)

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
        error = stream_cut(self._allowance.hold.amount_nano)
        return self._outcome(Ending.KILLED, error.as_sse(), error)

    def _outcome(self, ending: Ending, tail: bytes, error: ApiError | None = None) -> Outcome:
        usage = self._meter.usage
        if ending is Ending.KILLED:
            usage = None  # a report seen before the cut tells less than what was generated
        return Outcome(
            ending,
            self._reply.status,
            tail,
            usage,
            self._meter.fault,
            0 if usage is not None else self._meter.output_tokens(),
            error,
            streamed=True,
        )
