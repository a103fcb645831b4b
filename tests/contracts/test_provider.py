"""The promises of `Provider` and `UpstreamReply`, over every provider there is."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.providers.port import UpstreamCall, UpstreamFault
from gateway.providers.scripted_wire import Served
from tests.contracts.upstreams import (
    PATIENT,
    Opened,
    anthropic,
    chat,
    direct,
    eventually,
    fault_of,
    litellm_anthropic,
    litellm_openai,
    local_model,
    proxied,
    run,
    scripted,
)

Backend = Callable[[Path], AbstractAsyncContextManager[Opened]]
SCRIPTED = [direct, proxied, scripted, anthropic]
BRIDGED = [litellm_openai, litellm_anthropic]
# Whose errors have no code.
OF_ANTHROPIC = [anthropic, litellm_anthropic]
# Keeps the local model from ending its text early; the scripted ones do not know it.
LONG: dict[str, Any] = {"ignore_eos": True}
every_provider = pytest.mark.parametrize("backend", [*SCRIPTED, *BRIDGED, local_model])
scripted_or_bridged = pytest.mark.parametrize("backend", [*SCRIPTED, *BRIDGED])
every_scripted = pytest.mark.parametrize("backend", SCRIPTED)


@every_provider
def test_a_call_is_answered_with_a_completion_and_its_usage(
    backend: Backend, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            assert opened.provider.ready
            reply = await opened.provider.open(chat("Say hello to the river.", max_tokens=3))
            answer = orjson.loads(await reply.read())
            assert reply.status == 200
            assert answer["object"] == "chat.completion"
            assert answer["choices"][0]["finish_reason"] == "length"
            assert answer["usage"]["completion_tokens"] == 3
            assert await reply.read_some() == b""
            reply.close()

    run(scenario())


@pytest.mark.parametrize("backend", [direct, proxied, scripted])
def test_what_is_kept_is_read_and_deleted_with_the_calls_own_method(
    backend: Backend, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:

            async def told(method: bytes, path: str, body: bytes = b"") -> tuple[int, bytes]:
                kind = ((b"content-type", b"multipart/form-data; boundary=b"),) if body else ()
                call = UpstreamCall(path, body, kind, PATIENT, method)
                reply = await opened.provider.open(call)
                return reply.status, await reply.read()

            content = b'{"a": 1}\n' * 50_000
            parts = b'--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n'
            status, body = await told(b"POST", "/files", parts + content + b"\r\n--b--\r\n")
            path = f"/files/{orjson.loads(body)['id']}"
            assert (status, (await told(b"GET", path))[1]) == (200, body)
            assert await told(b"GET", f"{path}/content") == (200, content)
            assert orjson.loads((await told(b"DELETE", path))[1])["deleted"] is True
            assert (await told(b"GET", path))[0] == 404

    run(scenario())


@every_provider
def test_header_names_arrive_in_lower_case(backend: Backend, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            reply = await opened.provider.open(chat("Hi", max_tokens=1))
            names = [name for name, _ in reply.headers]
            assert names == [name.lower() for name in names]
            assert dict(reply.headers)[b"content-type"].startswith(b"application/json")
            reply.close()

    run(scenario())


@every_provider
def test_a_stream_arrives_piece_by_piece(backend: Backend, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            call = chat(
                "Tell a story. #weir:chunks=40,delay_ms=20", stream=True, max_tokens=40, **LONG
            )
            reply = await opened.provider.open(call)
            assert dict(reply.headers)[b"content-type"].startswith(b"text/event-stream")
            pieces = []
            while piece := await reply.read_some():
                pieces.append((time.monotonic(), piece))
            text = b"".join(piece for _, piece in pieces)
            assert text.endswith(b"data: [DONE]\n\n")
            assert len(pieces) >= 20
            assert pieces[-1][0] - pieces[0][0] > 0.1

    run(scenario())


@every_provider
def test_a_refused_request_comes_with_the_body_that_says_why(
    backend: Backend, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            reply = await opened.provider.open(replace(chat(""), body=b'{"model": "m"}'))
            assert 400 <= reply.status < 600
            assert "messages" in orjson.loads(await reply.read())["error"]["message"]

    run(scenario())


@every_provider
def test_letting_go_of_an_unfinished_answer_stops_the_provider(
    backend: Backend, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            call = chat(
                "Write a novel. #weir:runaway,delay_ms=5", stream=True, max_tokens=1900, **LONG
            )
            reply = await opened.provider.open(call)
            await reply.read_some()
            let_go = time.monotonic()
            reply.close()
            assert await fault_of(reply.read_some()) is UpstreamFault.BROKEN
            if opened.bill is not None:
                bill = opened.bill
                await eventually(lambda: len(bill()) == 1, "the provider saw the hang-up")
                assert bill()[0].served is Served.CUT
            # One slot: a model that worked on would not come to this before the novel is written.
            after = await opened.provider.open(chat("Hi", max_tokens=1))
            await after.read()
            assert time.monotonic() - let_go < 5

    run(scenario())


@every_provider
def test_letting_go_wakes_a_reader(backend: Backend, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            call = chat("Hi #weir:chunks=9,delay_ms=60000", stream=True, max_tokens=1900, **LONG)
            reply = await opened.provider.open(call)

            async def read_on() -> None:
                while await reply.read_some():
                    pass

            reading = asyncio.create_task(read_on())
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.05, reply.close)
            async with asyncio.timeout(5):
                assert await fault_of(reading) is UpstreamFault.BROKEN

    run(scenario())


@every_provider
def test_the_whole_call_has_a_time_limit(backend: Backend, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            limits = replace(PATIENT, total_s=0.6)
            call = chat("Write #weir:runaway,delay_ms=5", stream=True, timeouts=limits, **LONG)
            started = time.monotonic()

            async def whole_call() -> bytes:
                return await (await opened.provider.open(call)).read()

            assert await fault_of(whole_call()) is UpstreamFault.TOTAL_TIMEOUT
            assert 0.5 < time.monotonic() - started < 3

    run(scenario())


@every_provider
def test_a_stopped_provider_refuses_calls(backend: Backend, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            await opened.provider.stop()
            await opened.provider.stop()
            assert not opened.provider.ready
            limits = replace(PATIENT, total_s=0.2)
            fault = await fault_of(opened.provider.open(chat("Hi", timeouts=limits)))
            assert fault is UpstreamFault.CONNECT

    run(scenario())


@every_provider
def test_a_cancelled_call_leaves_the_provider_usable(backend: Backend, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            call = chat("Count. #weir:chunks=5,first_delay_ms=60000", max_tokens=1900, **LONG)
            opening = asyncio.create_task(opened.provider.open(call))
            done, _ = await asyncio.wait([opening], timeout=0.2)
            assert not done
            opening.cancel()
            await asyncio.wait([opening])
            assert opening.cancelled()
            reply = await opened.provider.open(chat("Hi", max_tokens=1))
            assert (await reply.read()).startswith(b"{")

    run(scenario())


@every_provider
def test_many_calls_at_once_are_all_answered(backend: Backend, tmp_path: Path) -> None:
    calls = 15 if backend is local_model else 200

    async def scenario() -> None:
        async with backend(tmp_path) as opened:

            async def one() -> int:
                reply = await opened.provider.open(chat("Hi", max_tokens=1, stream=True))
                return (await reply.read()).count(b"data: [DONE]")

            assert await asyncio.gather(*(one() for _ in range(calls))) == [1] * calls

    run(scenario())


@scripted_or_bridged
@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_an_error_of_the_provider_is_passed_with_its_body(
    backend: Backend, status: int, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            call = chat(f"#weir:status={status},retry_after=7")
            reply = await opened.provider.open(call)
            assert reply.status == status
            assert dict(reply.headers)[b"retry-after"] == b"7"
            error = orjson.loads(await reply.read())["error"]
            assert error["message"] == f"scripted status {status}"
            assert error["code"] == (None if backend in OF_ANTHROPIC else "scripted")

    run(scenario())


@scripted_or_bridged
def test_a_provider_that_never_answers_ends_in_a_first_byte_timeout(
    backend: Backend, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            limits = replace(PATIENT, connect_s=0.1, first_byte_s=0.2)
            call = chat("#weir:first_delay_ms=60000", timeouts=limits)
            fault = await fault_of(opened.provider.open(call))
            assert fault is UpstreamFault.FIRST_BYTE_TIMEOUT

    run(scenario())


@pytest.mark.parametrize("backend", [*SCRIPTED, litellm_openai])
def test_an_answer_that_falls_silent_ends_in_an_idle_timeout(
    backend: Backend, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            limits = replace(PATIENT, idle_s=0.2)
            reply = await opened.provider.open(
                chat("#weir:chunks=3,delay_ms=60000", stream=True, timeouts=limits)
            )
            assert b"assistant" in await reply.read_some()
            assert await fault_of(reply.read()) is UpstreamFault.IDLE_TIMEOUT

    run(scenario())


@every_scripted
@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_breaks_off_is_broken(
    backend: Backend, stream: bool, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with backend(tmp_path) as opened:
            call = chat("#weir:chunks=50,break_after=5", stream=stream)
            reply = await opened.provider.open(call)
            assert await fault_of(reply.read()) is UpstreamFault.BROKEN
            assert opened.bill is not None
            assert opened.bill()[0].completion_tokens == (5 if stream else 50)

    run(scenario())
