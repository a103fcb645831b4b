"""A request that one provider refuses and the next one answers: each attempt is billed once."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.journeys.gateway_process import (
    Answer,
    assert_clean,
    budget,
    gateway,
)
from tests.journeys.prompts import COUNTED_TOKENS, MESSAGE
from tests.journeys.upstream import Play, Seen, Upstream, upstream

REQUESTS = 120
AT_ONCE = 8
MAX_TOKENS = 12
INPUT_NANO, OUTPUT_NANO = 1_000, 2_000
# What the first provider does, in turns; so it never seems to be down altogether.
FIRST = ("answers", "fails", "answers", "is busy", "answers", "breaks")


def play_of_first(seen: Seen) -> Play:
    named = {"X-Request-Id": seen.headers["x-client-request-id"]}
    return {
        "answers": Play(MAX_TOKENS, COUNTED_TOKENS, headers=named),
        "fails": Play(status=500),
        "is busy": Play(status=429),
        "breaks": Play(MAX_TOKENS, COUNTED_TOKENS, headers=named, break_after=0),
    }[seen.headers["x-client-request-id"].partition("/")[0]]


def play_of_second(seen: Seen) -> Play:
    named = {"X-Request-Id": seen.headers["x-client-request-id"]}
    return Play(MAX_TOKENS, COUNTED_TOKENS, headers=named)


@pytest.fixture
def providers() -> Iterator[tuple[Upstream, Upstream]]:
    with upstream() as first, upstream() as second:
        first.choose, second.choose = play_of_first, play_of_second
        yield first, second


def config(*ups: Upstream) -> str:
    text = "[server]\nattempts = 3\n"
    for number, up in enumerate(ups, 1):
        text += f"""\
[providers.up{number}]
kind = "openai_http"
base_url = "{up.base_url}"
[models.tiny{number}]
provider = "up{number}"
upstream_model = "up-tiny"
price = {{ input = "1", output = "2" }}
context_tokens = 100_000
max_output_tokens = 4_096
"""
    names = ", ".join(f'"tiny{number}"' for number in range(1, len(ups) + 1))
    return f'{text}[tiers.small]\nmodels = [{names}]\n[policies.default]\ntier = "small"\n'


def test_every_attempt_of_a_fallback_is_billed_once_and_one_request_is_one_entry(
    tmp_path: Path, providers: tuple[Upstream, Upstream]
) -> None:
    first, second = providers
    ids = [f"{FIRST[number % len(FIRST)]}/{number // 3}/{number}" for number in range(REQUESTS)]
    text = config(first, second) + budget("key:*", "50")
    with gateway(tmp_path, text) as weir:

        def ask(client_id: str) -> Answer:
            headers = {"x-client-request-id": client_id}
            # A stream that breaks is billed as far as it came; a whole answer as far as allowed.
            kind, third, _ = client_id.split("/")
            stream = kind != "breaks" and int(third) % 2 == 0
            return weir.chat(MESSAGE, max_tokens=MAX_TOKENS, stream=stream, headers=headers)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = dict(zip(ids, pool.map(ask, ids), strict=True))
        assert weir.stop() == 0
        rows = {row["request_id"]: row for row in weir.events()}
        weir.start()
        report = assert_clean(weir)
    assert len(rows) == report["entries"] == REQUESTS == len(answers)
    bill = {line.client_id: line for up in providers for line in up.bill}
    assert set(bill) == set(ids)
    assert len(first.bill) + len(second.bill) == REQUESTS, "an attempt was billed twice"
    for client_id, answer in answers.items():
        row, line = rows[answer.request_id], bill[client_id]
        assert answer.status == (502 if row["error_code"] else 200)
        assert (row["error_code"] == "upstream_broken") == (not line.whole)
        assert row["cost_nano"] == (
            INPUT_NANO * line.prompt_tokens + OUTPUT_NANO * line.sent_tokens
        )
    assert sum(row["attempts"] for row in rows.values()) == len(first.seen) + len(second.seen)
    assert report["ledger_nano"] == sum(row["cost_nano"] for row in rows.values())
    tries = Counter(row["attempts"] for row in rows.values())
    assert tries == {1: REQUESTS * 2 // 3, 2: REQUESTS // 3}
