"""A relay ends in exactly one way and tells what was used, whatever the provider does."""

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.stores.in_memory import InMemoryLedger
from budgets.usage import TokenUsage
from gateway.allowance import LEAST_STEP_TOKENS
from gateway.dialects.chat import ChatMeter
from gateway.providers.port import UpstreamError, UpstreamFault
from gateway.relay import Outcome, StreamRelay, relay_whole
from gateway.response import Message
from telemetry.event import Ending
from tests.unit.gateway.desks import SHAPER, run
from tests.unit.gateway.dialects.requests_made import CHAT
from tests.unit.gateway.test_allowance import INPUT_TOKENS, begun

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def words(text: str) -> int:
    return len(text.split())


class Pieces:
    """A reply that arrives in these pieces; an exception among them is raised, None waits."""

    def __init__(self, *pieces: bytes | UpstreamError | None, status: int = 200) -> None:
        self.status = status
        self.headers = ((b"content-type", b"text/event-stream"),)
        self._pieces = list(pieces)
        self.closed = asyncio.Event()

    async def read_some(self) -> bytes:
        await asyncio.sleep(0)
        if self.closed.is_set():
            raise UpstreamError(UpstreamFault.BROKEN, "closed")
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if piece is None:
            await self.closed.wait()
            raise UpstreamError(UpstreamFault.BROKEN, "closed")
        if isinstance(piece, UpstreamError):
            raise piece
        return piece

    async def read(self) -> bytes:
        parts = []
        while part := await self.read_some():
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        self.closed.set()


class Reader:
    """The client's side of a stream."""

    def __init__(self) -> None:
        self.sent = b""
        self.gone = asyncio.Event()
        self.blocked = False

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.blocked:
            await asyncio.Event().wait()
        self.sent += message["body"]


def event(text: str | None = None, **fields: Any) -> bytes:
    choices = [] if text is None else [{"index": 0, "delta": {"content": text}}]
    return b"data: " + orjson.dumps({"choices": choices, **fields}) + b"\n\n"


DONE = b"data: [DONE]\n\n"
REPORT = event(usage=USAGE)


async def relayed(reply: Pieces, reader: Reader, **settings: Any) -> Outcome:
    chosen = {"hide_usage": True, "limit_s": 5.0, **settings}
    tokens = chosen.pop("limit_tokens", 100)
    most, budget_nano = chosen.pop("most_tokens", tokens), chosen.pop("budget_nano", tokens)
    allowance = await begun(InMemoryLedger(SHAPER), tokens, most, INPUT_TOKENS + budget_nano)
    relay = StreamRelay(
        reply,
        reader.send,
        provider="p",
        allowance=allowance,
        meter=ChatMeter(tokens, words),
        request_id="req_1",
        **chosen,
    )
    return await relay.run(reader.receive)


def stream(*pieces: bytes | UpstreamError, **settings: Any) -> tuple[Outcome, bytes]:
    """The outcome, and what the client was sent before it."""

    async def carry() -> tuple[Outcome, bytes]:
        reader = Reader()
        outcome = await relayed(Pieces(*pieces), reader, **settings)
        return outcome, reader.sent

    return run(carry())


# -- streams ----------------------------------------------------------------------------------


def test_the_end_of_a_stream_is_kept_back_for_the_settlement() -> None:
    outcome, sent = stream(event("one "), event("two"), REPORT, DONE)
    assert sent == event("one ") + event("two")
    assert outcome.body == DONE
    assert (outcome.ending, outcome.usage) == (Ending.COMPLETED, TokenUsage(fresh=9, output=4))
    assert (outcome.billed, outcome.streamed, outcome.error_code) == (True, True, "")


def test_a_report_that_was_asked_for_passes() -> None:
    outcome, sent = stream(event("one"), REPORT, DONE, hide_usage=False)
    assert sent + outcome.body == event("one") + REPORT + DONE


@given(
    st.lists(st.text(max_size=5), max_size=6),
    st.lists(st.integers(1, 30), max_size=30),
    st.booleans(),
)
def test_every_byte_but_the_hidden_report_reaches_the_client(
    texts: list[str], sizes: list[int], hide: bool
) -> None:
    before = b": ping\n\n" + b"".join(map(event, texts))
    whole = before + REPORT + DONE + b": rest"
    pieces = []
    for size in sizes:
        pieces.append(whole[:size])
        whole = whole[size:]
    outcome, sent = stream(*[piece for piece in (*pieces, whole) if piece], hide_usage=hide)
    assert sent + outcome.body == before + (b"" if hide else REPORT) + DONE + b": rest"
    assert outcome.usage == TokenUsage(fresh=9, output=4)


def test_a_stream_above_its_limit_is_cut_and_a_report_before_is_not_believed() -> None:
    early = event("one", usage=USAGE)
    outcome, sent = stream(early, *[event("more ")] * 50, DONE, limit_tokens=10)
    assert (outcome.ending, outcome.usage) == (Ending.KILLED, None)
    assert outcome.error is not None
    assert outcome.error.code == "budget_exceeded"
    assert outcome.output_tokens == 11
    assert sent == early + event("more ") * 9
    assert outcome.body.startswith(b"event: error\ndata: ")


def test_of_many_events_in_one_packet_those_within_the_limit_pass() -> None:
    outcome, sent = stream(b"".join([event("more ")] * 50), limit_tokens=10)
    assert (outcome.ending, outcome.output_tokens) == (Ending.KILLED, 11)
    assert sent == event("more ") * 10


def test_a_stream_that_runs_on_holds_more_and_is_not_cut_while_the_budget_bears_it() -> None:
    pieces = [*[event("more ")] * 500, REPORT, DONE]
    outcome, sent = stream(*pieces, limit_tokens=64, most_tokens=600, budget_nano=10_000)
    assert outcome.ending is Ending.COMPLETED
    assert sent == event("more ") * 500


def test_a_stream_is_cut_where_the_budget_ends_and_not_where_its_first_step_did() -> None:
    pieces = [event("more ")] * 500
    outcome, sent = stream(*pieces, limit_tokens=64, most_tokens=600, budget_nano=200)
    assert outcome.ending is Ending.KILLED
    passed = sent.count(b"more ")
    assert 200 - LEAST_STEP_TOKENS <= passed <= 200
    assert outcome.output_tokens == passed + 1


def test_a_packet_that_jumps_beyond_a_step_passes_where_the_budget_bears_it() -> None:
    whole = b"".join([event("more ")] * 500)
    outcome, sent = stream(whole, limit_tokens=64, most_tokens=600, budget_nano=10_000)
    assert (outcome.ending, sent) == (Ending.COMPLETED, whole)


@pytest.mark.parametrize(
    ("fault", "ending", "code"),
    [
        (UpstreamFault.BROKEN, Ending.UPSTREAM_FAILED, "upstream_broken"),
        (UpstreamFault.IDLE_TIMEOUT, Ending.DEADLINE_HIT, "upstream_timeout"),
        (UpstreamFault.TOTAL_TIMEOUT, Ending.DEADLINE_HIT, "upstream_timeout"),
    ],
)
def test_a_stream_that_fails_ends_with_an_error_and_counts_what_flowed(
    fault: UpstreamFault, ending: Ending, code: str
) -> None:
    outcome, sent = stream(event("one two "), event("three"), UpstreamError(fault, "why"))
    assert sent == event("one two ") + event("three")
    assert (outcome.ending, outcome.error_code, outcome.output_tokens) == (ending, code, 3)
    assert orjson.loads(outcome.body.split(b"data: ")[1])["error"]["code"] == code
    assert outcome.billed


def test_an_error_that_the_provider_sends_is_an_ending_of_its_own() -> None:
    outcome, sent = stream(event("one"), b'data: {"error":{"message":"overloaded"}}\n\n')
    assert (outcome.ending, outcome.body) == (Ending.UPSTREAM_FAILED, b"")
    assert b"overloaded" in sent


def test_an_event_without_end_is_cut_before_it_fills_the_memory() -> None:
    outcome, sent = stream(event("one"), *[b"data: " + b"x" * 1_000_000] * 10)
    assert outcome.ending is Ending.KILLED
    assert sent == event("one")


def test_a_client_that_goes_lets_the_provider_go() -> None:
    async def carry() -> Outcome:
        reader, reply = Reader(), Pieces(event("one two "), None)
        task = asyncio.create_task(relayed(reply, reader))
        while not reader.sent:
            await asyncio.sleep(0)
        reader.gone.set()
        outcome = await task
        assert reply.closed.is_set()
        return outcome

    outcome = run(carry())
    assert (outcome.ending, outcome.output_tokens) == (Ending.CLIENT_GONE, 2)


def test_a_client_that_does_not_read_is_cut_off_in_time() -> None:
    async def carry() -> Outcome:
        reader, reply = Reader(), Pieces(event("one two "), event("three"), DONE)
        reader.blocked = True
        outcome = await relayed(reply, reader, limit_s=0.05)
        assert reply.closed.is_set()
        return outcome

    outcome = run(carry())
    assert (outcome.ending, outcome.output_tokens) == (Ending.DEADLINE_HIT, 2)


def test_a_relay_that_is_cancelled_still_tells_what_flowed() -> None:
    async def carry() -> Outcome:
        reader, reply = Reader(), Pieces(event("one two "), None)
        task = asyncio.create_task(relayed(reply, reader))
        while not reader.sent:
            await asyncio.sleep(0)
        task.cancel()
        outcome = await task
        assert reply.closed.is_set()
        return outcome

    outcome = run(carry())
    assert (outcome.ending, outcome.output_tokens) == (Ending.DEADLINE_HIT, 2)


# -- whole answers ----------------------------------------------------------------------------


def whole(*pieces: bytes | UpstreamError, status: int = 200) -> Outcome:
    return run(_whole(Pieces(*pieces, status=status)))


async def _whole(reply: Pieces) -> Outcome:
    return await relay_whole(reply, "p", CHAT, words, 100)


def answer(**fields: Any) -> bytes:
    message = {"role": "assistant", "content": "one two three"}
    return orjson.dumps({"id": "a b c", "choices": [{"index": 0, "message": message}], **fields})


def test_a_whole_answer_passes_as_it_is_with_its_usage() -> None:
    body = answer(usage=USAGE)
    outcome = whole(body[:20], body[20:])
    assert (outcome.ending, outcome.body) == (Ending.COMPLETED, body)
    assert outcome.usage == TokenUsage(fresh=9, output=4)


def test_without_usage_only_what_was_generated_is_counted() -> None:
    outcome = whole(answer())
    assert (outcome.usage, outcome.output_tokens) == (None, 3)
    call = {"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    tools = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert whole(answer(choices=[{"index": 0, "message": tools}])).output_tokens == words(
        'f{"a": 1}'
    )


@pytest.mark.parametrize("body", [b"not json at all", b'["one two"]', b'{"text": "one two"}'])
def test_an_answer_of_another_shape_is_counted_as_a_whole(body: bytes) -> None:
    outcome = whole(body)
    assert (outcome.ending, outcome.body) == (Ending.COMPLETED, body)
    assert outcome.output_tokens >= 2
    assert outcome.fault is not None


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
def test_a_refusal_passes_as_it_is_and_is_not_billed(status: int) -> None:
    outcome = whole(b'{"error":{}}', status=status)
    assert (outcome.status, outcome.billed, outcome.body) == (status, False, b'{"error":{}}')
    assert outcome.error_code == f"upstream_{status}"


def test_a_whole_answer_that_breaks_counts_as_the_longest_it_could_be() -> None:
    lost = UpstreamError(UpstreamFault.BROKEN, "lost")
    outcome = whole(b"{", lost)
    assert (outcome.ending, outcome.billed) == (Ending.UPSTREAM_FAILED, True)
    assert outcome.output_tokens > 1_000_000_000
    assert not whole(b"{", lost, status=500).billed
