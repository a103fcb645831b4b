"""An OpenAI-compatible server whose behaviour a test writes down, and which keeps its own bill.

    with upstream() as up:
        up.play = Play(tokens=20, delay_s=0.01)
        ...
        assert up.bill[-1].sent_tokens == 20

It runs in a thread beside the test. The bill is appended to and never changed: one line for each
answer that began, when it ended. A token is one event of a stream; the prompt costs
`PROMPT_TOKENS`, or what the play says. `up.choose` may give each request a play of its own.
"""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

PROMPT_TOKENS = 7
WORD = " water"


@dataclass(frozen=True, slots=True)
class Play:
    """How one request is answered; pauses in seconds.

    `pieces` are the exact bytes of a stream's body, each in a packet of its own; `body` is a whole
    answer's. `break_after` and `stall_after` count tokens; a whole answer breaks in its middle.
    `gated` waits for `Upstream.gate`.
    """

    tokens: int = 5
    prompt_tokens: int = PROMPT_TOKENS
    word: str = WORD
    delay_s: float = 0.0
    first_delay_s: float = 0.0
    obey_limit: bool = True
    report_usage: bool = True
    break_after: int | None = None
    stall_after: int | None = None
    gated: bool = False
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    pieces: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill: tokens that left this server, and whether the answer was whole."""

    client_id: str
    streamed: bool
    prompt_tokens: int
    sent_tokens: int
    whole: bool

    @property
    def cost_nano(self) -> int:
        """At the prices of `upstream_config`: a dollar a million tokens in, two dollars out."""
        return 1_000 * self.prompt_tokens + 2_000 * self.sent_tokens


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived."""

    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Upstream:
    """The server; its lists grow in its own thread and are read in the test's."""

    def __init__(self) -> None:
        self.play = Play()
        self.choose: Callable[[Seen], Play] = lambda _: self.play
        self.bill: list[Line] = []
        self.seen: list[Seen] = []
        self.gate = threading.Event()
        self.open_connections = 0
        self.answering = 0
        self.aborted = 0
        self.sent_bytes = 0
        self.base_url = ""

    def has_paused(self) -> bool:
        """Whether nothing more leaves: the caller's buffers are full, or it has all."""
        before = self.sent_bytes
        time.sleep(0.3)
        return 0 < before == self.sent_bytes

    # -- HTTP -----------------------------------------------------------------------------------

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_connections += 1
        first = b""
        try:
            while (seen := await _read_request(reader, first)) is not None:
                self.seen.append(seen)
                watch = asyncio.ensure_future(reader.read(1))
                if not await self._serve(seen, writer, watch):
                    watch.cancel()
                    return
                first = await watch
        except ConnectionError:
            return
        finally:
            self.open_connections -= 1
            writer.transport.abort()

    async def _serve(
        self, seen: Seen, writer: asyncio.StreamWriter, watch: "asyncio.Future[bytes]"
    ) -> bool:
        """Answer one request; whether the connection may be used again."""
        self.answering += 1
        answer = asyncio.ensure_future(self._answer(seen, writer))
        await asyncio.wait((answer, watch), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()  # the caller let go: the answer stops where it is
        try:
            return await answer
        except (asyncio.CancelledError, ConnectionError):
            self.aborted += 1
            return False
        finally:
            self.answering -= 1

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        play = self.choose(seen)
        request = seen.body
        streamed = request.get("stream") is True
        sent = 0
        whole = False
        try:
            await asyncio.sleep(play.first_delay_s)
            while play.gated and not self.gate.is_set():
                await asyncio.sleep(0.005)
            if play.status != 200 or not streamed:
                body, sent = _whole(play, request)
                if play.break_after is not None:
                    _write_whole(writer, play, body, len(body) // 2)
                    writer.transport.close()
                    return False
                _write_whole(writer, play, body)
                await writer.drain()
                whole = True
                return True
            _write_head(writer, play, "text/event-stream; charset=utf-8", chunked=True)
            async for piece, tokens in _events(play, request):
                if piece is None:
                    writer.transport.abort()
                    return False
                _write_chunk(writer, piece)
                sent += tokens
                await writer.drain()
                self.sent_bytes += len(piece)
            _write_chunk(writer, b"")
            await writer.drain()
            whole = True
            return True
        finally:
            if play.status == 200:
                client_id = seen.headers.get("x-client-request-id", "")
                self.bill.append(Line(client_id, streamed, play.prompt_tokens, sent, whole))


async def _read_request(reader: asyncio.StreamReader, first: bytes) -> Seen | None:
    try:
        head = first + await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    headers = {
        name.lower(): value.strip() for name, _, value in (li.partition(":") for li in lines)
    }
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(headers, raw)


def _write_head(
    writer: asyncio.StreamWriter, play: Play, kind: str, *, chunked: bool, length: int = 0
) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {length}"
    named = {"Content-Type": kind, "X-Request-Id": "up-1", **play.headers}
    lines = [f"HTTP/1.1 {play.status} As-Told", framing]
    lines += [f"{name}: {value}" for name, value in named.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))


def _write_whole(
    writer: asyncio.StreamWriter, play: Play, body: bytes, until: int | None = None
) -> None:
    _write_head(writer, play, "application/json", chunked=False, length=len(body))
    writer.write(body[:until])


def _write_chunk(writer: asyncio.StreamWriter, piece: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))


# -- answers ------------------------------------------------------------------------------------


def _allowed(play: Play, request: Mapping[str, Any]) -> int:
    limit = request.get("max_completion_tokens", request.get("max_tokens"))
    return play.tokens if limit is None or not play.obey_limit else min(play.tokens, int(limit))


def usage(sent_tokens: int, prompt_tokens: int = PROMPT_TOKENS) -> dict[str, int]:
    """The report for an answer of so many tokens."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": sent_tokens,
        "total_tokens": prompt_tokens + sent_tokens,
    }


def _whole(play: Play, request: Mapping[str, Any]) -> tuple[bytes, int]:
    sent = _allowed(play, request)
    if play.body is not None:
        return play.body, sent
    if play.status != 200:
        error = {"message": "as told", "type": "told", "param": None, "code": "told"}
        return json.dumps({"error": error}).encode(), 0
    message = {"role": "assistant", "content": play.word * sent}
    answer: dict[str, Any] = {
        "id": "chatcmpl-up",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    if play.report_usage:
        answer["usage"] = usage(sent, play.prompt_tokens)
    return json.dumps(answer).encode(), sent


def event(delta: Mapping[str, Any] | None, **fields: Any) -> bytes:
    """One event of a stream; without `delta` it has no choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": None}]
    frame = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1_790_000_000}
    return b"data: " + json.dumps({**frame, "choices": choices, **fields}).encode() + b"\n\n"


async def _events(
    play: Play, request: Mapping[str, Any]
) -> AsyncIterator[tuple[bytes | None, int]]:
    """The pieces of a stream and the tokens in each; None breaks the connection."""
    if play.pieces is not None:
        for piece in play.pieces:
            yield piece, 1
            await asyncio.sleep(play.delay_s)
        return
    yield event({"role": "assistant", "content": ""}), 0
    sent = 0
    for _ in range(_allowed(play, request)):
        if sent == play.stall_after:
            await asyncio.sleep(3600)
        if sent == play.break_after:
            yield None, 0
        sent += 1
        yield event({"content": play.word}), 1
        await asyncio.sleep(play.delay_s)
    wanted = (request.get("stream_options") or {}).get("include_usage") is True
    if wanted and play.report_usage:
        yield event(None, usage=usage(sent, play.prompt_tokens)), 0
    yield b"data: [DONE]\n\n", 0


@contextmanager
def upstream() -> Iterator[Upstream]:
    """A server on a port of its own for the length of the block."""
    up = Upstream()
    loop = asyncio.new_event_loop()
    started = threading.Event()
    closing = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(up.connected, "127.0.0.1", 0, backlog=1024)
        up.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        started.set()
        await closing.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def run() -> None:
        with contextlib.closing(loop):
            loop.run_until_complete(serve())

    thread = threading.Thread(target=run, name="upstream", daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield up
    finally:
        loop.call_soon_threadsafe(closing.set)
        thread.join(10)
