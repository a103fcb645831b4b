"""Usage reports of every shape: believed exactly, or not at all; never negative, never a crash."""

from collections.abc import Iterator

import pytest

from tests.journeys.gateway_process import (
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    upstream_config,
)
from tests.journeys.upstream import Play, Upstream, event, upstream

INPUT_NANO, OUTPUT_NANO = 1_000, 2_000
MAX_TOKENS = 30
WORDS = 12
IMPOSSIBLE = {
    "not a number": '{"prompt_tokens": NaN, "completion_tokens": 3}',
    "infinite": '{"prompt_tokens": 1e400, "completion_tokens": 3}',
    "a huge float": '{"prompt_tokens": 7, "completion_tokens": 1e308}',
    "2 to the 63": '{"prompt_tokens": 9223372036854775808, "completion_tokens": 3}',
    "2 to the 64": '{"prompt_tokens": 7, "completion_tokens": 18446744073709551616}',
    "above a billion": '{"prompt_tokens": 1000000001, "completion_tokens": 3}',
    "negative": '{"prompt_tokens": 7, "completion_tokens": -3}',
    "minus nothing": '{"prompt_tokens": -0.0, "completion_tokens": 3}',
    "a fraction": '{"prompt_tokens": 7.5, "completion_tokens": 3}',
    "a text": '{"prompt_tokens": "7", "completion_tokens": "3"}',
    "a truth": '{"prompt_tokens": true, "completion_tokens": 3}',
    "half of it": '{"completion_tokens": 3}',
    "a list": "[7, 3]",
    "a number": "10",
    "more cached than there was": '{"prompt_tokens": 7, "completion_tokens": 3, '
    '"prompt_tokens_details": {"cached_tokens": 8}}',
    "nothing": "null",
}
BELIEVED = {
    "as counted": (7, WORDS),
    "less than counted": (7, 2),
    "nothing generated": (7, 0),
    "more than counted": (7, MAX_TOKENS),
    "more than was held": (10_000, 500),
}


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture(scope="module")
def weir(tmp_path_factory: pytest.TempPathFactory, up: Upstream) -> Iterator[GatewayProcess]:
    config = upstream_config(up.base_url, budget("key:*", "50"))
    with gateway(tmp_path_factory.mktemp("weir"), config) as running:
        yield running
        assert_clean(running)
        [account] = running.admin("budgets")["budgets"]
        assert account["held_nano"] == 0


def play(report: str, *, stream: bool) -> Play:
    """An answer of twelve words with this text for its report."""
    if stream:
        words = [event({"content": " water"})] * WORDS
        last = event(None, usage="REPORT").replace(b'"REPORT"', report.encode())
        return Play(pieces=(*words, last, b"data: [DONE]\n\n"))
    answer = (
        '{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": '
        '[{"index": 0, "message": {"role": "assistant", "content": "'
        + " water" * WORDS
        + '"}, "finish_reason": "stop"}], "usage": '
        + report
        + "}"
    )
    return Play(body=answer.encode())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("report", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_report_that_cannot_be_right_is_replaced_by_a_count_and_marked(
    weir: GatewayProcess, up: Upstream, report: str, stream: bool
) -> None:
    up.play = play(report, stream=stream)
    answer = weir.chat(stream=stream, max_tokens=MAX_TOKENS)
    row = weir.ended(answer.request_id)
    assert (answer.status, row["ending"]) == (200, "completed")
    assert answer.body.count(b"water") == WORDS
    assert row["usage_source"] == "estimated"
    assert WORDS <= row["all_output_tokens"] <= MAX_TOKENS
    assert 0 < row["cost_nano"] <= row["reserved_nano"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("counts", BELIEVED.values(), ids=BELIEVED)
def test_a_report_that_can_be_right_is_what_is_posted(
    weir: GatewayProcess, up: Upstream, counts: tuple[int, int], stream: bool
) -> None:
    prompt, output = counts
    report = f'{{"prompt_tokens": {prompt}, "completion_tokens": {output}}}'
    up.play = play(report, stream=stream)
    answer = weir.chat(stream=stream, max_tokens=MAX_TOKENS)
    row = weir.ended(answer.request_id)
    assert (answer.status, row["usage_source"]) == (200, "provider")
    assert row["cost_nano"] == INPUT_NANO * prompt + OUTPUT_NANO * output
    # What was billed beyond what was held is posted all the same, and counted.
    assert row["overrun_nano"] == max(0, row["cost_nano"] - row["reserved_nano"])
