"""What tests of the vendors' SDKs share: a gateway with the module's CONFIG, and who asks it."""

from collections.abc import Iterator

import httpx
import httpx2
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.journeys.gateway_process import GatewayProcess, assert_clean, gateway


@pytest.fixture(scope="module")
def weir(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway with the configuration that the test's module calls CONFIG, audited at the end."""
    with gateway(tmp_path_factory.mktemp("weir"), request.module.CONFIG) as running:
        yield running
        assert_clean(running)
        command = running.command("audit")
        assert (command.returncode, "CLEAN" in command.stdout) == (0, True), command.stdout


@pytest.fixture
def sent() -> list[str]:
    """The ids of the answers, one for each time that an SDK asked."""
    return []


@pytest.fixture
def gpt(weir: GatewayProcess, sent: list[str]) -> Iterator[OpenAI]:
    """OpenAI's SDK with the demo key."""

    def note(response: httpx.Response) -> None:
        sent.append(response.headers.get("x-weir-request-id", ""))

    http = httpx.Client(trust_env=False, event_hooks={"response": [note]})
    with OpenAI(base_url=f"{weir.base_url}/v1", api_key=weir.key, http_client=http) as client:
        yield client


@pytest.fixture
def claude(weir: GatewayProcess, sent: list[str]) -> Iterator[Anthropic]:
    """Anthropic's SDK with the demo key."""

    def note(response: httpx2.Response) -> None:
        sent.append(response.headers.get("x-weir-request-id", ""))

    http = httpx2.Client(trust_env=False, event_hooks={"response": [note]})
    with Anthropic(base_url=weir.base_url, api_key=weir.key, http_client=http) as client:
        yield client
