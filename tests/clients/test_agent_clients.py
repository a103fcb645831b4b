"""The agents of the command line: each does a task, and ends when its run is spent."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.client_list import AGENTS, CODEX_WITH_WEBSOCKETS
from tests.clients.real_clients import (
    CONFIG,
    Client,
    Ended,
    Installation,
    calls,
    installation,
    is_to_be_had,
    run_client,
    says,
)
from tests.journeys.gateway_process import gateway


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt that has a file written, in how many requests."""

    prompt: str
    requests: int = 2
    last_words: str = "All done."


CODEX = Case(calls("exec_command", {"cmd": "echo forty-two > answer.txt"}))
CASES = {
    "codex": CODEX,
    "claude-code": Case(calls("Write", {"file_path": "answer.txt", "content": "forty-two"})),
    "opencode": Case(calls("write", {"filePath": "answer.txt", "content": "forty-two"})),
    "aider": Case(says("answer.txt\n```\nforty-two\n```"), 1, "Applied edit to answer.txt"),
    "llm": Case(calls("write_file", {"path": "answer.txt", "text": "forty-two"})),
}

# Where Weir found the name of a run that no one told it.
SESSIONS = {
    "codex": "session-id",
    "claude-code": "x-claude-code-session-id",
    "opencode": "x-session-id",
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("weir")) as running:
        yield running


def release_of(name: str) -> Client:
    client = AGENTS[name]
    if not is_to_be_had(client):
        pytest.skip(f"{name} has no release for this machine")
    return client


def test_every_agent_is_tried() -> None:
    assert set(CASES) == set(AGENTS)


@pytest.fixture(scope="module", autouse=True)
def spent_aider(
    here: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Future[Ended]]:
    """aider, started first, on a run that is spent: it goes on trying for a minute."""
    run = here.open_run("aider", 1)
    assert here.weir.chat("Hello", key=run.token).status == 200
    folder = tmp_path_factory.mktemp("spent") / "aider"
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(
            run_client, AGENTS["aider"], folder, here.weir, run.token, CASES["aider"].prompt
        )


def told_why(ended: Ended, case: Case) -> bool:
    output = ended.out + ended.err
    return "Budget exceeded" in output and case.last_words not in output


def assert_done(ended: Ended, case: Case) -> None:
    assert ended.exit_status == 0, ended.out + ended.err
    assert ended.written() == "forty-two"
    assert case.last_words in ended.out


@pytest.mark.parametrize("name", CASES)
def test_an_agent_does_its_task(here: Installation, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    run = here.open_run(name, 50)
    assert_done(run_client(release_of(name), tmp_path, here.weir, run.token, case.prompt), case)
    assert here.stand(run)[0] == case.requests


@pytest.mark.parametrize("name", [name for name in CASES if name != "aider"])
def test_an_agent_ends_and_says_why_when_its_run_is_spent(
    here: Installation, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    run = here.open_run(name, 1)
    ended = run_client(release_of(name), tmp_path, here.weir, run.token, case.prompt)
    assert ended.exit_status == 1
    assert told_why(ended, case)
    assert here.stand(run)[0] == 1


def test_codex_goes_on_over_http_where_it_tried_a_websocket(
    here: Installation, tmp_path: Path
) -> None:
    run = here.open_run("codex", 50)
    ended = run_client(CODEX_WITH_WEBSOCKETS, tmp_path, here.weir, run.token, CODEX.prompt)
    assert_done(ended, CODEX)
    kinds = [json.loads(line)["type"] for line in ended.out.splitlines()]
    assert "error" not in kinds, ended.out
    assert here.stand(run)[0] == CODEX.requests


def test_aider_ends_and_says_why_when_its_run_is_spent(spent_aider: Future[Ended]) -> None:
    release_of("aider")
    assert told_why(spent_aider.result(), CASES["aider"])


@pytest.mark.parametrize("name", ["codex", "claude-code", "opencode"])
def test_the_requests_of_an_agent_with_a_plain_key_are_one_run_by_its_session(
    tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    client = release_of(name)
    with gateway(tmp_path / "weir", CONFIG) as weir:
        assert_done(run_client(client, tmp_path / "agent", weir, weir.key, case.prompt), case)
        assert weir.stop() == 0
        rows = weir.events()
    assert len(rows) == case.requests
    [(run_id, source)] = {(row["run_id"], row["run_source"]) for row in rows}
    assert run_id
    assert source == SESSIONS[name]
