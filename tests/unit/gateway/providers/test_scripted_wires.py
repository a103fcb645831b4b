"""The scripted provider in every dialect: what it sends is what it bills, in the dialect's words.

Covers gateway.providers.scripted_wire, scripted_chat, scripted_embeddings, and with them
gateway.providers.scripted_messages and gateway.providers.scripted_responses.
"""

import base64
from array import array
from typing import Any

import orjson
import pytest

from gateway.dialects.index import BY_ROUTE
from gateway.providers.port import UpstreamCall
from gateway.providers.script import parse_script
from gateway.providers.scripted import WIRES, BillLine, ScriptedProvider
from gateway.providers.scripted_embeddings import DIMENSIONS
from tests.contracts.upstreams import PATIENT, run, started

USER = {"role": "user", "content": "one two"}
ASKED: dict[str, dict[str, Any]] = {
    "/chat/completions": {"messages": [USER], "max_tokens": 9},
    "/completions": {"prompt": "one two", "max_tokens": 9},
    "/responses": {"input": "one two", "max_output_tokens": 9},
    "/embeddings": {"input": "one two"},
    "/messages": {"messages": [USER], "max_tokens": 9},
    "/messages/count_tokens": {"messages": [USER]},
    "/images/generations": {"prompt": "one two"},
    "/audio/speech": {"input": "one two", "stream_format": "sse"},
}
STREAMED = ["/chat/completions", "/completions", "/responses", "/messages"]
ALWAYS_STREAMED = {"/audio/speech"}
# What is asked in forms is tried in test_scripted_media.py.
FORMS = {"/images/edits", "/audio/transcriptions", "/audio/translations"}


def answers(
    *asked: tuple[str, dict[str, Any]], script: str = "echo"
) -> tuple[list[bytes], list[BillLine]]:
    """The bodies of these calls, one after the other, and the bill for all of them."""

    async def scenario() -> tuple[list[bytes], list[BillLine]]:
        async with started(ScriptedProvider("s", parse_script(script))) as provider:
            bodies = []
            for path, fields in asked:
                body = orjson.dumps({"model": "m", **fields})
                reply = await provider.open(UpstreamCall(path, body, (), PATIENT))
                bodies.append(await reply.read())
            return bodies, list(provider.bill)

    return run(scenario())


def answer(path: str, script: str = "echo", **fields: Any) -> tuple[bytes, list[BillLine]]:
    bodies, bill = answers((path, {**ASKED[path], **fields}), script=script)
    return bodies[0], bill


def test_every_dialect_of_the_gateway_has_its_wire() -> None:
    assert set(WIRES) == {dialect.path for dialect in BY_ROUTE.values()}
    assert set(WIRES) == set(ASKED) | FORMS


@pytest.mark.parametrize(
    ("path", "stream"),
    [*[(path, False) for path in ASKED], *[(path, True) for path in ASKED if path in STREAMED]],
)
def test_what_is_reported_is_what_is_billed(path: str, stream: bool) -> None:
    if path in ALWAYS_STREAMED:
        stream = True
    dialect = next(one for one in BY_ROUTE.values() if one.path == path)
    fields = {"stream": stream, "stream_options": {"include_usage": True}} if stream else {}
    body, bill = answer(path, "chunks=5,cached=1,reasoning=2", **fields)
    if stream:
        meter = dialect.meter(1_000, len)
        assert b"".join(seen.raw for seen in meter.feed(body)) == body
        usage, finished = meter.usage, meter.finished
        assert finished
    else:
        found = dialect.usage_in(orjson.loads(body))
        assert not hasattr(found, "found"), found
        usage = found  # type: ignore[assignment]
    if dialect.is_free:
        assert bill == []
        assert orjson.loads(body) == {"input_tokens": 2}
        return
    (line,) = bill
    assert usage is not None
    assert usage.input_tokens == line.prompt_tokens == 2
    assert usage.output_tokens == line.completion_tokens == (0 if "embed" in path else 7)
    if path in STREAMED or "chat" in path:
        assert (
            (usage.cached, usage.reasoning) == (line.cached_tokens, line.reasoning_tokens) == (1, 2)
        )


@pytest.mark.parametrize("path", STREAMED)
def test_no_report_is_made_where_the_script_says_none(path: str) -> None:
    dialect = next(one for one in BY_ROUTE.values() if one.path == path)
    fields = {"stream": True, "stream_options": {"include_usage": True}}
    meter = dialect.meter(1_000, len)
    meter.feed(answer(path, "chunks=3,usage=none", **fields)[0])
    assert (meter.usage, meter.finished) == (None, True)


@pytest.mark.parametrize("path", STREAMED)
def test_a_stream_ends_where_its_limit_does(path: str) -> None:
    dialect = next(one for one in BY_ROUTE.values() if one.path == path)
    body, (line,) = answer(path, "chunks=50", stream=True)
    meter = dialect.meter(1_000, len)
    meter.feed(body)
    assert meter.text_events == line.completion_tokens == 9
    assert not meter.error_seen


@pytest.mark.parametrize("path", ASKED)
def test_errors_are_in_the_words_of_the_dialect(path: str) -> None:
    status = orjson.loads(answer(path, "status=429")[0])
    unreadable = orjson.loads(answers((path, {"messages": 7, "input": 7, "prompt": 7}))[0][0])
    for found in (status, unreadable):
        assert found["error"]["message"]
        assert (found.get("type") == "error") is path.startswith("/messages")


def test_a_query_string_changes_nothing() -> None:
    bodies, _ = answers(("/messages?beta=true", ASKED["/messages"]), ("/nowhere", {}))
    assert orjson.loads(bodies[0])["type"] == "message"
    assert "/nowhere" in orjson.loads(bodies[1])["error"]["message"]


def test_every_prompt_is_completed_as_often_as_asked() -> None:
    body, (line,) = answer("/completions", prompt=["a b", "c", [1, 2, 3]], n=2)
    choices = orjson.loads(body)["choices"]
    assert [choice["text"] for choice in choices] == ["a b", "a b", "c", "c", "", ""]
    assert [choice["index"] for choice in choices] == list(range(6))
    assert (line.prompt_tokens, line.completion_tokens) == (6, 6)


def test_vectors_are_the_same_in_both_formats_and_as_long_as_asked() -> None:
    plain, (line,) = answer("/embeddings", input=["a", "b", "a"], dimensions=40)
    coded, _ = answer("/embeddings", input=["a", "b", "a"], dimensions=40, encoding_format="base64")
    numbers = [one["embedding"] for one in orjson.loads(plain)["data"]]
    texts = [one["embedding"] for one in orjson.loads(coded)["data"]]
    assert [list(array("f", base64.b64decode(text))) for text in texts] == numbers
    assert numbers[0] == numbers[2] != numbers[1]
    assert {len(one) for one in numbers} == {40}
    assert line.prompt_tokens == 3
    tokens = orjson.loads(answer("/embeddings", input=[7, 8])[0])
    assert (len(tokens["data"]), len(tokens["data"][0]["embedding"])) == (1, DIMENSIONS)


def test_a_response_that_goes_on_is_billed_for_what_went_before() -> None:
    first = ASKED["/responses"]
    bodies, bill = answers(
        ("/responses", first), ("/responses", {**first, "previous_response_id": "resp-s-1"})
    )
    assert orjson.loads(bodies[1])["previous_response_id"] == orjson.loads(bodies[0])["id"]
    assert [line.prompt_tokens for line in bill] == [2, 6]
    lost, _ = answers(("/responses", {**first, "previous_response_id": "resp-no"}))
    assert "not found" in orjson.loads(lost[0])["error"]["message"]


@pytest.mark.parametrize("path", ["/responses", "/messages"])
def test_a_tool_is_called_whole_and_in_pieces(path: str) -> None:
    script = "tool=get_weather,args=%7B%22city%22%3A%20%22Bonn%22%7D"
    whole = orjson.loads(answer(path, script)[0])
    call = whole["output"][0] if path == "/responses" else whole["content"][0]
    given = call.get("arguments") or orjson.dumps(call["input"])
    assert (call["name"], orjson.loads(given)) == ("get_weather", {"city": "Bonn"})
    dialect = next(one for one in BY_ROUTE.values() if one.path == path)
    streamed, (line,) = answer(path, script, stream=True)
    meter = dialect.meter(1_000, len)
    meter.feed(streamed)
    assert meter.text_bytes == len("get_weather" + '{"city": "Bonn"}')
    assert line.completion_tokens == 2


def test_every_event_of_a_response_has_its_number_and_its_place() -> None:
    body, _ = answer("/responses", "chunks=3", stream=True)
    frames = [frame.partition(b"\ndata: ") for frame in body.split(b"\n\n")[:-1]]
    events = [orjson.loads(data) for _, _, data in frames]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for (name, _, _), event in zip(frames, events, strict=True):
        assert name.decode() == f"event: {event['type']}"
        if "response" not in event:
            assert event["output_index"] == 0
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "the water runs"


CALLS_THEN = "#weir:tool=look,args=%7B%7D,then=Seen"
TOOLS = {
    "/chat/completions": {"type": "function", "function": {"name": "look"}},
    "/responses": {"type": "namespace", "name": "eyes", "tools": [{"name": "look"}]},
    "/messages": {"name": "look", "input_schema": {}},
}
RESULTS = {
    "/chat/completions": {"role": "tool", "tool_call_id": "1", "content": "a cat"},
    "/responses": {"type": "function_call_output", "call_id": "1", "output": "a cat"},
    "/messages": {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": "a cat"},
            {"type": "text", "text": "a note of the client"},
        ],
    },
}


@pytest.mark.parametrize("path", sorted(TOOLS))
def test_a_tool_that_has_answered_is_followed_by_the_last_word(path: str) -> None:
    asked = {"role": "user", "content": CALLS_THEN}
    field = "input" if path == "/responses" else "messages"
    plain = {**ASKED[path], field: [asked]}
    offering = {**plain, "tools": [TOOLS[path]]}
    answered = {**offering, field: [asked, RESULTS[path]]}
    again = {**offering, field: [asked, RESULTS[path], asked]}
    bodies, _ = answers(*((path, fields) for fields in (plain, offering, answered, again)))
    assert [b"Seen" in body for body in bodies] == [True, False, True, False]
    assert [b'"look"' in body.partition(b'"tools"')[0] for body in bodies[1:]] == [
        True,
        False,
        True,
    ]
