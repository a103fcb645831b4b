"""A provider that answers from a script, without a network: for demonstrations and whole-app tests.

It frames its answers like OpenAI does, keeps to `max_tokens` and `stream_options.include_usage`,
and writes down what it would charge for: its `bill` is the other side of every reconciliation.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count

from gateway.providers.port import (
    Timeouts,
    UpstreamCall,
    UpstreamError,
    UpstreamFault,
    UpstreamReply,
)
from gateway.providers.script import Script, ScriptError, script_for
from gateway.providers.scripted_wire import (
    Answer,
    ChatRequest,
    ChatRequestError,
    Served,
    Step,
    error_body,
    read_chat_request,
    streamed_answer,
    whole_answer,
)

# Older lines are dropped, so that a demonstration can run for days.
MAX_BILL_LINES = 100_000
_INVALID = "invalid_request_error"
REQUEST_ID_HEADERS = (b"x-request-id", b"x-client-request-id")


@dataclass(frozen=True, slots=True)
class BillLine:
    """What one call is charged with. `request_id` is the caller's, `reply_id` the provider's."""

    request_id: str
    reply_id: str
    model: str
    streamed: bool
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    served: Served


class _Clock:
    """The time limits of one call, kept while the script pauses; `stop` ends a pause at once."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._total_due = self._loop.time() + timeouts.total_s
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        self._stopped.set()

    async def pause(self, pause_ms: int, fault: UpstreamFault) -> None:
        """Let `pause_ms` pass; raise UpstreamError when a limit ends first."""
        limit_s = self._timeouts.idle_s
        if fault is UpstreamFault.FIRST_BYTE_TIMEOUT:
            limit_s = self._timeouts.first_byte_s
        left_s = self._total_due - self._loop.time()
        if left_s < limit_s:
            limit_s, fault = max(left_s, 0.0), UpstreamFault.TOTAL_TIMEOUT
        if pause_ms == 0:
            await asyncio.sleep(0)  # others get their turn, as between two packets
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause_ms / 1000, limit_s)):
                    await self._stopped.wait()
        if pause_ms / 1000 > limit_s and not self._stopped.is_set():
            raise UpstreamError(fault, f"scripted: silent for more than {limit_s:g} s")


class ScriptedReply:
    """An answer on its way (`UpstreamReply`): one step per read."""

    def __init__(
        self,
        status: int,
        headers: Sequence[tuple[bytes, bytes]],
        steps: Iterator[Step],
        clock: _Clock,
        charge: Callable[[int, Served], None],
    ) -> None:
        self._status = status
        self._headers = headers
        self._steps = steps
        self._clock = clock
        self._charge = charge
        self._sent_tokens = 0
        self._served: Served | None = None

    @property
    def status(self) -> int:
        return self._status

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._headers

    async def read_some(self) -> bytes:
        """The next event, `b""` after the last; raise UpstreamError."""
        if self._served is Served.WHOLE:
            return b""
        if self._served is None:
            step = next(self._steps)
            try:
                await self._clock.pause(step.pause_ms, UpstreamFault.IDLE_TIMEOUT)
            except UpstreamError:
                self._end(Served.BROKEN)
                raise
        if self._served is not None:
            raise UpstreamError(UpstreamFault.BROKEN, "scripted: the response has ended")
        self._sent_tokens += step.tokens
        if step.ending is not None:
            self._end(step.ending)
        if step.ending is Served.BROKEN:
            raise UpstreamError(UpstreamFault.BROKEN, "scripted: the connection broke")
        return step.data

    async def read(self) -> bytes:
        """The (rest of the) answer; raise UpstreamError."""
        parts = []
        while part := await self.read_some():
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Let go; what was sent is charged."""
        self._end(Served.CUT)

    def _end(self, served: Served) -> None:
        if self._served is None:
            self._served = served
            self._clock.stop()
            self._charge(self._sent_tokens, served)


class ScriptedProvider:
    """Answers chat completions from a script (`Provider`).

    The script comes from `#weir:` in the last user message, or else from `default`.
    """

    def __init__(self, name: str, default: Script) -> None:
        self._name = name
        self._default = default
        self._bill: deque[BillLine] = deque(maxlen=MAX_BILL_LINES)
        self._reply_numbers = count(1)
        self._running = False

    def __repr__(self) -> str:
        return f"ScriptedProvider({self._name!r})"

    @property
    def name(self) -> str:
        return self._name

    @property
    def ready(self) -> bool:
        return self._running

    @property
    def bill(self) -> Sequence[BillLine]:
        """One line per answer that began, in the order they ended; the last 100,000."""
        return self._bill

    async def start(self) -> None:
        self._running = True

    async def stop(self) -> None:
        self._running = False

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        """Answer the call; raise UpstreamError where the script says so."""
        clock = _Clock(call.timeouts)
        if not self._running:
            raise UpstreamError(UpstreamFault.CONNECT, f"{self._name}: the provider is stopped")
        if call.path != "/chat/completions":
            return self._error(404, error_body(f"no such path: {call.path}", _INVALID), clock)
        try:
            request = read_chat_request(call.body)
            script = script_for(request.prompt, self._default)
        except (ChatRequestError, ScriptError) as error:
            return self._error(400, error_body(str(error), _INVALID), clock)
        if script.refuse:
            raise UpstreamError(UpstreamFault.CONNECT, f"{self._name}: the script refuses")
        if script.status != 200:
            await clock.pause(script.first_delay_ms, UpstreamFault.FIRST_BYTE_TIMEOUT)
            body = error_body(f"scripted status {script.status}", "scripted_error", "scripted")
            return self._error(script.status, body, clock, script.retry_after)
        return await self._answer(call, request, script, clock)

    async def _answer(
        self, call: UpstreamCall, request: ChatRequest, script: Script, clock: _Clock
    ) -> ScriptedReply:
        number = next(self._reply_numbers)
        answer = Answer(f"chatcmpl-{self._name}-{number}", int(time.time()), request, script)
        reply_id = f"req-{self._name}-{number}"

        def charge(sent_tokens: int, served: Served) -> None:
            self._bill.append(_bill_line(call, answer, reply_id, sent_tokens, served))

        steps = streamed_answer(answer) if request.stream else whole_answer(answer)
        first = next(steps)
        begun = False
        try:
            await clock.pause(
                script.first_delay_ms + first.pause_ms, UpstreamFault.FIRST_BYTE_TIMEOUT
            )
            begun = True
        finally:
            if not begun:
                charge(0, Served.CUT)
        kind = b"text/event-stream; charset=utf-8" if request.stream else b"application/json"
        headers = ((b"content-type", kind), (b"x-request-id", reply_id.encode()))
        rest = chain((replace(first, pause_ms=0),), steps)
        return ScriptedReply(200, headers, rest, clock, charge)

    def _error(
        self, status: int, body: bytes, clock: _Clock, retry_after_s: int | None = None
    ) -> ScriptedReply:
        """An error response; nothing is charged for it."""
        headers = [
            (b"content-type", b"application/json"),
            (b"x-request-id", b"req-%b-%d" % (self._name.encode(), next(self._reply_numbers))),
        ]
        if retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % retry_after_s))
        steps = iter((Step(body, ending=Served.WHOLE),))
        return ScriptedReply(status, headers, steps, clock, lambda sent_tokens, served: None)


def _bill_line(
    call: UpstreamCall, answer: Answer, reply_id: str, sent_tokens: int, served: Served
) -> BillLine:
    headers = {name.lower(): value for name, value in call.headers}
    request_id = next((headers[name] for name in REQUEST_ID_HEADERS if name in headers), b"")
    return BillLine(
        request_id=request_id.decode("latin-1"),
        reply_id=reply_id,
        model=answer.request.model,
        streamed=answer.request.stream,
        prompt_tokens=answer.request.prompt_tokens,
        cached_tokens=min(answer.script.cached, answer.request.prompt_tokens),
        completion_tokens=sent_tokens + answer.reasoning_tokens,
        reasoning_tokens=answer.reasoning_tokens,
        served=served,
    )
