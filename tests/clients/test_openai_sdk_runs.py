"""The real OpenAI SDK with a run token as its API key: warned, refused without retries, landed."""

from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.journeys.gateway_process import SCRIPTED_CONFIG, GatewayProcess

CONFIG = SCRIPTED_CONFIG
MESSAGES: Any = [{"role": "user", "content": "Say hello in one sentence."}]


def sdk(weir: GatewayProcess, key: str, sent: list[httpx.Request] | None = None) -> OpenAI:
    """A client that notes what it sends."""
    hooks = {"request": [] if sent is None else [sent.append]}
    client = httpx.Client(trust_env=False, event_hooks=hooks)
    return OpenAI(base_url=f"{weir.base_url}/v1", api_key=key, http_client=client)


def open_run(client: OpenAI, **terms: Any) -> Any:
    """A run, opened with the SDK's own way to call what it does not know."""
    return client.post("/runs", body=terms, cast_to=object)


def ask(client: OpenAI, **headers: str) -> Any:
    return client.chat.completions.with_raw_response.create(
        model="auto", messages=MESSAGES, max_tokens=5, extra_headers=headers
    )


def test_an_agent_spends_its_token_and_lands(weir: GatewayProcess) -> None:
    run = open_run(sdk(weir, weir.key), budget={"limit_requests": 4}, landing="0.25")
    sent: list[httpx.Request] = []
    agent = sdk(weir, run["token"], sent)
    answers = [ask(agent) for _ in range(3)]
    assert {answer.headers["x-weir-run"] for answer in answers} == {run["id"]}
    assert answers[0].headers.get("x-weir-run-left-requests") is None
    assert answers[2].headers["x-weir-run-left-requests"] == "0"
    with pytest.raises(openai.APIStatusError) as refused:
        ask(agent)
    assert (refused.value.status_code, refused.value.code) == (402, "budget_exceeded")
    body: Any = refused.value.body
    assert body["landing"] == {"available": True, "requests": 1}
    assert len(sent) == 4, "a final refusal is not tried again"
    assert ask(agent, **{"x-weir-landing": "use"}).parse().choices[0].message.content
    with pytest.raises(openai.APIStatusError) as over:
        ask(agent, **{"x-weir-landing": "use"})
    assert over.value.response.headers["x-weir-landing"] == "used"


def test_what_a_run_may_not_do_is_an_error_that_the_sdk_knows(weir: GatewayProcess) -> None:
    run = open_run(sdk(weir, weir.key), budget={"limit_usd": "0.5"}, workflow="triage")
    sent: list[httpx.Request] = []
    agent = sdk(weir, run["token"], sent)
    with pytest.raises(openai.PermissionDeniedError) as fixed:
        ask(agent, **{"x-weir-workflow": "other"})
    assert fixed.value.code == "run_fixed"
    with pytest.raises(openai.BadRequestError) as beyond:
        open_run(agent, budget={"limit_usd": "0.6"})
    assert beyond.value.param == "budget.limit_usd"
    with pytest.raises(openai.AuthenticationError) as changed:
        ask(sdk(weir, run["token"] + "x", sent))
    assert changed.value.code == "invalid_run_token"
    assert len(sent) == 3
