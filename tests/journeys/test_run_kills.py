"""A run that a budget has killed stays dead: through a kill -9, on another gateway, and rebuilt."""

from pathlib import Path

import pytest

from tests.contracts.redis_server import RedisServer
from tests.journeys.gateway_process import (
    IN_REDIS,
    SCRIPTED_CONFIG,
    Answer,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    on_redis,
)

CONFIG = (
    SCRIPTED_CONFIG + budget("run:*", "0.01") + 'at = [{ share = 0.001, action = "kill_run" }]\n'
)


def ask(weir: GatewayProcess, run: str) -> Answer:
    """A request that costs more than the share at which its run is killed."""
    return weir.chat("#weir:chunks=20", max_tokens=20, headers={"x-weir-run": run})


def assert_killed(answer: Answer, run: str) -> None:
    assert (answer.status, answer.error["code"]) == (402, "run_killed")
    assert answer.headers["x-should-retry"] == "false"
    assert (answer.error["run"], answer.error["budget"]) == (f"demo/{run}", "run:*/total")
    assert answer.error["kill_at"] == 0.001


def test_a_killed_run_stays_dead_through_a_kill_of_the_gateway(tmp_path: Path) -> None:
    with gateway(tmp_path, CONFIG) as weir:
        assert ask(weir, "r1").status == 200
        first = ask(weir, "r1")
        assert_killed(first, "r1")
        assert "run demo/r1 was killed: budget run:*/total" in weir.log()
        weir.kill()
        weir.start()
        assert_killed(ask(weir, "r1"), "r1")
        assert ask(weir, "r2").status == 200
        told = weir.command("explain", first.request_id).stdout
        assert "run_killed" in told and "402" in told
        assert_clean(weir)
        assert weir.stop() == 0
        [kill] = [event for event in weir.events() if event["kind"] == "run_killed"]
        assert (kill["run_id"], kill["cost_nano"], kill["ending"]) == ("r1", 0, "killed")
        assert "CLEAN" in weir.command("audit").stdout


@pytest.mark.redis
def test_a_killed_run_is_dead_on_every_gateway_and_after_a_rebuild(
    server: RedisServer, tmp_path: Path
) -> None:
    env = on_redis(server)
    with (
        gateway(tmp_path / "a", CONFIG + IN_REDIS, env) as first,
        gateway(tmp_path / "b", CONFIG + IN_REDIS, env) as second,
    ):
        assert ask(first, "r1").status == 200
        assert_killed(ask(second, "r1"), "r1")
        assert_killed(ask(first, "r1"), "r1")
        assert ask(second, "r2").status == 200
        assert_clean(first)
        assert (second.stop(), first.stop()) == (0, 0)
        server.client.flushall()
        assert "entries were put back" in first.command("ledger", "rebuild").stdout
        first.start()
        assert_killed(ask(first, "r1"), "r1")
        assert ask(first, "r3").status == 200
        assert_clean(first)
