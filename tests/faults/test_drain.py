"""Asked to stop under load, a gateway loses no stream, lets nobody in and holds nothing."""

import contextlib
import http.client
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.journeys.gateway_process import (
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    sse_data,
    upstream_config,
    wait_for,
)
from tests.journeys.upstream import Play, Upstream

STREAMS = 200
TOKENS = 30
UNREADY_WITHIN_S = 1.0


def readiness(weir: GatewayProcess) -> int:
    """The status of `/readyz`; 0 where nobody answers."""
    with contextlib.suppress(ConnectionError, TimeoutError, http.client.HTTPException):
        return weir.get("/readyz").status
    return 0


def test_two_hundred_streams_all_finish(tmp_path: Path, up: Upstream) -> None:
    up.play = Play(tokens=TOKENS, delay_s=0.1)
    text = upstream_config(up.base_url, budget("key:*", "50"))
    with gateway(tmp_path, text) as weir:

        def read(number: int) -> tuple[list[object], str]:
            response = weir.stream(f"stream {number}", max_tokens=TOKENS)
            begun.release()
            with response:
                return sse_data(response.read()), response.headers["x-weir-request-id"]

        begun = threading.Semaphore(0)
        with ThreadPoolExecutor(STREAMS) as pool:
            reading = [pool.submit(read, number) for number in range(STREAMS)]
            for _ in range(STREAMS):
                assert begun.acquire(timeout=60)
            weir.ask_to_stop()
            asked_s = time.monotonic()
            wait_for(lambda: readiness(weir) != 200, "it is not ready", UNREADY_WITHIN_S)
            assert time.monotonic() - asked_s <= UNREADY_WITHIN_S
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                weir.chat("one more")
            answers = [one.result(60) for one in reading]
        assert weir.wait_gone() == 0
        assert all(events[-1] == "[DONE]" for events, _ in answers), "a stream was cut"
        rows = {row["request_id"]: row for row in weir.events()}
        assert {rows[request_id]["ending"] for _, request_id in answers} == {"completed"}
        assert sum(row["cost_nano"] for row in rows.values()) == sum(
            1_000 * line.prompt_tokens + 2_000 * line.sent_tokens for line in up.bill
        )
        weir.start()
        assert weir.admin("status")["ready"]
        report = assert_clean(weir)
        assert report["entries"] == STREAMS


def test_streams_that_do_not_end_in_time_are_ended_with_an_error_and_paid(
    tmp_path: Path, up: Upstream
) -> None:
    up.play = Play(tokens=4_000, delay_s=0.05)
    text = upstream_config(up.base_url, budget("key:*", "50"), server="drain_s = 1")
    with gateway(tmp_path, text) as weir:
        with ThreadPoolExecutor(20) as pool:
            responses = [weir.stream(f"stream {number}") for number in range(20)]
            reading = [pool.submit(response.read) for response in responses]
            wait_for(lambda: up.sent_bytes > 20 * 500, "all of them flow")
            weir.ask_to_stop()
            bodies = [one.result(30) for one in reading]
        assert weir.wait_gone() == 0
        endings = Counter(row["ending"] for row in weir.events())
        assert endings == {"deadline_hit": 20}
        for body in bodies:
            assert b"event: error\n" in body, body[-200:]
            assert b'"code":"gateway_stopping"' in body
        for row in weir.events():
            assert 0 < row["cost_nano"] <= row["reserved_nano"]
            assert row["usage_source"] == "estimated"
        weir.start()
        assert_clean(weir)


def test_a_retry_that_waits_is_over_when_the_gateway_stops(tmp_path: Path, up: Upstream) -> None:
    up.play = Play(status=429, headers={"Retry-After": "20"})
    text = upstream_config(up.base_url, server="retry_wait_ms = 60000\ndrain_s = 1")
    with gateway(tmp_path, text) as weir, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(weir.chat)
        wait_for(lambda: len(up.seen) == 1, "it was asked")
        weir.ask_to_stop()
        begun_s = time.monotonic()
        assert weir.wait_gone() == 0
        assert time.monotonic() - begun_s < 10
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            asking.result(10)
        [row] = weir.events()
        assert row["cost_nano"] == 0
