"""The real OpenAI SDK against the shipped configuration and the real local model."""

import asyncio
import time
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from budgets.money import nano_from_usd
from tests.journeys.gateway_process import ROOT, GatewayProcess, wait_for

CONFIG = ROOT / "config.toml"
MESSAGES: Any = [{"role": "user", "content": "Say hello in one sentence."}]
INPUT_NANO, OUTPUT_NANO = 10, 40  # the shipped price of smollm2 for one token
REVOKED_WITHIN_S = 2.0
SLACK_S = 1.0


def sdk(weir: GatewayProcess, key: str | None = None, **settings: Any) -> OpenAI:
    client = httpx.Client(trust_env=False)
    return OpenAI(
        base_url=f"{weir.base_url}/v1", api_key=key or weir.key, http_client=client, **settings
    )


def row_of(weir: GatewayProcess, headers: Any) -> dict[str, Any]:
    return weir.request(headers["x-weir-request-id"])


def assert_priced(row: dict[str, Any], usage: Any) -> None:
    """The row has the model's own counts, and what they cost."""
    assert row["usage_source"] == "provider"
    assert (row["input_tokens"], row["all_output_tokens"]) == (
        usage.prompt_tokens,
        usage.completion_tokens,
    )
    cached = (usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens) or 0
    assert row["cached_tokens"] == cached
    assert row["cost_nano"] == (
        INPUT_NANO * usage.prompt_tokens + OUTPUT_NANO * usage.completion_tokens
    )
    assert 0 < row["cost_nano"] <= row["reserved_nano"]
    assert row["frontier_cost_nano"] > row["cost_nano"]


def test_a_whole_answer_arrives_and_is_on_record(weir: GatewayProcess) -> None:
    raw = sdk(weir).chat.completions.with_raw_response.create(
        model="auto", messages=MESSAGES, max_tokens=12
    )
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 12
    assert (raw.headers["x-weir-model"], raw.headers["x-weir-tier"]) == ("smollm2", "small")
    assert "no rule matched" in raw.headers["x-weir-reason"]
    row = row_of(weir, raw.headers)
    assert_priced(row, answer.usage)
    assert nano_from_usd(raw.headers["x-weir-cost-usd"]) == row["cost_nano"]
    assert raw.headers["x-weir-run"] == row["run_id"]
    assert (row["tier"], row["model"], row["ending"], row["basis"]) == (
        "small",
        "smollm2",
        "completed",
        "settled",
    )
    assert '"reasons"' in row["classification_json"]
    assert '"rejected"' in row["decision_json"]
    # What only llama.cpp reports reaches the client as well.
    assert (answer.model_extra or {})["timings"]["predicted_n"] == answer.usage.completion_tokens


def streamed_text(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_a_stream_arrives_and_its_usage_is_on_record_without_being_asked_for(
    weir: GatewayProcess,
) -> None:
    with sdk(weir).chat.completions.with_streaming_response.create(
        model="auto", messages=MESSAGES, max_tokens=12, stream=True
    ) as raw:
        chunks = list(raw.parse())
        headers = raw.headers
    assert streamed_text(chunks)
    assert all(chunk.choices for chunk in chunks), "the hidden report was seen"
    assert all(chunk.usage is None for chunk in chunks)
    row = row_of(weir, headers)
    assert row["streamed"] is True
    assert (row["usage_source"], row["ending"]) == ("provider", "completed")
    assert 0 < row["all_output_tokens"] <= 12
    assert row["input_tokens"] > 10
    assert 0 < row["cost_nano"] <= nano_from_usd(headers["x-weir-reserved-usd"])


def test_a_stream_that_asks_for_usage_gets_what_is_on_record(weir: GatewayProcess) -> None:
    with sdk(weir).chat.completions.with_streaming_response.create(
        model="auto",
        messages=MESSAGES,
        max_tokens=12,
        stream=True,
        stream_options={"include_usage": True},
    ) as raw:
        chunks = list(raw.parse())
        headers = raw.headers
    assert not chunks[-1].choices
    assert chunks[-1].usage is not None
    assert_priced(row_of(weir, headers), chunks[-1].usage)


def test_the_async_sdk_answers_and_streams_side_by_side(weir: GatewayProcess) -> None:
    async def talk() -> tuple[ChatCompletion, list[ChatCompletionChunk]]:
        async with AsyncOpenAI(
            base_url=f"{weir.base_url}/v1",
            api_key=weir.key,
            http_client=httpx.AsyncClient(trust_env=False),
        ) as client:

            async def streamed() -> list[ChatCompletionChunk]:
                stream = await client.chat.completions.create(
                    model="auto", messages=MESSAGES, max_tokens=8, stream=True
                )
                return [chunk async for chunk in stream]

            whole = client.chat.completions.create(model="auto", messages=MESSAGES, max_tokens=8)
            return await asyncio.gather(whole, streamed())

    whole, chunks = asyncio.run(talk())
    assert whole.choices[0].message.content
    assert streamed_text(chunks)


@pytest.mark.parametrize(
    ("model", "tier", "answered_by"),
    [
        ("auto", "small", "smollm2"),
        ("auto:cheap", "small", "smollm2"),
        ("auto:frontier", "frontier", "frontier-stand-in"),
        ("tier:small", "small", "smollm2"),
        ("tier:frontier", "frontier", "frontier-stand-in"),
        ("smollm2", "small", "smollm2"),
        ("gpt-4o-mini", "small", "smollm2"),
        ("gpt-5", "frontier", "frontier-stand-in"),
    ],
)
def test_every_way_to_name_a_model_works(
    weir: GatewayProcess, model: str, tier: str, answered_by: str
) -> None:
    raw = sdk(weir).chat.completions.with_raw_response.create(
        model=model, messages=MESSAGES, max_tokens=2
    )
    assert raw.parse().choices[0].message.role == "assistant"
    row = row_of(weir, raw.headers)
    assert (row["requested_model"], row["tier"], row["model"]) == (model, tier, answered_by)
    assert (raw.headers["x-weir-tier"], raw.headers["x-weir-model"]) == (tier, answered_by)


def test_the_models_are_listed(weir: GatewayProcess) -> None:
    listed = {model.id: model.owned_by for model in sdk(weir).models.list()}
    assert {"auto", "tier:small", "tier:frontier", "smollm2", "gpt-4o-mini", "gpt-5"} <= set(listed)
    assert (listed["auto"], listed["smollm2"]) == ("weir", "local-small")


def test_fields_that_weir_does_not_know_pass_through(weir: GatewayProcess) -> None:
    answer = sdk(weir).chat.completions.create(
        model="auto",
        messages=MESSAGES,
        max_tokens=8,
        seed=7,
        extra_body={"cache_prompt": False, "n_probs": 2, "x_unknown": {"deep": [1.5, None]}},
    )
    # `n_probs` is llama.cpp's own way to ask for log probabilities: it acted on it.
    assert answer.choices[0].logprobs is not None


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_of_two_limits_the_model_keeps_to_the_smaller(weir: GatewayProcess, field: str) -> None:
    limits: Any = {"max_tokens": 40, "max_completion_tokens": 40, field: 2}
    answer = sdk(weir).chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "Count to one hundred."}], **limits
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2


def test_a_request_is_charged_to_the_workflow_and_run_that_it_names(weir: GatewayProcess) -> None:
    client = sdk(weir)
    ask = client.chat.completions.with_raw_response.create
    by_header = ask(
        model="auto",
        messages=MESSAGES,
        max_tokens=2,
        extra_headers={"x-weir-workflow": "triage", "x-weir-run": "run-7"},
        metadata={"weir_workflow": "ignored"},
    )
    by_metadata = ask(
        model="auto",
        messages=MESSAGES,
        max_tokens=2,
        metadata={"weir_workflow": "summaries", "weir_run": "run-8"},
    )
    by_key = ask(model="auto", messages=MESSAGES, max_tokens=2)
    rows = [row_of(weir, raw.headers) for raw in (by_header, by_metadata, by_key)]
    assert [(row["workflow"], row["run_source"]) for row in rows] == [
        ("triage", "x-weir-run"),
        ("summaries", "metadata.weir_run"),
        ("demo", "request"),
    ]
    assert [row["run_id"] for row in rows[:2]] == ["run-7", "run-8"]
    assert all((row["team"], row["key_id"]) == ("demo", "demo") for row in rows)


def test_a_key_made_on_the_command_line_works_until_it_is_revoked(weir: GatewayProcess) -> None:
    made = weir.command(
        "keys", "create", "--name", "Ana", "--team", "lab", "--workflow", "notes",
        "--policy", "frontier",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    key, told = made.stdout.splitlines()
    key_id = told.removeprefix("id ").partition(";")[0]
    client = sdk(weir, key, max_retries=0)

    def works() -> bool:
        try:
            client.models.list()
        except openai.AuthenticationError:
            return False
        return True

    wait_for(works, "the new key opens the door", REVOKED_WITHIN_S + SLACK_S)
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=MESSAGES, max_tokens=2
    )
    row = row_of(weir, raw.headers)
    assert (row["key_id"], row["team"], row["workflow"]) == (key_id, "lab", "notes")
    assert (row["policy"], row["tier"]) == ("frontier", "frontier")
    assert weir.command("keys", "revoke", key_id).returncode == 0
    revoked_s = time.monotonic()
    wait_for(lambda: not works(), "the revoked key is refused")
    assert time.monotonic() - revoked_s < REVOKED_WITHIN_S
