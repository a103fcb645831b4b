"""Redis is away: hard budgets deny, soft ones give way within the allowance, and the books hold."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from budgets.money import format_usd
from tests.contracts.redis_server import RedisServer
from tests.journeys.gateway_process import (
    IN_REDIS,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    on_redis,
    upstream_config,
    wait_for,
)
from tests.journeys.upstream import PROMPT_TOKENS, Play, Upstream, upstream

pytestmark = pytest.mark.redis

TOKENS = 5
COST_NANO = 1_000 * PROMPT_TOKENS + 2_000 * TOKENS
ALLOWED_REQUESTS = 3
BUDGETS = budget("key:*", "5") + 'when_unreachable = "allow"\n' + budget("team:strict", "5")


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as server:
        server.play = Play(tokens=TOKENS)
        yield server


def config(up: Upstream, allowance_nano: int) -> str:
    ledger = f'{IN_REDIS}allowance_usd = "{format_usd(allowance_nano)}"\n'
    return upstream_config(up.base_url, BUDGETS) + ledger


def ceiling_nano(weir: GatewayProcess) -> int:
    """What one request holds."""
    row = weir.request(weir.chat("Hello", max_tokens=TOKENS).request_id)
    return int(row["reserved_nano"])


def test_while_redis_is_away_each_gateway_admits_its_allowance_and_not_a_request_more(
    server: RedisServer, up: Upstream, tmp_path: Path
) -> None:
    with gateway(tmp_path / "a", config(up, 0), on_redis(server)) as first:
        each_nano = ceiling_nano(first)
    up.bill.clear()
    text = config(up, ALLOWED_REQUESTS * each_nano + each_nano // 2)
    up.play = Play(tokens=TOKENS, gated=True)
    with (
        gateway(tmp_path / "a", text, on_redis(server)) as first,
        gateway(tmp_path / "b", text, on_redis(server)) as second,
        ThreadPoolExecutor(60) as pool,
    ):
        made = first.command("keys", "create", "--team", "strict", "--workflow", "w", "--json")
        strict = json.loads(made.stdout)["key"]
        wait_for(lambda: hears_of(first, strict), "the key is known")
        server.freeze()
        gateways = (first, second) * 30
        asked = [pool.submit(weir.chat, "Hello", max_tokens=TOKENS) for weir in gateways]
        sent = 2 * ALLOWED_REQUESTS
        wait_for(lambda: sum(one.done() for one in asked) == 60 - sent, "the others are denied")
        assert up.answering == sent
        assert first.chat("Hello", max_tokens=TOKENS, key=strict).status == 503
        ready = first.get("/readyz")
        up.gate.set()
        answers = [one.result() for one in asked]
        assert sorted(answer.status for answer in answers) == [200] * sent + [503] * (60 - sent)
        assert all(a.headers["x-should-retry"] == "true" for a in answers if a.status == 503)
        assert len(up.bill) == sent
        # Half a request is left, so this gateway is not out of the balancer.
        assert (ready.status, ready.json["ledger"]["state"]) == (200, "unreachable")
        assert ready.json["ledger"]["allowance_left_usd"] == format_usd(each_nano // 2)
        server.thaw()
        paid = [answer.request_id for answer in answers if answer.status == 200]
        costs = [first.ended(request_id)["cost_nano"] for request_id in paid]
        assert costs == [COST_NANO] * sent
        wait_for(lambda: at_rest(first), "nothing is held any more")
        assert assert_clean(first)["ledger_nano"] == sum(costs) + COST_NANO
        assert first.chat("Hello", max_tokens=TOKENS, key=strict).status == 200


def hears_of(weir: GatewayProcess, key: str) -> bool:
    with closing(weir.send("GET", "/v1/models", Authorization=f"Bearer {key}")) as answer:
        return answer.status == 200


def at_rest(weir: GatewayProcess) -> bool:
    return all(row["held_nano"] == 0 for row in weir.admin("budgets")["budgets"])


def test_a_gateway_killed_while_redis_was_away_pays_its_ceiling_when_it_is_back(
    server: RedisServer, up: Upstream, tmp_path: Path
) -> None:
    up.play = Play(tokens=TOKENS, gated=True)
    with (
        gateway(tmp_path, config(up, 1_000_000), on_redis(server)) as weir,
        ThreadPoolExecutor(1) as pool,
    ):
        server.freeze()
        asked = pool.submit(weir.chat, "Hello", max_tokens=TOKENS)
        wait_for(lambda: up.answering == 1, "the upstream is asked")
        weir.kill()
        assert asked.exception() is not None
        server.thaw()
        weir.start()
        wait_for(lambda: assert_clean(weir)["entries"] == 1, "it is on record")
        posted_nano = assert_clean(weir)["ledger_nano"]
        assert weir.stop() == 0
        [row] = weir.events()
        assert (row["kind"], row["cost_nano"]) == ("assumed", row["reserved_nano"])
        assert row["cost_nano"] == posted_nano >= COST_NANO
