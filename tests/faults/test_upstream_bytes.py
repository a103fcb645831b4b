"""Whatever bytes a provider sends, they pass intact or end in a clean error; nothing hangs."""

import gzip
import json
from collections.abc import Iterator

import psutil
import pytest

from tests.faults.upstreams import assert_at_rest
from tests.journeys.gateway_process import (
    Answer,
    GatewayProcess,
    budget,
    gateway,
    upstream_config,
)
from tests.journeys.upstream import Play, Upstream, event, upstream, usage

MIB = 1024 * 1024
DONE = b"data: [DONE]\n\n"
TEXT = event({"content": " w\u00e4ter \u6c34"})
REPORT = event(None, usage=usage(3))


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture(scope="module")
def weir(up: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    text = upstream_config(
        up.base_url, budget("key:*", "100"), "retry_wait_ms = 0", "idle_s = 5\ntotal_s = 20"
    )
    with gateway(tmp_path_factory.mktemp("bytes"), text) as running:
        yield running
        assert_at_rest(running)


def streamed(weir: GatewayProcess, up: Upstream, *pieces: bytes) -> Answer:
    up.play = Play(pieces=pieces)
    return weir.chat(stream=True, max_tokens=50, stream_options={"include_usage": True})


def bytes_of(text: bytes) -> tuple[bytes, ...]:
    return tuple(text[number : number + 1] for number in range(len(text)))


@pytest.mark.parametrize(
    "pieces",
    [
        (TEXT, REPORT, DONE),
        bytes_of(TEXT + REPORT + DONE),
        tuple(piece.replace(b"\n", b"\r\n") for piece in (TEXT, REPORT, DONE)),
        (b": ping\n\n", TEXT, b": ping\n\n: pong\n\n", REPORT, DONE),
        (b"id: 7\nevent: x\nretry: 5\n" + TEXT, REPORT, DONE),
        (TEXT[:40], TEXT[40:] + REPORT[:3], REPORT[3:] + DONE),
        (b'data: {"choices":\ndata: []}\n\n', TEXT, REPORT, DONE),
        (b"data: no json\n\n", b"what is this\n\n", TEXT, REPORT, DONE),
    ],
    ids=["plain", "bytes", "crlf", "comments", "fields", "packets", "lines", "nonsense"],
)
def test_a_stream_passes_byte_for_byte_with_its_report(
    weir: GatewayProcess, up: Upstream, pieces: tuple[bytes, ...]
) -> None:
    answer = streamed(weir, up, *pieces)
    assert (answer.status, answer.body) == (200, b"".join(pieces))
    row = weir.ended(answer.request_id)
    assert (row["usage_source"], row["output_tokens"]) == ("provider", 3)
    assert row["ending"] == "completed"


@pytest.mark.parametrize(
    "pieces",
    [(TEXT, TEXT), (TEXT, TEXT, TEXT[:30]), (TEXT, DONE)],
    ids=["no end", "cut within an event", "no report"],
)
def test_a_stream_without_its_report_is_charged_by_what_flowed(
    weir: GatewayProcess, up: Upstream, pieces: tuple[bytes, ...]
) -> None:
    answer = streamed(weir, up, *pieces)
    assert (answer.status, answer.body) == (200, b"".join(pieces))
    row = weir.ended(answer.request_id)
    assert row["usage_source"] == "estimated"
    assert row["output_tokens"] > 0
    assert row["cost_nano"] <= row["reserved_nano"]


def test_a_broken_connection_ends_the_stream_with_an_error_event(
    weir: GatewayProcess, up: Upstream
) -> None:
    up.play = Play(tokens=20, break_after=5)
    answer = weir.chat(stream=True, max_tokens=50)
    last = answer.body.rstrip().split(b"\n\n")[-1]
    assert last.startswith(b"event: error\n")
    assert json.loads(last.partition(b"data: ")[2])["error"]["code"] == "upstream_broken"
    row = weir.ended(answer.request_id)
    assert (row["ending"], row["output_tokens"]) == ("upstream_failed", 5)


def test_an_error_among_the_events_passes_and_is_on_record(
    weir: GatewayProcess, up: Upstream
) -> None:
    wrong = b'data: {"error": {"message": "overloaded", "code": "x"}}\n\n'
    answer = streamed(weir, up, TEXT, wrong)
    assert answer.body == TEXT + wrong
    assert weir.ended(answer.request_id)["ending"] == "upstream_failed"


@pytest.mark.parametrize("ended", [True, False])
def test_an_event_of_five_megabytes_passes_or_is_cut_within_little_memory(
    weir: GatewayProcess, up: Upstream, ended: bool
) -> None:
    before = psutil.Process(weir.pid).memory_info().rss
    text = b'data: {"choices":[{"delta":{"content":"' + b"x" * 5 * MIB
    answer = streamed(weir, up, text + b'"}}]}\n\n' if ended else text)
    if ended:  # it says more than was allowed, so the client gets the reason in its place
        assert b"event: error\n" in answer.body
        assert b"budget_exceeded" in answer.body
        assert len(answer.body) < 64 * 1024
    else:
        assert answer.body == text
    row = weir.ended(answer.request_id)
    assert row["cost_nano"] <= row["reserved_nano"]
    assert psutil.Process(weir.pid).memory_info().rss - before <= 64 * MIB


BOMB = gzip.compress(bytes(50 * MIB))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"{", {}),
        (b"<html>Bad gateway</html>", {"Content-Type": "text/html"}),
        (b'{"choices": 7, "usage": "many"}', {}),
        (b'{"usage": {"prompt_tokens": -1, "completion_tokens": 1e308}}', {}),
        (b"\xff\xfe\x00", {}),
        (b'{"choices": []}', {"Content-Encoding": "gzip"}),
        (BOMB, {"Content-Encoding": "gzip"}),
    ],
    ids=["empty", "cut", "html", "shapes", "usage", "not text", "gzip lie", "gzip bomb"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_whole_answer_of_nonsense_passes_and_never_costs_more_than_was_held(
    weir: GatewayProcess, up: Upstream, body: bytes, headers: dict[str, str], stream: bool
) -> None:
    before = psutil.Process(weir.pid).memory_info().rss
    up.play = Play(status=203, body=body, headers=headers)  # whole, even where a stream was asked
    answer = weir.chat(stream=stream, max_tokens=50)
    assert (answer.status, answer.body) == (203, body)
    row = weir.ended(answer.request_id)
    assert row["usage_source"] == "estimated"
    assert 0 < row["cost_nano"] <= row["reserved_nano"]
    assert psutil.Process(weir.pid).memory_info().rss - before <= 64 * MIB


def test_headers_without_end_are_a_502(weir: GatewayProcess, up: Upstream) -> None:
    up.play = Play(3, headers={"X-Pad": "x" * 100_000})
    answer = weir.chat(max_tokens=50)
    assert (answer.status, answer.error["code"]) == (502, "upstream_broken")
    assert "header bytes" in answer.error["message"]
    row = weir.ended(answer.request_id)
    assert 0 < row["cost_nano"] <= row["reserved_nano"]


def test_headers_that_are_not_the_providers_to_say_reach_no_client(
    weir: GatewayProcess, up: Upstream
) -> None:
    up.play = Play(3, headers={"X-Weir-Cost-Usd": "0", "Set-Cookie": "a=b", "X-Fine": "yes"})
    answer = weir.chat(max_tokens=50)
    assert answer.status == 200
    assert answer.headers["x-fine"] == "yes"
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-weir-cost-usd"] != "0"
