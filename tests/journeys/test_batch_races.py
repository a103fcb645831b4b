"""Many batches at once for budgets that bear some of them: those are taken, none over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from budgets.money import format_usd, nano_from_usd
from tests.contracts.redis_server import RedisServer, own_server
from tests.contracts.upstreams import ScriptedServer
from tests.journeys.batching import (
    ask,
    billed_nano,
    config,
    create,
    ended,
    lines,
    provider,
    upload,
)
from tests.journeys.gateway_process import (
    IN_REDIS,
    Answer,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    on_redis,
)
from tests.journeys.racing import race

BEARS, ASKED, LINES = 3, 12, 4


@pytest.fixture
def up() -> Iterator[ScriptedServer]:
    with provider() as server:
        yield server


def ceiling_nano(up: ScriptedServer, folder: Path) -> int:
    """The most one of the batches may cost, as a refusal tells it."""
    with gateway(folder, config(up, more=budget("org", "0.000000001"))) as weir:
        refused = create(weir, upload(weir, lines(LINES)))
        assert refused.status == 402
        return nano_from_usd(refused.error["needed_usd"])


def race_for(up: ScriptedServer, weir: GatewayProcess) -> list[Answer]:
    file_id = upload(weir, lines(LINES))
    answers = race(ASKED, lambda _: create(weir, file_id, "end=never"))
    taken = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    assert len(taken) == BEARS
    assert {(one.status, one.error["code"]) for one in refused} == {(402, "budget_exceeded")}
    assert all(one.headers["x-should-retry"] == "false" for one in refused)
    for answer in taken:
        ask(weir, "POST", f"/v1/batches/{answer.json['id']}/cancel")
        ended(weir, answer)
    return taken


def assert_kept(up: ScriptedServer, weir: GatewayProcess) -> None:
    """What was spent is the bill, and no budget was passed."""
    report = assert_clean(weir)
    assert report["ledger_nano"] == billed_nano(up) > 0
    for row in weir.admin("budgets")["budgets"]:
        assert row["overrun_nano"] == 0 if "overrun_nano" in row else True
        assert row["posted_nano"] + row["held_nano"] <= row["limit_nano"]


@pytest.mark.parametrize("store", ["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def test_a_budget_takes_exactly_the_batches_that_it_bears(
    up: ScriptedServer, tmp_path: Path, store: str
) -> None:
    limit = format_usd(ceiling_nano(up, tmp_path / "probe") * BEARS)
    own = budget("team:demo", limit, "day")
    if store == "sqlite":
        with gateway(tmp_path / "own", config(up, more=own)) as weir:
            race_for(up, weir)
            assert_kept(up, weir)
        return
    with own_server() as server:
        env = on_redis(server)
        with gateway(tmp_path / "own", config(up, more=own + IN_REDIS), env) as weir:
            race_for(up, weir)
            assert_kept(up, weir)


def test_each_line_is_a_request_to_a_budget_that_counts_them(
    up: ScriptedServer, tmp_path: Path
) -> None:
    limit = f'[[budgets]]\nscope = "team:demo"\nwindow = "day"\nlimit_requests = {BEARS * LINES}\n'
    with gateway(tmp_path, config(up, more=limit)) as weir:
        race_for(up, weir)
        [row] = [one for one in weir.admin("budgets")["budgets"] if one["scope"] == "team:demo"]
        assert (row["posted_nano"], row["held_nano"]) == (BEARS * LINES, 0)


@pytest.mark.redis
def test_whichever_worker_is_asked_knows_the_batch_and_it_costs_once(
    server: RedisServer, up: ScriptedServer, tmp_path: Path
) -> None:
    many = ("--workers", "2")
    with gateway(tmp_path, config(up, poll_s=0.2, more=IN_REDIS), on_redis(server), many) as weir:
        file_id = upload(weir, lines(LINES))
        created = [create(weir, file_id, "after_ms=300") for _ in range(4)]
        for answer in created:
            ended(weir, answer)
            assert weir.ended(answer.request_id)["batch_requests"] == LINES
        assert len(ask(weir, "GET", "/v1/batches?limit=9").json["data"]) == len(created)
        assert assert_clean(weir)["entries"] == len(created)
        assert_kept(up, weir)


@pytest.mark.redis
def test_a_batch_outlives_its_gateway_on_redis_and_is_settled_by_the_next(
    server: RedisServer, up: ScriptedServer, tmp_path: Path
) -> None:
    with gateway(tmp_path, config(up, more=IN_REDIS), on_redis(server)) as weir:
        created = create(weir, upload(weir, lines(LINES)), "after_ms=1")
        weir.kill()
        weir.start()
        answer = ended(weir, created)
        row = weir.request(answer.headers["x-weir-request-id"])
        assert (row["basis"], row["cost_nano"]) == ("settled", billed_nano(up))
        assert_kept(up, weir)
