"""What clients may send without harm to others: sizes, slowness, and numbers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.faults.raw_clients import (
    body,
    chunk,
    connect,
    drip,
    head,
    send_until_refused,
    status_of,
)
from tests.faults.upstreams import assert_at_rest
from tests.journeys.gateway_process import (
    GatewayProcess,
    budget,
    gateway,
    upstream_config,
    wait_for,
)
from tests.journeys.scraping import scrape
from tests.journeys.upstream import Play, Upstream, upstream

MIB = 1024 * 1024
BODY_LIMIT = 1 * MIB


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture(scope="module")
def weir(up: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    server = (
        f"max_body_bytes = {BODY_LIMIT}\nbody_timeout_s = 1\n"
        "max_concurrent_requests = 40\nmax_new_ids_per_hour = 100000"
    )
    text = upstream_config(up.base_url, budget("key:*", "100"), server)
    with gateway(tmp_path_factory.mktemp("hostile"), text) as running:
        assert running.chat().status == 200
        yield running
        up.play = Play(2)
        assert running.chat().status == 200
        assert_at_rest(running)


def rss_bytes(weir: GatewayProcess) -> int:
    return int(psutil.Process(weir.pid).memory_info().rss)


def connections(weir: GatewayProcess) -> int:
    return len(psutil.Process(weir.pid).net_connections("tcp"))


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_of_a_hundred_megabytes_is_refused_within_little_memory(
    weir: GatewayProcess, framing: str
) -> None:
    before = rss_bytes(weir)
    piece = b"x" * MIB
    with connect(weir) as client:
        if framing == "length":
            client.sendall(head(weir, f"Content-Length: {100 * MIB}"))
            send_until_refused(client, piece, 100)
        else:
            client.sendall(head(weir, "Transfer-Encoding: chunked"))
            send_until_refused(client, chunk(piece), 100)
        assert status_of(client) in (413, 0)  # an unread rest may take the answer with it
    assert rss_bytes(weir) - before <= 2 * BODY_LIMIT + 16 * MIB


def test_a_body_that_is_not_too_far_beyond_the_limit_gets_its_413(weir: GatewayProcess) -> None:
    answer = weir.chat("x" * (3 * BODY_LIMIT))
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("begun", [b"", b"{"])
def test_a_body_that_drips_is_a_408_and_its_place_is_free(
    weir: GatewayProcess, begun: bytes
) -> None:
    text = body()
    with ThreadPoolExecutor(40) as pool:  # as many as the gateway takes at once
        clients = [connect(weir) for _ in range(40)]
        for client in clients:
            client.sendall(head(weir, f"Content-Length: {len(text)}") + begun)
        wait_for(lambda: weir.chat().status == 503, "every place is taken", 5)
        rest = text[len(begun) :] if begun else b""
        took = list(pool.map(lambda one: drip(one, rest, 0.05, 5), clients))
        statuses = {status_of(client) for client in clients}
        for client in clients:
            client.close()
    assert statuses == {408}
    assert max(took) <= 4
    wait_for(lambda: weir.chat().status == 200, "there is room", 5)


def test_a_head_of_many_headers_is_refused_or_answered_within_little_memory(
    weir: GatewayProcess,
) -> None:
    before = rss_bytes(weir)
    text = body()
    for lines in (["X-Pad: " + "x" * 65_536], [f"X-Pad-{n}: x" for n in range(10_000)]):
        with connect(weir) as client:
            client.sendall(head(weir, *lines, f"Content-Length: {len(text)}") + text)
            assert status_of(client) in (200, 400, 431)
    assert rss_bytes(weir) - before <= 32 * MIB


def test_a_head_without_end_is_cut_before_it_fills_the_memory(weir: GatewayProcess) -> None:
    before = rss_bytes(weir)
    with connect(weir) as client:
        client.sendall(head(weir)[:-2])
        taken = send_until_refused(client, b"X-Pad: " + b"x" * 65_536 + b"\r\n", 1_600)
        assert status_of(client) in (431, 0)
    assert taken < 1_600, "a hundred megabytes of head were taken"
    assert rss_bytes(weir) - before <= 64 * MIB


def test_slow_heads_keep_nobody_out(weir: GatewayProcess) -> None:
    slow = [connect(weir) for _ in range(200)]
    try:
        for client in slow:
            client.sendall(head(weir)[:40])
        assert weir.chat().status == 200
        assert scrape(weir).value("weir_requests_in_flight") == 0
    finally:
        for client in slow:
            client.close()
    wait_for(lambda: connections(weir) < 100, "they are gone")
