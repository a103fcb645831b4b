"""A provider that fails for a while under a steady load: left alone, probed, and back in seconds.

Callers do not wait for each other: a request is sent every hundredth of a second, whatever became
of those before.
"""

import asyncio
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from routing.health import DEFAULT_LIMITS
from tests.faults.upstreams import assert_at_rest, model, provider, tier
from tests.journeys.gateway_process import GatewayProcess, budget, gateway
from tests.journeys.upstream import Play, Seen, Upstream, upstream

STORM_S = float(os.environ.get("WEIR_STORM_S", "8"))
REQUESTS_A_SECOND = 100
OPEN_WITHIN_S = 5.0
BACK_WITHIN_S = 10.0
# Long enough for two probes to be seen side by side, should there be two.
FAILING_S = 0.05
SENT_MEANWHILE = int(REQUESTS_A_SECOND * FAILING_S) + DEFAULT_LIMITS.failures_at_once


@dataclass
class Storm:
    """What the provider does, and what was seen of it by either side."""

    failing: Play
    share: float
    weir: GatewayProcess
    up: Upstream
    ended_s: float = 0.0
    asked_s: list[float] = field(default_factory=list)
    most_at_once: int = 0
    answers: list[tuple[float, int, str]] = field(default_factory=list)
    _dice: Random = field(default_factory=lambda: Random(7))

    def play_of(self, seen: Seen) -> Play:
        now_s = time.monotonic()
        if self.ended_s and now_s >= self.ended_s:
            return Play(3)
        self.asked_s.append(now_s)
        if self.opened_s and now_s > self.opened_s + 2 * FAILING_S:
            self.most_at_once = max(self.most_at_once, self.up.answering)
        return self.failing if self._dice.random() < self.share else Play(3)

    @property
    def opened_s(self) -> float:
        """When a request was first sent away because the provider is down."""
        return next((at_s for at_s, _, code in self.answers if code == "provider_down"), 0.0)

    @property
    def back_s(self) -> float:
        """How long after its end the first request was answered; infinity for never."""
        answered_s = (at_s for at_s, status, _ in self.answers if status == 200)
        return next((at_s - self.ended_s for at_s in answered_s if at_s >= self.ended_s), inf)

    async def rage(self) -> None:
        """Send for the length of the storm and until it must be over."""
        self.up.choose = self.play_of
        begun_s = time.monotonic()
        self.ended_s = begun_s + STORM_S
        body, headers = self.weir.chat_request("Hello", {"max_tokens": 5})
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            asked: set[asyncio.Task[None]] = set()
            for number in range(int((STORM_S + BACK_WITHIN_S) * REQUESTS_A_SECOND)):
                await asyncio.sleep(begun_s + number / REQUESTS_A_SECOND - time.monotonic())
                asked.add(asyncio.create_task(self._ask(session, body, headers)))
                if self.answers and self.answers[-1][0] > self.ended_s + 1 and self._is_over():
                    break
            await asyncio.gather(*asked)

    def _is_over(self) -> bool:
        return all(status == 200 for _, status, _ in self.answers[-REQUESTS_A_SECOND:])

    async def _ask(
        self, session: aiohttp.ClientSession, body: bytes, headers: dict[str, str]
    ) -> None:
        url = f"{self.weir.base_url}/v1/chat/completions"
        async with session.post(url, data=body, headers=headers) as response:
            told: Any = await response.json()
            code = told["error"]["code"] if response.status != 200 else ""
            self.answers.append((time.monotonic(), response.status, code))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("share", "headers"),
    [(1.0, {}), (0.5, {}), (1.0, {"Retry-After": "2"})],
    ids=["all of it", "half of it", "with Retry-After"],
)
def test_a_storm_is_left_alone_and_over_soon_after_it_ended(
    tmp_path: Path, share: float, headers: dict[str, str]
) -> None:
    with upstream() as up:
        text = provider("up", up.base_url) + model("tiny", provider='"up"') + tier("tiny")
        with gateway(tmp_path, text + budget("key:*", "50")) as weir:
            failing = Play(status=503, headers=headers, first_delay_s=FAILING_S)
            storm = Storm(failing, share, weir, up)
            thread = threading.Thread(target=lambda: asyncio.run(storm.rage()))
            thread.start()
            thread.join()
            report = assert_at_rest(weir)
            assert weir.stop() == 0
            rows = weir.events()
    during = [one for one in storm.answers if one[0] < storm.ended_s]
    told = Counter(code or str(status) for _, status, code in during)
    print(
        f"{len(during)} requests in {STORM_S:g} s: {len(storm.asked_s)} attempts, {dict(told)},"
        + (f" down after {storm.opened_s - storm.asked_s[0]:.2f} s," if storm.opened_s else "")
        + f" at most {storm.most_at_once} attempts at once then,"
        f" back {storm.back_s:.2f} s after the end"
    )
    assert len(rows) == len(storm.answers)
    assert max(row["attempts"] for row in rows) <= 3
    assert len(storm.asked_s) <= 1.2 * len(during)
    assert storm.back_s <= BACK_WITHIN_S
    if share == 1.0:
        assert storm.opened_s - storm.asked_s[0] <= OPEN_WITHIN_S
        assert storm.most_at_once <= 1
        assert len(storm.asked_s) <= 1.2 * SENT_MEANWHILE + STORM_S
    else:
        assert told["200"] >= 0.4 * len(during)
    assert report["ledger_nano"] == sum(
        1_000 * line.prompt_tokens + 2_000 * line.sent_tokens for line in up.bill
    )
