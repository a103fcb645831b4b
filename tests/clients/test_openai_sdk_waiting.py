"""What the OpenAI SDK makes of a budget that is busy: it tries again, and gives up in the end."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from budgets.money import format_usd, nano_from_usd
from tests.clients.test_openai_sdk_errors import refusal
from tests.journeys.gateway_process import (
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    upstream_config,
    wait_for,
)
from tests.journeys.upstream import PROMPT_TOKENS, Play, Upstream

MESSAGES: Any = [{"role": "user", "content": "Which way does the water run?"}]
MAX_TOKENS = 20
COST_NANO = 1_000 * PROMPT_TOKENS + 2_000 * MAX_TOKENS
ASKED, PAID = 50, 10


class Statuses(httpx.HTTPTransport):
    """Sends for real and notes what comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        self.seen.append(response.status_code)
        return response


def asynchronous(weir: GatewayProcess, **settings: Any) -> AsyncOpenAI:
    client = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=ASKED))
    return AsyncOpenAI(
        base_url=f"{weir.base_url}/v1", api_key=weir.key, http_client=client, **settings
    )


def test_a_busy_budget_is_a_rate_limit_error_after_every_retry(
    tmp_path: Path, up: Upstream
) -> None:
    up.play = Play(tokens=MAX_TOKENS, gated=True)
    config = upstream_config(up.base_url, budget("key:*", "0.00013"), "budget_wait_ms = 50")
    with gateway(tmp_path, config) as weir, ThreadPoolExecutor(1) as pool:
        first = pool.submit(weir.chat, "Hello", max_tokens=MAX_TOKENS)
        wait_for(lambda: up.answering == 1, "the first is sent")
        error, sent = refusal(weir, openai.RateLimitError, max_tokens=MAX_TOKENS)
        assert (error.status_code, error.code, error.type, sent) == (
            429,
            "budget_busy",
            "rate_limit_error",
            3,
        )
        assert error.response.headers["retry-after"] == "1"
        up.gate.set()
        assert first.result().status == 200
        assert_clean(weir)


def test_a_retry_finds_the_money_that_has_come_back(tmp_path: Path, up: Upstream) -> None:
    up.play = Play(tokens=MAX_TOKENS, gated=True)
    config = upstream_config(up.base_url, budget("key:*", "0.00013"), "budget_wait_ms = 0")
    with gateway(tmp_path, config) as weir, ThreadPoolExecutor(2) as pool:
        first = pool.submit(weir.chat, "Hello", max_tokens=MAX_TOKENS)
        wait_for(lambda: up.answering == 1, "the first is sent")

        statuses = Statuses()
        with OpenAI(
            base_url=f"{weir.base_url}/v1",
            api_key=weir.key,
            http_client=httpx.Client(transport=statuses),
        ) as client:
            asked = pool.submit(
                client.chat.completions.create,
                model="auto",
                messages=MESSAGES,
                max_tokens=MAX_TOKENS,
            )
            wait_for(lambda: statuses.seen == [429], "the SDK pauses before its first retry")
            up.gate.set()
            assert asked.result().usage.completion_tokens == MAX_TOKENS
        assert statuses.seen == [429, 200]
        assert first.result().status == 200
        assert_clean(weir)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_of_fifty_sdks_at_once_those_that_the_budget_can_pay_are_served(
    tmp_path: Path, up: Upstream, stream: bool
) -> None:
    up.play = Play(tokens=MAX_TOKENS, first_delay_s=0.05)
    fields: Any = {"model": "auto", "messages": MESSAGES, "max_tokens": MAX_TOKENS}
    probe = upstream_config(up.base_url, budget("key:*", "0.000000001"))
    with gateway(tmp_path / "probe", probe) as weir:
        error, _ = refusal(weir, openai.APIStatusError, **fields, stream=stream)
        assert isinstance(error.body, dict)
        ceiling_nano = nano_from_usd(error.body["needed_usd"])

    async def one(client: AsyncOpenAI) -> int:
        try:
            answer = await client.chat.completions.create(**fields, stream=stream)
            if stream:
                assert [chunk async for chunk in answer]
        except openai.APIStatusError as refused:
            return refused.status_code
        return 200

    async def all_at_once(weir: GatewayProcess) -> list[int]:
        async with asynchronous(weir, max_retries=20) as client:
            return await asyncio.gather(*(one(client) for _ in range(ASKED)))

    limit_usd = format_usd((PAID - 1) * COST_NANO + ceiling_nano)
    config = upstream_config(up.base_url, budget("key:*", limit_usd), "budget_wait_ms = 200")
    with gateway(tmp_path / "race", config) as weir:
        statuses = asyncio.run(all_at_once(weir))
        assert (statuses.count(200), statuses.count(402)) == (PAID, ASKED - PAID)
        assert len(up.bill) == PAID
        [account] = weir.admin("budgets")["budgets"]
        assert (account["posted_nano"], account["held_nano"]) == (PAID * COST_NANO, 0)
        assert account["overrun_nano"] == 0
        assert_clean(weir)
