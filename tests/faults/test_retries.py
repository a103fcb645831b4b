"""Retries against real servers: enough to bridge a hiccup, and never a storm on top of a storm."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from email.utils import formatdate
from itertools import count
from pathlib import Path

import pytest

from routing.health import DEFAULT_LIMITS, BreakerState
from tests.faults.upstreams import assert_at_rest, breaker, model, provider, refused, tier
from tests.journeys.gateway_process import Answer, budget, gateway, wait_for
from tests.journeys.scraping import scrape
from tests.journeys.upstream import Play, Seen, Upstream, upstream

STORM, AT_ONCE = 600, 50
OPENED_AFTER = DEFAULT_LIMITS.failures_at_once
BREAKER_PAUSE_S = 5


def one_place(up: Upstream, server: str = "") -> str:
    text = f"[server]\n{server}\n" + provider("up", up.base_url, "connect_s = 2")
    return text + model("tiny", provider='"up"') + tier("tiny") + budget("key:*", "50")


class Failing:
    """Every other request fails as told; the ones between are answered."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self._numbers = count()

    def __call__(self, seen: Seen) -> Play:
        return Play(3) if next(self._numbers) % 2 else self._play


def test_a_hiccup_is_bridged_and_the_attempts_add_up_to_the_cost(
    tmp_path: Path, up: Upstream
) -> None:
    up.choose = Failing(Play(status=503))
    with gateway(tmp_path, one_place(up)) as weir:
        answers = [weir.chat(stream=number % 2 == 0, max_tokens=5) for number in range(4)]
        assert {answer.status for answer in answers} == {200}
        for answer in answers:
            row = weir.ended(answer.request_id)
            tried = row["attempt_rows"]
            assert [one["status"] for one in tried] == [503, 200]
            assert [one["attempt"] for one in tried] == [1, 2]
            assert sum(one["cost_nano"] for one in tried) == row["cost_nano"] > 0
            assert tried[0]["cost_nano"] == 0
            assert 50 <= tried[1]["waited_ms"] <= 100
        seen = scrape(weir)
        assert seen.value("weir_retries_total", provider="up", how="again", cause="5xx") == 4
        report = assert_at_rest(weir)
    assert len(up.bill) == report["entries"] == 4
    assert report["ledger_nano"] == sum(
        1_000 * line.prompt_tokens + 2_000 * line.sent_tokens for line in up.bill
    )


@pytest.mark.parametrize("form", ["seconds", "date", "ms"])
def test_a_short_wish_is_waited_for_in_every_form(tmp_path: Path, up: Upstream, form: str) -> None:
    asked_at: list[float] = []

    def busy_once(seen: Seen) -> Play:
        asked_at.append(time.time())
        wish = {
            "seconds": {"Retry-After": "1"},
            "date": {"Retry-After": formatdate(asked_at[0] + 2, usegmt=True)},
            "ms": {"Retry-After-Ms": "300", "Retry-After": "60"},
        }[form]
        return Play(status=429, headers=wish) if len(asked_at) == 1 else Play(3)

    up.choose = busy_once
    with gateway(tmp_path, one_place(up, "retry_wait_ms = 5000")) as weir:
        assert weir.chat().status == 200
    least = {"seconds": 1.0, "date": 1.0, "ms": 0.3}[form]
    assert least <= asked_at[1] - asked_at[0] <= least + 2.5


@pytest.mark.parametrize("wish", ["30", "999999999", formatdate(4e9, usegmt=True)])
def test_a_long_wish_goes_to_the_client_and_keeps_others_away(
    tmp_path: Path, up: Upstream, wish: str
) -> None:
    up.play = Play(status=429, headers={"Retry-After": wish})
    with gateway(tmp_path, one_place(up)) as weir:
        answer = weir.chat()
        assert (answer.status, answer.headers["retry-after"]) == (429, wish)
        assert weir.chat().error["code"] == "provider_down"
        assert_at_rest(weir)
    assert len(up.seen) == 1


@pytest.mark.parametrize("wish", [{}, {"Retry-After": "soon"}, {"Retry-After": "-5"}])
def test_without_a_wish_that_can_be_read_the_pauses_are_its_own(
    tmp_path: Path, up: Upstream, wish: dict[str, str]
) -> None:
    up.play = Play(status=429, headers=wish)
    with gateway(tmp_path, one_place(up)) as weir:
        answer = weir.chat()
        assert answer.status == 429
        waits = [one["waited_ms"] for one in weir.ended(answer.request_id)["attempt_rows"]]
    assert len(up.seen) == 3
    assert waits[0] == 0
    assert 50 <= waits[1] <= 100 <= waits[2] <= 200


def test_a_storm_of_errors_is_not_made_worse(tmp_path: Path, up: Upstream) -> None:
    up.play = Play(status=503)
    with gateway(tmp_path, one_place(up)) as weir:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers: list[Answer] = list(pool.map(lambda _: weir.chat(), range(STORM)))
        codes = Counter(answer.error["code"] for answer in answers)
        assert set(codes) <= {"told", "provider_down"}
        # Requests that were under way when the breaker opened still arrive; then a few probes.
        assert len(up.seen) <= AT_ONCE + 10
        tries = [weir.ended(answer.request_id)["attempts"] for answer in answers[:AT_ONCE]]
        assert max(tries) <= 3
        print(f"{STORM} requests in a storm: {len(up.seen)} attempts")
        assert breaker(weir) in (BreakerState.OPEN, BreakerState.HALF_OPEN)
        up.play = Play(3)
        begun_s = time.monotonic()
        wait_for(lambda: weir.chat().status == 200, "it recovers", 15)
        assert time.monotonic() - begun_s <= 2 * BREAKER_PAUSE_S + 2
        report = assert_at_rest(weir)
    assert report["ledger_nano"] == sum(
        1_000 * line.prompt_tokens + 2_000 * line.sent_tokens for line in up.bill
    )


def test_without_breakers_retries_stay_below_a_fifth(tmp_path: Path, up: Upstream) -> None:
    """A third of the answers fail, so no breaker opens; the retry budget alone holds."""
    numbers = count()

    def every_third(seen: Seen) -> Play:
        return Play(status=500) if next(numbers) % 3 == 0 else Play(2)

    up.choose = every_third
    with gateway(tmp_path, one_place(up)) as weir:
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: weir.chat(), range(300)))
        assert_at_rest(weir)
        retried = scrape(weir).total("weir_retries_total")
    assert len(up.seen) == 300 + retried
    assert len(up.seen) <= 1.2 * 300
    assert Counter(answer.status for answer in answers)[200] >= 200


def test_one_request_probes_after_the_pause(tmp_path: Path, up: Upstream) -> None:
    up.play = Play(status=503, headers={"Retry-After": "2"})
    with gateway(tmp_path, one_place(up, "retry_wait_ms = 0")) as weir:
        assert weir.chat().status == 503
        up.play = Play(3, first_delay_s=1.0)
        assert breaker(weir) is BreakerState.OPEN
        time_s = time.monotonic()
        with ThreadPoolExecutor(20) as pool:
            while len(up.seen) == 1 and time.monotonic() < time_s + 10:
                answers = list(pool.map(lambda _: weir.chat(), range(20)))
        assert Counter(answer.status for answer in answers) == {200: 1, 503: 19}
    assert len(up.seen) == 2


def weighted(first: Upstream, second: Upstream, balance: str, weight: int = 1) -> str:
    text = provider("one", first.base_url, "connect_s = 1") + provider("two", second.base_url)
    deployments = f'[{{ provider = "one", weight = {weight} }}, {{ provider = "two" }}]'
    text += model("tiny", deployments=deployments, balance=f'"{balance}"')
    return text + tier("tiny") + budget("key:*", "50")


def test_deployments_share_by_weight_and_take_over_from_each_other(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first, second = stack.enter_context(upstream()), stack.enter_context(upstream())
        text = weighted(first, second, "weighted", 3)
        weir = stack.enter_context(gateway(tmp_path, text))
        for _ in range(20):
            assert weir.chat(model="tiny").status == 200
        assert (len(first.seen), len(second.seen)) == (15, 5)
        first.play = Play(status=500)
        for _ in range(2 * OPENED_AFTER):
            assert weir.chat(model="tiny").status == 200
        assert len(second.seen) == 5 + 2 * OPENED_AFTER
        assert DEFAULT_LIMITS.failures_to_open <= len(first.seen) - 15 <= OPENED_AFTER
        assert_at_rest(weir)


def test_the_deployment_that_answers_sooner_gets_the_requests(tmp_path: Path) -> None:
    with upstream() as first, upstream() as second:
        first.play, second.play = Play(2, first_delay_s=0.2), Play(2, first_delay_s=0.01)
        with gateway(tmp_path, weighted(first, second, "latency")) as weir:
            for _ in range(30):
                assert weir.chat(model="tiny").status == 200
        assert 1 <= len(first.seen) <= 3
        assert len(first.seen) + len(second.seen) == 30


def test_a_last_resort_answers_for_providers_that_are_gone(tmp_path: Path, up: Upstream) -> None:
    with refused() as gone:
        text = provider("gone", gone) + provider("up", up.base_url)
        text += model("far", provider='"gone"') + model("near", provider='"up"')
        text += tier("far", policy='last_resort = "near"') + budget("key:*", "50")
        with gateway(tmp_path, text) as weir:
            # In the end its breaker is open, and it is decided for at once.
            for _ in range(OPENED_AFTER + 1):
                answer = weir.chat(max_tokens=5)
                assert (answer.status, answer.headers["x-weir-model"]) == (200, "near")
            assert "last resort near" in answer.headers["x-weir-reason"]
            assert weir.chat(model="far").status in (502, 503)
            assert_at_rest(weir)
