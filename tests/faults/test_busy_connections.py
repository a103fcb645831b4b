"""More requests than connections: they wait in a line that ends, and nobody is blamed for it."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from routing.health import BreakerState
from tests.faults.upstreams import assert_at_rest, breaker, model, provider, tier
from tests.journeys.gateway_process import budget, gateway, wait_for
from tests.journeys.upstream import Play, upstream

CONNECTIONS, REQUESTS = 10, 200


def config(base_url: str, connect_s: float) -> str:
    limits = f"connect_s = {connect_s}, first_byte_s = 30"
    text = "[server]\nretry_wait_ms = 0\n"
    text += provider("up", base_url, limits, f"max_connections = {CONNECTIONS}")
    return text + model("tiny", provider='"up"') + tier("tiny") + budget("key:*", "50")


def test_requests_wait_for_a_connection_and_all_are_answered(tmp_path: Path) -> None:
    with upstream() as up, gateway(tmp_path, config(up.base_url, 20)) as weir:
        up.play = Play(3, first_delay_s=0.1)
        with ThreadPoolExecutor(REQUESTS) as pool:
            answers = list(pool.map(lambda _: weir.chat(max_tokens=5), range(REQUESTS)))
        assert Counter(answer.status for answer in answers) == {200: REQUESTS}
        assert up.open_connections <= CONNECTIONS
        assert_at_rest(weir)


def test_who_waits_too_long_gets_a_503_and_no_breaker_opens(tmp_path: Path) -> None:
    with upstream() as up, gateway(tmp_path, config(up.base_url, 0.5)) as weir:
        up.play = Play(3, gated=True)
        with ThreadPoolExecutor(REQUESTS) as pool:
            asking = [pool.submit(weir.chat, max_tokens=5) for _ in range(REQUESTS)]
            wait_for(lambda: up.answering == CONNECTIONS, "every connection is busy")
            wait_for(
                lambda: sum(one.done() for one in asking) == REQUESTS - CONNECTIONS,
                "the others were sent away",
                20,
            )
            assert breaker(weir) is BreakerState.CLOSED
            up.gate.set()
            answers = [one.result(20) for one in asking]
        assert Counter(answer.status for answer in answers) == {
            200: CONNECTIONS,
            503: REQUESTS - CONNECTIONS,
        }
        refused = [answer for answer in answers if answer.status == 503]
        assert {answer.error["code"] for answer in refused} == {"upstream_busy"}
        row = weir.ended(refused[0].request_id)
        assert (row["cost_nano"], row["attempt_rows"][0]["fault"]) == (0, "busy")
        assert weir.chat(max_tokens=5).status == 200
        assert len(up.seen) == CONNECTIONS + 1
        assert_at_rest(weir)
