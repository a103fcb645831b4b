"""OpenAI's SDK reads what the meters pass, and raises for every end and error of ours."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from budgets.money import nano_from_usd
from gateway import errors
from gateway.dialects.index import BY_ROUTE
from gateway.errors import ApiError, stream_cut
from tests.clients.canned_server import JSON, STREAM, Canned, canned_server
from tests.clients.relayed import REQUEST_ID, cut_after, relayed

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
CUT = stream_cut(nano_from_usd("0.25"))
RESPONSES = BY_ROUTE["/v1/responses"]


@pytest.fixture(scope="module")
def canned() -> Iterator[Canned]:
    with canned_server() as server:
        yield server


@pytest.fixture
def client(canned: Canned) -> Iterator[OpenAI]:
    http = httpx.Client(trust_env=False)
    with OpenAI(base_url=f"{canned.base_url}/v1", api_key="k", http_client=http) as client:
        yield client


def chat_chunks(client: OpenAI) -> Iterator[Any]:
    yield from client.chat.completions.create(model="m", messages=MESSAGES, stream=True)


@pytest.mark.parametrize(
    ("name", "content", "usage"),
    [
        ("chat/text", "Gr\u00fc\u00dfe aus \u6771\u4eac \U0001f5fc", 2_306),
        ("chat/reasoning_with_comments", "Two lines.", 19),
        ("chat/audio", "", 230),
        ("chat/truncated", "Once upon a", None),
    ],
)
def test_a_chat_stream_is_read_whole(
    canned: Canned, client: OpenAI, name: str, content: str, usage: int | None
) -> None:
    canned.say(200, STREAM, *relayed(name))
    chunks = list(chat_chunks(client))
    said = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(said) == content
    totals = [chunk.usage.total_tokens for chunk in chunks if chunk.usage]
    assert totals == ([] if usage is None else [usage])


def test_parallel_calls_log_probabilities_and_refusals_arrive_in_a_chat_stream(
    canned: Canned, client: OpenAI
) -> None:
    canned.say(200, STREAM, *relayed("chat/tool_calls"))
    with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
        message = stream.get_final_completion().choices[0].message
    calls = [(c.function.name, c.function.arguments) for c in message.tool_calls or []]
    assert calls == [
        ("get_weather", '{"location":"Paris"}'),
        ("get_weather", '{"location":"Bogot\u00e1"}'),
    ]
    canned.say(200, STREAM, *relayed("chat/text"))
    with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
        logprobs = stream.get_final_completion().choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [one.token for one in logprobs.content] == [
        "Gr\u00fc\u00dfe",
        " aus",
        " \u6771\u4eac \U0001f5fc",
    ]
    canned.say(200, STREAM, *relayed("chat/refusal"))
    with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
        refusal = stream.get_final_completion().choices[0].message.refusal
    assert refusal == "I'm sorry, I cannot assist with that."


def test_an_error_of_the_provider_s_inside_a_chat_stream_is_raised(
    canned: Canned, client: OpenAI
) -> None:
    canned.say(200, STREAM, *relayed("chat/error"))
    with pytest.raises(openai.APIError, match="The server had an error"):
        list(chat_chunks(client))


@pytest.mark.parametrize(("name", "events"), [("chat/text", 3), ("chat/tool_calls", 4)])
def test_a_chat_stream_that_is_cut_ends_with_an_error(
    canned: Canned, client: OpenAI, name: str, events: int
) -> None:
    canned.say(200, STREAM, *cut_after(name, events, CUT))
    chunks = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in chat_chunks(client):
            chunks.append(chunk)
    assert len(chunks) == events
    assert caught.value.code == "budget_exceeded"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["reserved_usd"] == "0.250000000"


def test_a_completion_stream_is_read_whole_and_cut(canned: Canned, client: OpenAI) -> None:
    canned.say(200, STREAM, *relayed("completions/text"))
    chunks = list(client.completions.create(model="m", prompt="x", n=2, stream=True))
    first = [c.text for chunk in chunks for c in chunk.choices if c.index == 0]
    assert "".join(first) == "This is a test"
    assert chunks[-1].usage is not None
    canned.say(200, STREAM, *cut_after("completions/text", 2, CUT))
    with pytest.raises(openai.APIError) as caught:
        list(client.completions.create(model="m", prompt="x", stream=True))
    assert caught.value.code == "budget_exceeded"


@pytest.mark.parametrize(
    ("name", "text", "tokens"),
    [
        ("responses/text", "Hi! Gr\u00fc\u00dfe aus \u6771\u4eac \U0001f5fc", 380),
        ("responses/parallel_tools", "", 197),
        ("responses/refusal", "", 49),
        ("responses/custom_tool", "", 108),
        ("responses/web_search_and_unknown_events", "Good news.", 9_148),
    ],
)
def test_a_response_stream_is_read_whole(
    canned: Canned, client: OpenAI, name: str, text: str, tokens: int
) -> None:
    canned.say(200, STREAM, *relayed(name))
    with client.responses.stream(model="m", input="x") as stream:
        numbers = [event.sequence_number for event in stream]
        final = stream.get_final_response()
    assert final.output_text == text
    assert final.usage is not None
    assert final.usage.total_tokens == tokens
    assert numbers == list(range(len(numbers)))
    calls = [item.arguments for item in final.output if item.type == "function_call"]
    assert len(calls) == (2 if name == "responses/parallel_tools" else 0)


def test_an_incomplete_response_says_why(canned: Canned, client: OpenAI) -> None:
    canned.say(200, STREAM, *relayed("responses/incomplete"))
    events = list(client.responses.create(model="m", input="x", stream=True))
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details is not None
    assert events[-1].response.incomplete_details.reason == "max_output_tokens"


def test_an_error_of_the_provider_s_inside_a_response_stream_is_raised(
    canned: Canned, client: OpenAI
) -> None:
    canned.say(200, STREAM, *relayed("responses/failed"))
    with (
        pytest.raises(openai.APIError) as caught,
        client.responses.stream(model="m", input="x") as stream,
    ):
        stream.get_final_response()
    assert caught.value.code == "insufficient_quota"


@pytest.mark.parametrize("events", [1, 5, 6])
@pytest.mark.parametrize("name", ["responses/text", "responses/parallel_tools"])
def test_a_response_stream_that_is_cut_fails_first_and_raises_then(
    canned: Canned, client: OpenAI, name: str, events: int
) -> None:
    canned.say(200, STREAM, *cut_after(name, events, CUT))
    seen = []
    with (
        pytest.raises(openai.APIError) as caught,
        client.responses.stream(model="m", input="x") as stream,
    ):
        for event in stream:
            seen.append(event)
    assert caught.value.code == "budget_exceeded"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["reserved_usd"] == "0.250000000"
    failed = seen[-1]
    assert len(seen) == events + 1
    assert failed.type == "response.failed"
    assert failed.sequence_number == events
    assert (failed.response.status, failed.response.model) == ("failed", "gpt-5-2025-08-07")
    assert failed.response.error is not None
    assert failed.response.error.code == "insufficient_quota"
    type(failed.response).model_validate(
        {**failed.response.to_dict(), "error": None}
    )  # every field that a response must have is there


def test_a_response_stream_that_never_began_raises_the_same_error(
    canned: Canned, client: OpenAI
) -> None:
    for parts in (cut_after("responses/text", 0, CUT), [RESPONSES.error_event(CUT, REQUEST_ID)]):
        canned.say(200, STREAM, *parts)
        with (
            pytest.raises(openai.APIError) as caught,
            client.responses.stream(model="m", input="x") as stream,
        ):
            stream.get_final_response()
        assert caught.value.code == "budget_exceeded"


@pytest.mark.parametrize(
    ("error", "expected", "asked"),
    [
        (errors.bad_request("no", "input"), openai.BadRequestError, 1),
        (errors.unauthorized(), openai.AuthenticationError, 1),
        (CUT, openai.APIStatusError, 1),
        (errors.not_found("POST", "/v1/x"), openai.NotFoundError, 1),
        (errors.body_too_large(9), openai.APIStatusError, 1),
        (ApiError(429, "x", "slow", retry=False), openai.RateLimitError, 1),
        (errors.internal_error("r"), openai.InternalServerError, 3),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_an_error_response_is_raised_as_its_class_and_tried_again_where_it_helps(
    canned: Canned, client: OpenAI, error: ApiError, expected: type[Exception], asked: int
) -> None:
    canned.say(
        error.status,
        RESPONSES.error_headers(error, REQUEST_ID),
        RESPONSES.error_body(error, REQUEST_ID),
    )
    with pytest.raises(expected) as caught:
        client.responses.create(model="m", input="x")
    assert type(caught.value) is expected
    assert isinstance(caught.value, openai.APIStatusError)
    assert (caught.value.code, caught.value.param) == (error.code, error.param)
    assert len(canned.asked) == asked


def test_embeddings_of_both_encodings_are_read(canned: Canned, client: OpenAI) -> None:
    canned.say(
        200,
        JSON,
        b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AACAPwAAAEA="},'
        b'{"object":"embedding","index":1,"embedding":[1.0,2.0]}],"model":"text-embedding-3-small",'
        b'"usage":{"prompt_tokens":8,"total_tokens":8}}',
    )
    answer = client.embeddings.create(model="m", input=["one", "two"])
    assert [one.embedding for one in answer.data] == [[1.0, 2.0], [1.0, 2.0]]
    [(path, body)] = canned.asked
    request = BY_ROUTE[path].read(body)
    parts = BY_ROUTE[path].input_parts(request)
    assert (parts.said, parts.frames, request.body["encoding_format"]) == (
        ["one", "two"],
        2,
        "base64",
    )
