"""A client that hangs up: the provider is let go at once, and what flowed is paid, once."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.journeys.gateway_process import (
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
    upstream_config,
    wait_for,
)
from tests.journeys.upstream import Play, Upstream, event

LET_GO_WITHIN_S = 2.0
MAX_RSS_BYTES = 400 * 1024 * 1024
INPUT_NANO, OUTPUT_NANO = 1_000, 2_000


@pytest.fixture
def weir(tmp_path: Path, up: Upstream) -> Iterator[GatewayProcess]:
    config = upstream_config(up.base_url, budget("key:*", "5"), timeouts="idle_s = 30")
    with gateway(tmp_path, config) as running:
        yield running
        assert_clean(running)
        [account] = running.admin("budgets")["budgets"]
        assert account["held_nano"] == 0


def hang_up(response: http.client.HTTPResponse) -> None:
    """Close the connection with the answer unread."""
    response.close()


def test_mid_stream_the_provider_is_let_go_and_what_flowed_is_paid(
    weir: GatewayProcess, up: Upstream
) -> None:
    up.play = Play(tokens=2_000, delay_s=0.01)
    response = weir.stream(max_tokens=2_000)
    request_id = response.headers["x-weir-request-id"]
    seen = b""
    while seen.count(b"water") < 10:
        line = response.readline()
        assert line, "the stream ended early"
        seen += line
    hang_up(response)
    wait_for(lambda: up.aborted == 1, "the upstream is let go", LET_GO_WITHIN_S)
    row = weir.ended(request_id)
    assert (row["ending"], row["status"], row["basis"]) == ("client_gone", 200, "settled")
    assert row["usage_source"] == "estimated"
    [line] = up.bill
    assert not line.whole
    assert 10 <= row["all_output_tokens"] <= line.sent_tokens < 2_000
    assert 0 < row["cost_nano"] <= row["reserved_nano"]
    assert row["output_cost_nano"] == OUTPUT_NANO * row["all_output_tokens"]
    assert weir.chat(max_tokens=5).status == 200


def test_before_the_first_token_the_provider_is_let_go(weir: GatewayProcess, up: Upstream) -> None:
    up.play = Play(tokens=50, stall_after=0)
    response = weir.stream(max_tokens=50)
    request_id = response.headers["x-weir-request-id"]
    hang_up(response)
    wait_for(lambda: up.aborted == 1, "the upstream is let go", LET_GO_WITHIN_S)
    row = weir.ended(request_id)
    assert (row["ending"], row["all_output_tokens"]) == ("client_gone", 0)
    assert 0 < row["cost_nano"] <= row["reserved_nano"]


def test_before_the_answer_begins_the_provider_is_let_go(
    weir: GatewayProcess, up: Upstream
) -> None:
    up.play = Play(tokens=50, first_delay_s=60)
    connection = weir.connect()
    body, headers = weir.chat_request("Hello", {"max_tokens": 50, "stream": True})
    connection.request("POST", "/v1/chat/completions", body, headers)
    wait_for(lambda: up.answering == 1, "the upstream is asked")
    connection.close()
    wait_for(lambda: up.aborted == 1, "the upstream is let go", LET_GO_WITHIN_S)
    wait_for(lambda: weir.admin("budgets")["budgets"][0]["held_nano"] == 0, "the hold ends")


def test_a_hundred_callers_that_hang_up_leave_nothing_behind(
    weir: GatewayProcess, up: Upstream
) -> None:
    up.play = Play(tokens=500, delay_s=0.01)
    responses = [weir.stream(max_tokens=500) for _ in range(100)]
    request_ids = {response.headers["x-weir-request-id"] for response in responses}
    for response in responses:
        response.readline()
        hang_up(response)
    wait_for(lambda: up.answering == 0, "every upstream is let go", LET_GO_WITHIN_S * 5)
    assert up.aborted == 100
    rows = [weir.ended(request_id) for request_id in sorted(request_ids)]
    assert {row["ending"] for row in rows} == {"client_gone"}
    assert len(rows) == 100
    assert all(0 < row["cost_nano"] <= row["reserved_nano"] for row in rows)


def test_a_reader_that_pauses_holds_the_provider_back_and_gets_every_byte(
    weir: GatewayProcess, up: Upstream
) -> None:
    pieces = tuple(b": %d %s\n\n" % (number, b"x" * 64_000) for number in range(1_500))
    up.play = Play(pieces=(*pieces, event({"content": " end"}), b"data: [DONE]\n\n"))
    whole = b"".join(up.play.pieces or ())
    with weir.stream(max_tokens=50) as response:
        wait_for(up.has_paused, "the upstream waits for the reader")
        assert up.sent_bytes < len(whole) // 2
        assert psutil.Process(weir.pid).memory_info().rss < MAX_RSS_BYTES
        assert response.read() == whole
    row = weir.ended(response.headers["x-weir-request-id"])
    assert (row["ending"], row["all_output_tokens"]) == ("completed", 1)


def test_a_reader_that_never_reads_is_cut_off_at_the_time_limit(
    tmp_path: Path, up: Upstream
) -> None:
    server = "request_timeout_s = 2\nlease_s = 30"
    up.play = Play(pieces=(b": %s\n\n" % (b"x" * 64_000),) * 1_500)
    config = upstream_config(up.base_url, budget("key:*", "5"), server)
    with gateway(tmp_path, config) as weir:
        response = weir.stream(max_tokens=50)
        wait_for(lambda: up.answering == 0, "the upstream is let go", 10)
        row = weir.ended(response.headers["x-weir-request-id"])
        assert (row["ending"], row["basis"]) == ("deadline_hit", "settled")
        assert weir.admin("budgets")["budgets"][0]["held_nano"] == 0
        response.close()


def test_a_caller_that_goes_while_a_whole_answer_is_made_is_still_charged(
    weir: GatewayProcess, up: Upstream
) -> None:
    """The provider finishes, and bills, an answer that is not streamed; so does the ledger."""
    up.play = Play(tokens=50, gated=True)
    connection = weir.connect()
    body, headers = weir.chat_request("Hello", {"max_tokens": 50})
    connection.request("POST", "/v1/chat/completions", body, headers)
    wait_for(lambda: up.answering == 1, "the upstream is asked")
    connection.close()
    up.gate.set()
    wait_for(lambda: len(up.bill) == 1, "the answer is made")
    wait_for(lambda: assert_clean(weir)["entries"] == 1, "the settlement")
    assert assert_clean(weir)["ledger_nano"] == INPUT_NANO * 7 + OUTPUT_NANO * 50
