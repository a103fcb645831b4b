"""The SDKs and agent frameworks, each from its own lock, with only an address and a key of ours."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.client_list import SDKS
from tests.clients.real_clients import (
    INPUT_NANO,
    OUTPUT_NANO,
    Installation,
    calls,
    installation,
    run_client,
    says,
)

HELLO = says("Hello there")
WRITE = calls("write_file", {"path": "answer.txt", "text": "forty-two"})
LISTED = ["auto", "tier:small", "tiny"]


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt, what the client says of it, in how many requests, and its error of a spent run."""

    prompt: str
    text: str
    requests: int
    error: str


HELLOS = (HELLO, "Hello there")
WRITES = (WRITE, "All done.")
CASES = {
    "openai": Case(*HELLOS, 3, "APIStatusError"),
    "anthropic": Case(*HELLOS, 2, "PaymentRequiredError"),
    "langchain-openai": Case(*WRITES, 3, "APIStatusError"),
    "openai-agents": Case(*WRITES, 4, "APIStatusError"),
    "pydantic-ai": Case(*WRITES, 4, "ModelQuotaExceededError"),
    "smolagents": Case(
        calls("final_answer", {"answer": "forty-two"}, then=None),
        "forty-two",
        1,
        "AgentGenerationError",
    ),
    "llama-index": Case(*HELLOS, 2, "APIStatusError"),
    "instructor": Case(
        calls("Note", {"text": "forty-two"}, then=None), "forty-two", 1, "InstructorRetryException"
    ),
    "litellm": Case(*HELLOS, 2, "APIError"),
    "openai-node": Case(*HELLOS, 3, "APIError"),
    "anthropic-node": Case(*HELLOS, 2, "PaymentRequiredError"),
    "ai-sdk": Case(*WRITES, 6, "AI_APICallError"),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("weir")) as running:
        yield running


def test_every_sdk_is_tried() -> None:
    assert set(CASES) == set(SDKS)


@pytest.mark.parametrize("name", CASES)
def test_an_sdk_does_its_work_for_what_it_counts_and_is_refused_when_its_run_is_spent(
    here: Installation, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    run = here.open_run(name, case.requests)
    ended = run_client(SDKS[name], tmp_path, here.weir, run.token, case.prompt)
    told = ended.told
    assert set(told["texts"]) == {case.text}
    if case.prompt == WRITE:
        assert ended.written() == "forty-two"
    assert sorted(told.get("models", LISTED)) == LISTED
    assert told.get("counted", True)
    requests, spent_nano = here.stand(run)
    assert requests == case.requests
    if "input_tokens" in told:
        price = INPUT_NANO * told["input_tokens"] + OUTPUT_NANO * told["output_tokens"]
        assert spent_nano == price
    assert (told["error"], told["status"]) == (case.error, 402)
    assert "Budget exceeded" in told["message"]
    assert run.run_id in told["message"]
