"""Anthropic's SDK reads what the meter passes, and raises for every end and error of ours."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from budgets.money import nano_from_usd
from gateway import errors
from gateway.dialects.index import BY_ROUTE
from gateway.errors import ApiError, stream_cut
from tests.clients.canned_server import JSON, STREAM, Canned, canned_server
from tests.clients.relayed import REQUEST_ID, cut_after, relayed

CUT = stream_cut(nano_from_usd("0.25"))
DIALECT = BY_ROUTE["/v1/messages"]
ASKED: Any = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def canned() -> Iterator[Canned]:
    with canned_server() as server:
        yield server


@pytest.fixture
def client(canned: Canned) -> Iterator[Anthropic]:
    with Anthropic(base_url=canned.base_url, api_key="k") as client:
        yield client


def whole_message(client: Anthropic) -> Any:
    with client.messages.stream(**ASKED) as stream:
        return stream.get_final_message()


@pytest.mark.parametrize(
    ("name", "text", "output_tokens"),
    [
        ("messages/text", "Hello! Gr\u00fc\u00dfe aus \u6771\u4eac \U0001f5fc", 15),
        ("messages/thinking", "27 * 453 = 12,231", 131),
        ("messages/cache", "Noted.", 393),
        ("messages/refusal", "I can't", 22),
        ("messages/unknown_events", "Two lines.", 4),
        ("messages/web_search", "I'll check the weather.Sunny.", 510),
    ],
)
def test_a_message_stream_is_read_whole(
    canned: Canned, client: Anthropic, name: str, text: str, output_tokens: int
) -> None:
    canned.say(200, STREAM, *relayed(name))
    message = whole_message(client)
    assert "".join(block.text for block in message.content if block.type == "text") == text
    assert message.usage.output_tokens == output_tokens


def test_parallel_calls_arrive_with_their_arguments(canned: Canned, client: Anthropic) -> None:
    canned.say(200, STREAM, *relayed("messages/parallel_tools"))
    message = whole_message(client)
    calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    assert calls == [
        ("get_weather", {"location": "San Francisco, CA"}),
        ("get_time", {"zone": "PST"}),
    ]
    assert message.stop_reason == "tool_use"


def test_signed_and_redacted_thinking_arrives_as_it_was_sealed(
    canned: Canned, client: Anthropic
) -> None:
    canned.say(200, STREAM, *relayed("messages/thinking"))
    signed, redacted, _ = whole_message(client).content
    assert signed.signature == "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds8v5zX0nPGFH"
    assert signed.thinking.endswith("453 = 400 + 50 + 3")
    assert redacted.type == "redacted_thinking"
    assert redacted.data.startswith("EmwKAhgBEgy3va3p")


def test_what_was_cached_is_told_as_the_provider_told_it(canned: Canned, client: Anthropic) -> None:
    canned.say(200, STREAM, *relayed("messages/cache"))
    usage = whole_message(client).usage
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (188_086, 1_111)
    assert usage.cache_creation.ephemeral_1h_input_tokens == 111


def test_an_error_of_the_provider_s_inside_a_stream_is_raised(
    canned: Canned, client: Anthropic
) -> None:
    canned.say(200, STREAM, *relayed("messages/error"))
    with pytest.raises(anthropic.APIStatusError) as caught:
        whole_message(client)
    assert caught.value.type == "overloaded_error"


@pytest.mark.parametrize("events", [0, 1, 4, 6, 9])
def test_a_stream_that_is_cut_ends_with_an_error(
    canned: Canned, client: Anthropic, events: int
) -> None:
    canned.say(200, STREAM, *cut_after("messages/parallel_tools", events, CUT))
    with pytest.raises(anthropic.APIStatusError) as caught:
        whole_message(client)
    error = caught.value
    assert (error.type, error.error_code) == ("billing_error", "budget_exceeded")
    assert error.api_message == CUT.message
    assert isinstance(error.body, dict)
    assert error.body["request_id"] == REQUEST_ID
    assert error.body["error"]["details"]["reserved_usd"] == "0.250000000"
    assert len(canned.asked) == 1


def test_a_torn_stream_would_be_taken_for_a_whole_one_without_our_end(
    canned: Canned, client: Anthropic
) -> None:
    canned.say(200, STREAM, *relayed("messages/truncated"))
    assert whole_message(client).content[0].text == "Once upon"
    broken = ApiError(502, "upstream_broken", "torn", kind="upstream_error")
    canned.say(200, STREAM, *cut_after("messages/truncated", 4, broken))
    with pytest.raises(anthropic.APIStatusError) as caught:
        whole_message(client)
    assert (caught.value.type, caught.value.error_code) == ("api_error", "upstream_broken")


@pytest.mark.parametrize(
    ("error", "expected", "kind", "asked"),
    [
        (errors.bad_request("no", "n"), anthropic.BadRequestError, "invalid_request_error", 1),
        (errors.unauthorized(), anthropic.AuthenticationError, "authentication_error", 1),
        (CUT, anthropic.PaymentRequiredError, "billing_error", 1),
        (ApiError(403, "x", "no"), anthropic.PermissionDeniedError, "permission_error", 1),
        (errors.not_found("POST", "/x"), anthropic.NotFoundError, "not_found_error", 1),
        (errors.body_too_large(9), anthropic.ContentTooLargeError, "request_too_large", 1),
        (ApiError(429, "x", "no", retry=False), anthropic.RateLimitError, "rate_limit_error", 1),
        (errors.internal_error("r"), anthropic.InternalServerError, "api_error", 3),
        (ApiError(503, "overloaded", "no", retry=False), anthropic.ServiceUnavailableError,
         "overloaded_error", 1),
        (ApiError(504, "upstream_timeout", "no", retry=False), anthropic.GatewayTimeoutError,
         "timeout_error", 1),
    ],
    ids=lambda value: getattr(value, "code", None),
)  # fmt: skip
def test_an_error_response_is_raised_as_its_class_and_tried_again_where_it_helps(
    canned: Canned,
    client: Anthropic,
    error: ApiError,
    expected: type[Exception],
    kind: str,
    asked: int,
) -> None:
    canned.say(
        error.status,
        DIALECT.error_headers(error, REQUEST_ID),
        DIALECT.error_body(error, REQUEST_ID),
    )
    with pytest.raises(expected) as caught:
        client.messages.create(**ASKED)
    raised = caught.value
    assert type(raised) is expected
    assert isinstance(raised, anthropic.APIStatusError)
    assert (raised.type, raised.error_code, raised.request_id) == (kind, error.code, REQUEST_ID)
    assert raised.api_message == error.message
    assert len(canned.asked) == asked


def test_tokens_are_counted_and_what_the_sdk_sends_is_understood(
    canned: Canned, client: Anthropic
) -> None:
    canned.say(200, JSON, b'{"input_tokens":2095}')
    counted = client.messages.count_tokens(
        model="m", system="Be brief.", messages=[{"role": "user", "content": "Hello"}]
    )
    assert counted.input_tokens == 2_095
    [(path, body)] = canned.asked
    dialect = BY_ROUTE[path]
    assert dialect.is_free
    parts = dialect.input_parts(dialect.read(body))
    assert parts.said == ["Be brief.", [{"role": "user", "content": "Hello"}]]
