"""A gateway that is stopped or killed and started again, while two hundred callers go on asking."""

import os
from pathlib import Path
from random import Random

import pytest

from budgets.stores.sqlite_books import open_books
from tests.faults.mixed_load import MixedLoad, config, make_keys
from tests.faults.three_books import compare
from tests.journeys.gateway_process import GatewayProcess, assert_clean, gateway, wait_for
from tests.journeys.upstream import Upstream, upstream

ROUNDS = int(os.environ.get("WEIR_RESTART_ROUNDS", "4"))
CALLERS = 200
ANSWERS_A_LIFE = 200


def restart(weir: GatewayProcess, up: Upstream, *, gently: bool) -> None:
    """End it while callers wait for it, and start it on the same address."""
    port = int(weir.base_url.rpartition(":")[2])
    if gently:
        assert weir.stop() == 0
    else:
        weir.kill()
    wait_for(lambda: up.answering == 0, "nobody is left to answer")
    weir.start(port)


@pytest.mark.slow
@pytest.mark.timeout(5_400)
@pytest.mark.parametrize("gently", [True, False], ids=["SIGTERM", "SIGKILL"])
def test_restarts_under_two_hundred_callers_leave_all_books_in_agreement(
    tmp_path: Path, gently: bool
) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    dice = Random(seed)
    with upstream() as up, gateway(tmp_path, config(up)) as weir:
        with MixedLoad(weir, up, make_keys(weir), CALLERS, seed) as load:
            for _ in range(ROUNDS // 2):
                enough = load.answered + dice.randrange(ANSWERS_A_LIFE)
                wait_for(lambda n=enough: load.answered > n, "answers", within_s=60)
                restart(weir, up, gently=gently)
            wait_for(lambda: load.answered > enough, "answers after the last start", within_s=60)
        assert_clean(weir)
        for row in weir.admin("budgets")["budgets"]:
            assert (row["held_nano"], row["overrun_nano"]) == (0, 0), row
            assert row["posted_nano"] <= row["limit_nano"], row
        wait_for(lambda: up.answering == 0, "the upstream is at rest")
        assert weir.stop() == 0
        found = compare(
            load.calls, up.bill, weir.events(), open_books(tmp_path / "data/ledger.sqlite3")
        )
    print(ROUNDS // 2, found)
    assert found.acknowledged > ROUNDS and found.waited > 0
    # Who is asked to go finishes what it has begun, so that nothing is left to be assumed.
    assert (found.assumed == 0) == gently
