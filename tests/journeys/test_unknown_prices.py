"""Nothing is free because its price is unknown: such a model is refused before anybody is asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.gateway_process import (
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    upstream_config,
)
from tests.journeys.upstream import Play, Upstream, upstream

PRICE = 'price = { input = "1", output = "2" }'


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as server:
        server.play = Play(tokens=5)
        yield server


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        ("", "models.tiny: has no price: 'up-tiny' is not on the price card"),
        ('price_from = "nobody-knows-it"', "models.tiny.price_from: 'nobody-knows-it' is not on"),
        ('price = { input = "1" }', "models.tiny.price: output is missing"),
        ('price = { input = "0", output = "0" }', "models.tiny.price: every rate is zero"),
        ('price = { input = "nan", output = "2" }', "models.tiny.price.input: "),
    ],
    ids=["none", "unknown name", "half", "zero", "no number"],
)
def test_a_gateway_with_an_unknown_price_does_not_start(
    tmp_path: Path, up: Upstream, price: str, reason: str
) -> None:
    config = upstream_config(up.base_url, budget("org", "5")).replace(PRICE, price)
    weir = GatewayProcess(tmp_path, config)
    done = weir.command("serve", "--port", "0")
    assert done.returncode != 0
    assert reason in done.stdout + done.stderr
    assert up.seen == []


def test_a_model_that_is_said_to_be_free_costs_nothing_and_is_on_record(
    tmp_path: Path, up: Upstream
) -> None:
    config = upstream_config(up.base_url, budget("org", "0.000000001"))
    with gateway(tmp_path, config.replace(PRICE, "free = true")) as weir:
        row = weir.request(weir.chat(max_tokens=5).request_id)
        assert (row["cost_nano"], row["reserved_nano"], row["price_version"]) == (0, 0, "free")
        assert row["usage_source"] == "provider"
        # Another model, of which nothing is known, is nobody's to use.
        for name in ("up-tiny", "gpt-5", "tier:large"):
            assert weir.chat(model=name).status == 404
        assert len(up.seen) == 1
        assert_clean(weir)
