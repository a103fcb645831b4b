"""Agents on the vendors' SDKs that name no run: the gateway tells which requests are one."""

from typing import Any

import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.journeys.gateway_process import SCRIPTED_CONFIG, GatewayProcess

CONFIG = (
    SCRIPTED_CONFIG
    + """
[[budgets]]
scope = "run:*"
window = "total"
limit_requests = 3
"""
)


def test_an_agent_that_names_no_run_is_stopped_by_the_budget_of_runs(gpt: OpenAI) -> None:
    said: list[Any] = [{"role": "user", "content": "Tidy up the list of parcels."}]
    runs = []
    with pytest.raises(openai.APIStatusError) as refused:
        for step in range(9):
            raw = gpt.chat.completions.with_raw_response.create(
                model="auto", messages=said, max_tokens=8
            )
            runs.append(raw.headers["x-weir-run"])
            answer = raw.parse().choices[0].message
            said += [answer.model_dump(exclude_none=True), {"role": "user", "content": str(step)}]
    assert (refused.value.status_code, refused.value.code) == (402, "budget_exceeded")
    # The first stands alone as long as nothing goes on from it; three more have the budget.
    assert (len(runs), len(set(runs))) == (4, 1)


def test_equal_questions_are_not_one_run(gpt: OpenAI) -> None:
    runs = {
        gpt.chat.completions.with_raw_response.create(
            model="auto", messages=[{"role": "user", "content": "Classify: late"}], max_tokens=4
        ).headers["x-weir-run"]
        for _ in range(6)
    }
    assert len(runs) == 6


def test_streamed_messages_with_moving_cache_marks_are_one_run(
    weir: GatewayProcess, claude: Anthropic
) -> None:
    said: list[Any] = []
    ids = []
    for step in range(3):
        for message in said:
            message["content"][-1].pop("cache_control", None)
        mark = {"type": "text", "text": f"Step {step}", "cache_control": {"type": "ephemeral"}}
        said.append({"role": "user", "content": [mark]})
        with claude.messages.stream(
            model="auto", max_tokens=8, messages=said, system=f"It is {step} o'clock."
        ) as stream:
            answer = stream.get_final_message()
            ids.append(stream.response.headers["x-weir-request-id"])
        text = "".join(block.text for block in answer.content if block.type == "text")
        said.append({"role": "assistant", "content": [{"type": "text", "text": text}]})
    rows = [weir.request(request_id) for request_id in ids]
    assert len({row["run_id"] for row in rows}) == 1
    assert [row["run_source"] for row in rows] == ["request", "inferred", "inferred"]
