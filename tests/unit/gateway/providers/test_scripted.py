"""The scripted provider: its language, its framing, and its bill."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.providers.port import UpstreamCall, UpstreamFault
from gateway.providers.script import WORDS, Script, ScriptError, parse_script
from gateway.providers.scripted import BillLine, ScriptedProvider
from gateway.providers.scripted_chat import DONE, read_chat
from gateway.providers.scripted_wire import Served
from tests.contracts.upstreams import PATIENT, chat, fault_of, run, started


def answered(call: UpstreamCall, default: str = "echo") -> tuple[bytes, list[BillLine]]:
    async def scenario() -> tuple[bytes, list[BillLine]]:
        async with started(ScriptedProvider("s", parse_script(default))) as provider:
            body = await (await provider.open(call)).read()
            return body, list(provider.bill)

    return run(scenario())


def events(body: bytes) -> list[dict[str, Any]]:
    *frames, last, rest = body.split(b"\n\n")
    assert (last, rest) == (b"data: [DONE]", b"")
    return [orjson.loads(frame.removeprefix(b"data: ")) for frame in frames]


def streamed_text(body: bytes) -> str:
    deltas = [event["choices"][0]["delta"] for event in events(body) if event["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def test_an_echo_gives_the_last_user_message_back() -> None:
    body, bill = answered(chat("Where does the water run?"))
    answer = orjson.loads(body)
    assert answer["choices"][0]["message"]["content"] == "Where does the water run?"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["completion_tokens"] == 5
    assert bill == [BillLine("call-1", "req-s-1", "m", False, 5, 0, 5, 0, Served.WHOLE)]


def test_a_directive_outranks_the_default() -> None:
    body, _ = answered(chat("#weir:say=Hello%20there"), default="chunks=3")
    assert orjson.loads(body)["choices"][0]["message"]["content"] == "Hello there"
    body, _ = answered(chat("no directive"), default="chunks=3")
    assert orjson.loads(body)["choices"][0]["message"]["content"] == "".join(WORDS[:3])


def test_a_stream_has_role_tokens_finish_and_end() -> None:
    body, bill = answered(chat("#weir:chunks=3", stream=True))
    first, *middle, last = events(body)
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert [event["choices"][0]["delta"]["content"] for event in middle] == list(WORDS[:3])
    assert last["choices"][0]["finish_reason"] == "stop"
    assert all("usage" not in event for event in events(body))
    assert bill[0].completion_tokens == 3


def test_a_stream_reports_usage_when_asked_and_only_then() -> None:
    options = {"include_usage": True}
    body, _ = answered(chat("#weir:chunks=3,cached=1", stream=True, stream_options=options))
    *others, last = events(body)
    assert all(event["usage"] is None for event in others)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 3
    assert last["usage"]["prompt_tokens_details"]["cached_tokens"] == 1
    body, _ = answered(chat("#weir:chunks=3,usage=none", stream=True, stream_options=options))
    assert all("usage" not in event for event in events(body))
    body, _ = answered(chat("#weir:chunks=3,usage=none"))
    assert "usage" not in orjson.loads(body)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [True, False])
def test_the_bound_of_the_answer_is_kept(field: str, stream: bool) -> None:
    bound: dict[str, Any] = {field: 4}
    body, bill = answered(chat("#weir:chunks=50", stream=stream, **bound))
    assert bill[0].completion_tokens == 4
    last = events(body)[-1] if stream else orjson.loads(body)
    assert last["choices"][0]["finish_reason"] == "length"
    exact, _ = answered(chat("#weir:chunks=4", stream=stream, **bound))
    last = events(exact)[-1] if stream else orjson.loads(exact)
    assert last["choices"][0]["finish_reason"] == "stop"


def test_reasoning_counts_against_the_bound() -> None:
    body, bill = answered(chat("#weir:chunks=50,reasoning=7", max_tokens=10))
    usage = orjson.loads(body)["usage"]
    assert usage["completion_tokens"] == 10
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 7
    assert (bill[0].completion_tokens, bill[0].reasoning_tokens) == (10, 7)


def test_a_runaway_ignores_the_bound_until_it_is_cut() -> None:
    async def scenario() -> None:
        async with started(ScriptedProvider("s", Script())) as provider:
            reply = await provider.open(chat("#weir:runaway", stream=True, max_tokens=2))
            for _ in range(101):
                assert await reply.read_some()
            reply.close()
            reply.close()
            (line,) = provider.bill
            assert (line.completion_tokens, line.served) == (100, Served.CUT)

    run(scenario())


def test_a_tool_is_called_with_its_arguments() -> None:
    message = "#weir:tool=get_weather,args=%7B%22city%22%3A%20%22Bonn%22%7D"
    answer = orjson.loads(answered(chat(message))[0])["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    function = answer["message"]["tool_calls"][0]["function"]
    assert (function["name"], orjson.loads(function["arguments"])) == (
        "get_weather",
        {"city": "Bonn"},
    )
    choices = [event["choices"][0] for event in events(answered(chat(message, stream=True))[0])]
    calls = [choice["delta"].get("tool_calls", [{}])[0] for choice in choices]
    arguments = "".join(call.get("function", {}).get("arguments", "") for call in calls)
    assert arguments == function["arguments"]
    assert calls[0]["function"]["name"] == "get_weather"


def test_an_answer_read_up_to_its_end_mark_counts_as_whole() -> None:
    async def scenario() -> None:
        async with started(ScriptedProvider("s", Script())) as provider:
            reply = await provider.open(chat("one two", stream=True))
            while await reply.read_some() != DONE:
                pass
            reply.close()
            assert provider.bill[0].served is Served.WHOLE

    run(scenario())


def test_a_refused_connection_and_an_error_cost_nothing() -> None:
    async def scenario() -> None:
        async with started(ScriptedProvider("s", Script())) as provider:
            assert await fault_of(provider.open(chat("#weir:refuse"))) is UpstreamFault.CONNECT
            for call in (
                chat("#weir:status=500"),
                chat("#weir:colour=red"),
                replace(chat(""), path="/embeddings"),
                replace(chat(""), body=b"["),
                chat("hi", max_tokens=0),
            ):
                reply = await provider.open(call)
                assert reply.status >= 400
                assert orjson.loads(await reply.read())["error"]["message"]
            assert list(provider.bill) == []

    run(scenario())


def test_a_call_cut_before_its_answer_is_billed_for_its_prompt() -> None:
    async def scenario() -> None:
        async with started(ScriptedProvider("s", Script())) as provider:
            call = chat("#weir:first_delay_ms=60000", timeouts=replace(PATIENT, first_byte_s=0.01))
            assert await fault_of(provider.open(call)) is UpstreamFault.FIRST_BYTE_TIMEOUT
            waiting = asyncio.create_task(provider.open(chat("#weir:first_delay_ms=60000")))
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert [line.completion_tokens for line in provider.bill] == [0, 0]
            assert [line.prompt_tokens for line in provider.bill] == [1, 1]

    run(scenario())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour=red", "colour: unknown; one of echo, say"),
        ("", r"\(nothing\): unknown"),
        ("chunks=-1", "chunks: must be a whole number from 0"),
        ("chunks=", "chunks: must be a whole number"),
        ("status=99", "from 200 to 599"),
        ("echo=no", "echo: stands alone"),
        ("usage=maybe", "usage: must be auto or none"),
        ("say=a,chunks=3", "exclude each other"),
        ("then=a", "goes with a tool"),
    ],
)
def test_a_script_that_cannot_be_read_is_refused_with_key_and_fix(text: str, words: str) -> None:
    with pytest.raises(ScriptError, match=words):
        parse_script(text)


def test_content_in_parts_is_read_like_text() -> None:
    parts = [{"type": "text", "text": "a b"}, {"type": "image_url", "image_url": {"url": "x"}}]
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": parts}]
    request = read_chat(orjson.dumps({"messages": messages}))
    assert (request.prompt, request.prompt_tokens) == ("a b", 3)
