"""A provider that answers from a script, without a network: for demonstrations and whole-app tests.

It words its answers in every dialect as OpenAI and Anthropic do, keeps to the limits of a request,
and writes down what it would charge for: its `bill` is the other side of every reconciliation.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from gateway.providers.scripted_batches import ScriptedBatches
from gateway.providers.scripted_chat import CHAT, COMPLETIONS
from gateway.providers.scripted_embeddings import EMBEDDINGS
from gateway.providers.scripted_images import EDITS, IMAGES
from gateway.providers.scripted_messages import COUNT_TOKENS, MESSAGES
from gateway.providers.scripted_responses import RESPONSES
from gateway.providers.scripted_sound import HEARD, SPEECH
from gateway.providers.scripted_wire import (
    Answer,
    RequestError,
    ScriptedRequest,
    Served,
    Step,
    Wire,
    openai_error,
    steps_of,
)

WIRES: Mapping[str, Wire] = {
    "/chat/completions": CHAT,
    "/completions": COMPLETIONS,
    "/responses": RESPONSES,
    "/embeddings": EMBEDDINGS,
    "/messages": MESSAGES,
    "/messages/count_tokens": COUNT_TOKENS,
    "/images/generations": IMAGES,
    "/images/edits": EDITS,
    "/audio/speech": SPEECH,
    "/audio/transcriptions": HEARD,
    "/audio/translations": HEARD,
}
# Older lines are dropped, so that a demonstration can run for days.
MAX_BILL_LINES = 100_000
# Responses that a later one may go on from.
MAX_KEPT = 10_000
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
    """Answers requests of every dialect from a script (`Provider`).

    The script comes from `#weir:` in the last user message, or else from `default`.
    """

    def __init__(self, name: str, default: Script) -> None:
        self._name = name
        self._default = default
        self._bill: deque[BillLine] = deque(maxlen=MAX_BILL_LINES)
        self._kept: OrderedDict[str, int] = OrderedDict()
        self._reply_numbers = count(1)
        self._batches = ScriptedBatches(name, self._line)
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
        await self._batches.stop()

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        """Answer the call; raise UpstreamError where the script says so."""
        clock = _Clock(call.timeouts)
        if not self._running:
            raise UpstreamError(UpstreamFault.CONNECT, f"{self._name}: the provider is stopped")
        if self._batches.answers(call):
            return await self._batches.answer(call)
        wire = WIRES.get(call.path.partition("?")[0])
        if wire is None:
            body = openai_error(404, f"no such path: {call.path}", _INVALID)
            return self._error(404, body, clock)
        try:
            request = self._with_what_went_before(wire.read(call.body))
            script = script_for(request.prompt, self._default)
            script = script.when(request.tool_answered, request.offered_tools)
        except (RequestError, ScriptError) as error:
            return self._error(400, wire.error_body(400, str(error), _INVALID, None), clock)
        if script.refuse:
            raise UpstreamError(UpstreamFault.CONNECT, f"{self._name}: the script refuses")
        if script.status != 200:
            await clock.pause(script.first_delay_ms, UpstreamFault.FIRST_BYTE_TIMEOUT)
            words = f"scripted status {script.status}"
            body = wire.error_body(script.status, words, "scripted_error", "scripted")
            return self._error(script.status, body, clock, script.retry_after)
        number = next(self._reply_numbers)
        answer_id = f"{wire.prefix}-{self._name}-{number}"
        answer = Answer(answer_id, int(time.time()), request, script)
        return await self._answer(call, wire, answer, f"req-{self._name}-{number}", clock)

    async def _line(self, url: str, body: bytes, batch: UpstreamCall) -> tuple[int, bytes]:
        """One line of a batch, asked as a request of its own."""
        path = url.removeprefix("/v1")
        try:
            reply = await self.open(replace(batch, path=path, body=body))
            return reply.status, await reply.read()
        except UpstreamError as error:
            return 500, openai_error(500, str(error), "scripted_error")

    def _with_what_went_before(self, request: ScriptedRequest) -> ScriptedRequest:
        """The request with the tokens of the response that it goes on from; raise RequestError."""
        if not request.previous:
            return request
        before = self._kept.get(request.previous)
        if before is None:
            raise RequestError(f"Previous response with id '{request.previous}' not found.")
        return replace(request, prompt_tokens=request.prompt_tokens + before)

    def _keep(self, answer: Answer, line: BillLine) -> None:
        self._kept[answer.answer_id] = line.prompt_tokens + line.completion_tokens
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    async def _answer(
        self, call: UpstreamCall, wire: Wire, answer: Answer, reply_id: str, clock: _Clock
    ) -> ScriptedReply:
        request, script = answer.request, answer.script

        def charge(sent_tokens: int, served: Served) -> None:
            if wire.is_free:
                return
            line = _bill_line(call, answer, reply_id, sent_tokens, served)
            self._bill.append(line)
            if wire is RESPONSES:
                self._keep(answer, line)

        steps = steps_of(answer, wire.words(answer))
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
        if wire.kind is not None:
            kind = wire.kind(request)
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
        cached_tokens=answer.cached_tokens,
        completion_tokens=sent_tokens + answer.reasoning_tokens,
        reasoning_tokens=answer.reasoning_tokens,
        served=served,
    )
