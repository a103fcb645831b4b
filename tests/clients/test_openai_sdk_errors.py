"""What the OpenAI SDK raises for each refusal, and that it does not try again in vain."""

import json
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.journeys.gateway_process import (
    SCRIPTED_CONFIG,
    GatewayProcess,
    budget,
)

MESSAGES: Any = [{"role": "user", "content": "Say hello in one sentence."}]
CONFIG = "[server]\nmax_body_bytes = 65_536\n" + SCRIPTED_CONFIG + budget("workflow:*", "0.000001")


class Counting(httpx.HTTPTransport):
    """Sends for real and counts how often."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        return super().handle_request(request)


def refusal(
    weir: GatewayProcess, expected: type[openai.APIStatusError], key: str = "", **fields: Any
) -> tuple[openai.APIStatusError, int]:
    """What the SDK raises with its own retries on, and how often it asked."""
    transport = Counting()
    with OpenAI(
        base_url=f"{weir.base_url}/v1",
        api_key=key or weir.key,
        http_client=httpx.Client(transport=transport),
    ) as client:
        assert client.max_retries == 2
        with pytest.raises(expected) as caught:
            client.chat.completions.create(**{"model": "auto", "messages": MESSAGES, **fields})
    assert type(caught.value) is expected
    return caught.value, transport.sent


def test_a_wrong_key_is_an_authentication_error(weir: GatewayProcess) -> None:
    error, sent = refusal(weir, openai.AuthenticationError, key="sk-weir-wrong")
    assert (error.status_code, error.code, sent) == (401, "invalid_api_key", 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_spent_budget_is_a_402_that_is_not_tried_again(
    weir: GatewayProcess, stream: bool
) -> None:
    error, sent = refusal(weir, openai.APIStatusError, max_tokens=100, stream=stream)
    assert (error.status_code, error.code, sent) == (402, "budget_exceeded", 1)
    assert error.response.headers["x-should-retry"] == "false"
    body = error.body
    assert isinstance(body, dict)
    assert body["scope"] == "workflow:demo/demo"
    assert (body["limit_usd"], body["spent_usd"]) == ("0.000001000", "0.000000000")
    assert body["resets_at"] is None
    row = weir.request(error.response.headers["x-weir-request-id"])
    assert (row["basis"], row["status"], row["error_code"]) == ("refused", 402, "budget_exceeded")


def test_an_unknown_model_is_a_not_found_error_with_a_hint(weir: GatewayProcess) -> None:
    error, sent = refusal(weir, openai.NotFoundError, model="tinny")
    assert (error.status_code, error.code, error.param, sent) == (
        404,
        "model_not_found",
        "model",
        1,
    )
    assert "did you mean 'tiny'" in error.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"extra_body": {"stream": "yes"}}, "stream"),
        ({"extra_headers": {"x-weir-workflow": "../etc"}}, "x-weir-workflow"),
        ({"messages": [{"content": "no role"}]}, "messages[0].role"),
    ],
)
def test_a_bad_field_is_a_bad_request_error_that_names_it(
    weir: GatewayProcess, fields: dict[str, Any], param: str
) -> None:
    error, sent = refusal(weir, openai.BadRequestError, **fields)
    assert (error.status_code, error.param, error.type, sent) == (
        400,
        param,
        "invalid_request_error",
        1,
    )


def test_a_body_that_is_too_large_is_a_413_that_is_not_tried_again(weir: GatewayProcess) -> None:
    long: Any = [{"role": "user", "content": "a" * 100_000}]
    error, sent = refusal(weir, openai.APIStatusError, messages=long)
    assert (error.status_code, error.code, sent) == (413, "request_too_large", 1)
    assert json.dumps(error.body)
