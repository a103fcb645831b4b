"""OpenAI's SDK against a real gateway: images and sound are held, settled once, and not changed.

The scripted provider counts a word as a token, so what an answer has to cost is known beforehand.
"""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.journeys.gateway_process import (
    SCRIPTED_CONFIG,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
)

CONFIG = SCRIPTED_CONFIG + budget("key:*", "5") + budget("workflow:demo/spent", "0.000000001")
CONFIG += """\
[models.painter]
provider = "here"
price = { per_image = "0.04" }
context_tokens = 4_096
max_output_tokens = 1
[models.gpt-image-1]
provider = "here"
context_tokens = 10_000
max_output_tokens = 6_240
"""
PER_IMAGE_NANO = 40_000_000


@pytest.fixture(scope="module")
def weir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway(tmp_path_factory.mktemp("weir"), CONFIG) as running:
        yield running
        assert_clean(running)
        command = running.command("audit")
        assert (command.returncode, "CLEAN" in command.stdout) == (0, True), command.stdout


@pytest.fixture
def sent() -> list[str]:
    """The ids of the answers."""
    return []


@pytest.fixture
def gpt(weir: GatewayProcess, sent: list[str]) -> Iterator[OpenAI]:
    def note(response: httpx.Response) -> None:
        sent.append(response.headers.get("x-weir-request-id", ""))

    http = httpx.Client(trust_env=False, event_hooks={"response": [note]})
    with OpenAI(base_url=f"{weir.base_url}/v1", api_key=weir.key, http_client=http) as client:
        yield client


def settled(weir: GatewayProcess, request_id: str, cost_nano: int, source: str) -> dict[str, Any]:
    """The request as it is on record: it cost exactly that, and no more was spent than held."""
    row = weir.ended(request_id)
    assert (row["ending"], row["usage_source"], row["cost_nano"]) == (
        "completed",
        source,
        cost_nano,
    )
    assert row["cost_nano"] <= row["reserved_nano"]
    return row


# -- images -------------------------------------------------------------------------------------


def test_images_are_billed_each(weir: GatewayProcess, gpt: OpenAI, sent: list[str]) -> None:
    made = gpt.images.generate(model="painter", prompt="a cat", n=2)
    assert [base64.b64decode(image.b64_json or "") for image in made.data or []] == [b"a cat"] * 2
    row = settled(weir, sent[-1], 2 * PER_IMAGE_NANO, "provider")
    assert (row["route"], row["reserved_nano"]) == ("images.generations", 2 * PER_IMAGE_NANO)
    assert row["frontier_cost_nano"] == 0


def test_images_of_gpt_image_are_billed_by_the_token(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    gpt.images.generate(model="gpt-image-1", prompt="one two three")
    settled(weir, sent[-1], 3 * 5_000 + 3 * 40_000, "provider")
    gpt.images.edit(model="gpt-image-1", prompt="one two", image=[b"\x89PNG 1", b"\x89PNG 2"], n=2)
    row = settled(weir, sent[-1], 2 * 5_000 + 10 * 10_000 + 4 * 40_000, "provider")
    assert row["route"] == "images.edits"


def test_streamed_images_pass_as_they_come_and_each_is_counted(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    for model, cost_nano in (
        ("painter", 2 * PER_IMAGE_NANO),
        ("gpt-image-1", 2 * 5_000 + 4 * 40_000),
    ):
        stream = gpt.images.generate(
            model=model, prompt="a cat", n=2, stream=True, partial_images=2
        )
        kinds = [event.type for event in stream]
        assert kinds.count("image_generation.partial_image") == 4
        assert kinds[-1] == "image_generation.completed"
        settled(weir, sent[-1], cost_nano, "provider")


def test_what_is_not_reported_is_charged_as_held(
    weir: GatewayProcess, gpt: OpenAI, sent: list[str]
) -> None:
    gpt.images.generate(model="gpt-image-1", prompt="x #weir:chunks=2,usage=none")
    row = weir.ended(sent[-1])
    assert row["usage_source"] == "estimated"
    assert 6_240 * 40_000 < row["cost_nano"] <= row["reserved_nano"]


def test_what_has_no_price_for_it_is_refused_before_it_is_sent(
    weir: GatewayProcess, gpt: OpenAI
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.chat.completions.create(model="painter", messages=[{"role": "user", "content": "x"}])
    assert caught.value.code == "price_unknown"


def test_a_spent_budget_refuses_images_of_any_kind(weir: GatewayProcess, gpt: OpenAI) -> None:
    spent = gpt.with_options(default_headers={"x-weir-workflow": "spent"})
    with pytest.raises(openai.APIStatusError) as caught:
        spent.images.generate(model="painter", prompt="x")
    assert (caught.value.status_code, caught.value.code) == (402, "budget_exceeded")
    with pytest.raises(openai.APIStatusError) as caught:
        spent.images.edit(model="painter", prompt="x", image=b"\x89PNG")
    assert caught.value.status_code == 402
