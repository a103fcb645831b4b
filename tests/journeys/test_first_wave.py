"""Two hundred first requests of somebody never seen, and the scopes that a refusal leaves alone."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from budgets.money import format_usd
from tests.journeys.gateway_process import (
    Answer,
    assert_clean,
    budget,
    gateway,
    upstream_config,
    wait_for,
)
from tests.journeys.prompts import MESSAGE
from tests.journeys.racing import persistent, race
from tests.journeys.upstream import PROMPT_TOKENS, Play, upstream

ASKED = 200
MAX_TOKENS = 20
COST_NANO = 1_000 * PROMPT_TOKENS + 2_000 * MAX_TOKENS
# Between what one request may cost and that and the true cost of one more.
LAST_NANO = 97_000
FITTING = {"run": 5, "user": 7, "tag": 8, "workflow": 10, "key": 15}


def limit_nano(requests: int) -> int:
    return (requests - 1) * COST_NANO + LAST_NANO


def test_the_first_wave_of_whoever_was_never_seen_meets_its_limit(tmp_path: Path) -> None:
    with upstream() as up:
        up.play = Play(tokens=MAX_TOKENS, first_delay_s=0.02)
        limits = {kind: format_usd(limit_nano(count)) for kind, count in FITTING.items()}
        wide = {"tag": "tag:lab/feature=*"}
        budgets = "".join(
            budget(wide.get(kind, f"{kind}:*"), limit) for kind, limit in limits.items()
        )
        with gateway(tmp_path, upstream_config(up.base_url, budgets)) as weir:
            sent = 0
            for kind, fitting in FITTING.items():
                key, key_id = weir.make_key("lab")

                def ask(number: int, kind: str = kind, key: str = key) -> Answer:
                    own = dict.fromkeys(FITTING, f"{kind}-{number}") | {kind: f"{kind}-one"}
                    headers = {f"x-weir-{name}": own[name] for name in ("run", "user", "workflow")}
                    headers["x-weir-tags"] = f"feature={own['tag']}"
                    fields = {"max_tokens": MAX_TOKENS, "stream": number % 2 == 0}
                    return persistent(weir, key=key, headers=headers, **fields)

                statuses = [answer.status for answer in race(ASKED, ask)]
                assert (statuses.count(200), statuses.count(402)) == (fitting, ASKED - fitting)
                sent += fitting
                assert (len(up.seen), len(up.bill)) == (sent, sent)
                within = {"key": key_id, "tag": "lab/feature=tag-one"}
                name = within.get(kind, f"lab/{kind}-one")
                [row] = [
                    row
                    for row in weir.admin("budgets")["budgets"]
                    if row["scope"] == f"{kind}:{name}"
                ]
                assert row["posted_nano"] == fitting * COST_NANO <= row["limit_nano"]
                assert (row["held_nano"], row["overrun_nano"]) == (0, 0)
            assert assert_clean(weir)["ledger_nano"] == sent * COST_NANO


def test_requests_that_the_tightest_of_five_budgets_refuses_leave_the_other_four_alone(
    tmp_path: Path,
) -> None:
    wide = ("org", "team:*", "key:*", "workflow:*")
    budgets = "".join(budget(scope, "100") for scope in wide)
    budgets += budget("run:*", format_usd(limit_nano(7)))
    headers = {"x-weir-run": "tight"}
    with upstream() as up:
        up.play = Play(tokens=MAX_TOKENS, gated=True)
        config = upstream_config(up.base_url, budgets, "budget_waiters = 0")
        with gateway(tmp_path, config) as weir:

            def ask() -> Answer:
                return weir.chat(MESSAGE, max_tokens=MAX_TOKENS, headers=dict(headers))

            def standing() -> set[tuple[int, int]]:
                rows = weir.admin("budgets")["budgets"]
                assert len(rows) == len(wide) + 1
                return {(row["posted_nano"], row["held_nano"]) for row in rows}

            def let_go(asked: list["Future[Answer]"]) -> None:
                # Whoever does not fit is told at once; the others are at the gate.
                wait_for(lambda: sum(map(Future.done, asked)) + up.answering == ASKED, "refusals")
                [(posted_nano, held_nano)] = standing()
                assert posted_nano == 0 and held_nano % up.answering == 0
                assert COST_NANO < held_nano // up.answering < LAST_NANO
                up.gate.set()

            with ThreadPoolExecutor(ASKED) as pool:
                asked = [pool.submit(ask) for _ in range(ASKED)]
                let_go(asked)
                answers = [answer.result() for answer in asked]
            admitted = [answer for answer in answers if answer.status == 200]
            assert {answer.status for answer in answers} == {200, 429}
            assert len(admitted) == len(up.seen) == len(up.bill) > 0
            assert standing() == {(len(admitted) * COST_NANO, 0)}
            assert assert_clean(weir)["entries"] == len(admitted)
