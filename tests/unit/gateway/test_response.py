"""What the client is sent, and how it is noticed that there is no client any more."""

import asyncio

import pytest

from gateway.errors import ApiError, bad_request
from gateway.response import (
    ClientGone,
    HangUpWatch,
    Message,
    end_stream,
    read_body,
    read_body_within,
    relayed_headers,
    send_error,
    send_part,
    send_whole,
    start_stream,
    unless_gone,
)
from tests.unit.gateway.desks import run


class Script:
    """ASGI messages in order; waits for ever after the last."""

    def __init__(self, *messages: Message) -> None:
        self.left = list(messages)
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        if not self.left:
            await asyncio.Event().wait()
        return self.left.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)


def part(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


GONE: Message = {"type": "http.disconnect"}


def body_of(*messages: Message, limit_bytes: int = 10) -> bytes:
    return run(read_body({}, Script(*messages).receive, limit_bytes))


def test_a_body_is_read_whole() -> None:
    assert body_of(part(b"0123456789")) == b"0123456789"
    assert body_of(part(b"0123", True), part(b"", True), part(b"456")) == b"0123456"
    assert body_of({"type": "http.request"}) == b""


@pytest.mark.parametrize(
    "messages",
    [
        [part(b"x" * 11)],
        [part(b"x" * 6, True), part(b"x" * 6)],
        [part(b"x" * 11, True), part(b"", True), part(b"")],
    ],
)
def test_a_body_above_the_limit_is_read_to_its_end_and_refused(messages: list[Message]) -> None:
    script = Script(*messages)
    with pytest.raises(ApiError) as caught:
        run(read_body({}, script.receive, 10))
    assert (caught.value.status, caught.value.param) == (413, "body")
    assert script.left == []


def test_a_body_far_above_the_limit_is_not_read_to_its_end() -> None:
    script = Script(*[part(b"x" * 50, True)] * 100)
    with pytest.raises(ApiError):
        run(read_body({}, script.receive, 10))
    assert len(script.left) > 90


@pytest.mark.parametrize("messages", [[GONE], [part(b"{", True), GONE]])
def test_a_client_that_goes_before_its_body_is_whole_is_gone(messages: list[Message]) -> None:
    with pytest.raises(ClientGone):
        body_of(*messages)


def test_only_what_is_meant_for_the_client_is_relayed() -> None:
    upstream = [
        (b"content-type", b"application/json"),
        (b"x-request-id", b"up-1"),
        (b"openai-processing-ms", b"7"),
        (b"x-ratelimit-remaining-tokens", b"9"),
        (b"connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"content-length", b"1"),
        (b"set-cookie", b"a=b"),
        (b"server", b"up"),
        (b"date", b"then"),
        (b"x-weir-cost-usd", b"0"),
    ]
    own = [(b"x-weir-cost-usd", b"1")]
    assert relayed_headers(upstream, own) == [*upstream[:4], (b"x-weir-cost-usd", b"1")]


def test_a_whole_response_has_its_length_and_a_stream_has_its_end() -> None:
    script = Script()

    async def respond() -> None:
        await send_whole(script.send, 200, [(b"a", b"b")], b"four")
        await start_stream(script.send, 200, [])
        await send_part(script.send, b"part")
        await end_stream(script.send, b"tail")
        await send_error(script.send, bad_request("no", "n"), [(b"x-weir-request-id", b"r")])

    run(respond())
    whole, body, start, piece, end, refused, error = script.sent
    assert whole["headers"] == [(b"a", b"b"), (b"content-length", b"4")]
    assert body == {"type": "http.response.body", "body": b"four"}
    assert (start["headers"], piece["more_body"], end["more_body"]) == ([], True, False)
    assert refused["status"] == 400
    assert (b"x-weir-request-id", b"r") in refused["headers"]
    assert (b"content-length", b"%d" % len(error["body"])) in refused["headers"]


def test_a_hang_up_is_told_once_and_not_after_the_watch_has_ended() -> None:
    told: list[str] = []

    async def watched() -> None:
        with HangUpWatch(Script(part(b""), GONE).receive, lambda: told.append("gone")) as watch:
            while not watch.gone:
                await asyncio.sleep(0)
        with HangUpWatch(Script(GONE).receive, lambda: told.append("late")):
            pass
        await asyncio.sleep(0.01)

    run(watched())
    assert told == ["gone"]


async def _answer(value: int, after_s: float = 0.0) -> int:
    await asyncio.sleep(after_s)
    return value


def test_work_is_done_for_a_client_that_stays() -> None:
    assert run(unless_gone(_answer(7), Script().receive)) == 7


def test_work_is_let_go_with_its_client() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    with pytest.raises(ClientGone):
        run(unless_gone(work(), Script(GONE).receive))
    assert ended == ["work"]


def test_a_cancelled_request_is_not_taken_for_a_client_that_went() -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(unless_gone(_answer(7, 5.0), Script().receive))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancelled())


def test_an_error_of_the_work_is_passed_on() -> None:
    async def work() -> None:
        raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        run(unless_gone(work(), Script().receive))


def test_a_body_that_does_not_come_in_time_is_a_408() -> None:
    async def slow() -> None:
        script = Script(part(b"0", True))
        assert await read_body_within({}, Script(part(b"01")).receive, 10, 0.05) == b"01"
        with pytest.raises(ApiError) as caught:
            await read_body_within({}, script.receive, 10, 0.05)
        assert (caught.value.status, caught.value.code) == (408, "request_timeout")

    run(slow())


def test_a_body_that_comes_in_time_is_whole_however_it_comes() -> None:
    async def receive_later(queue: asyncio.Queue[Message]) -> bytes:
        return await read_body_within({}, queue.get, 10, 5)

    async def work() -> None:
        queue: asyncio.Queue[Message] = asyncio.Queue()
        reading = asyncio.ensure_future(receive_later(queue))
        for message in (part(b"01", True), part(b"", True), part(b"23")):
            await asyncio.sleep(0)
            queue.put_nowait(message)
        assert await reading == b"0123"

        for end, expected in ((part(b"x" * 11), ApiError), (GONE, ClientGone)):
            reading = asyncio.ensure_future(receive_later(queue))
            await asyncio.sleep(0)
            queue.put_nowait(end)
            with pytest.raises(expected):
                await reading

        reading = asyncio.ensure_future(receive_later(queue))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        queue.put_nowait(part(b"for the next"))
        assert queue.get_nowait()["body"] == b"for the next", "the cancelled reader took it"

    run(work())
