"""Requests whose end can be read in two ways: refused, or read as the standard says, directly and
behind nginx. Nobody pays twice for one request, nor for one that was smuggled in.
"""

import contextlib
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.raw_clients import PATH, body, chunk
from tests.faults.upstreams import assert_at_rest
from tests.journeys.gateway_process import (
    GatewayProcess,
    budget,
    gateway,
    upstream_config,
    wait_for,
)
from tests.journeys.upstream import Play, Upstream, upstream

BODY = body(max_tokens=2)
SMUGGLED = "smuggled"
LAST = b"GET /healthz HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n"
NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream weir {{ server {weir}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://weir;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
        }}
    }}
}}
"""


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as server:
        server.play = Play(tokens=2)
        yield server


@pytest.fixture(scope="module")
def weir(up: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    text = upstream_config(up.base_url, budget("key:*", "100"))
    with gateway(tmp_path_factory.mktemp("framing"), text) as running:
        yield running
        assert running.chat().status == 200
        assert_at_rest(running)


@contextlib.contextmanager
def nginx(weir: GatewayProcess, folder: Path) -> Iterator[int]:
    """A real nginx in front of the gateway, as most put one there; gives its port."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin:/usr/bin")
    assert program is not None, "nginx is not installed; run .ci/system-deps test"
    port = free_port()
    address = weir.base_url.removeprefix("http://")
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, weir=address, port=port))
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(file)])
    try:
        wait_for(lambda: accepts(port), "nginx answers")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", params=["directly", "behind nginx"])
def port(
    weir: GatewayProcess, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    if request.param == "directly":
        yield int(weir.base_url.rpartition(":")[2])
        return
    with nginx(weir, tmp_path_factory.mktemp("nginx")) as port:
        yield port


def exchange(port: int, sent: bytes) -> bytes:
    """All that comes back before the other side hangs up; it is asked to with one more request."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(sent + LAST)
        with contextlib.suppress(ConnectionError):
            while part := client.recv(65_536):
                received += part
    return received


def head(weir: GatewayProcess, *lines: str, target: str = PATH, end: str = "\r\n") -> bytes:
    given = (f"POST {target} HTTP/1.1", "Host: weir", f"Authorization: Bearer {weir.key}", *lines)
    return end.join((*given, "", "")).encode()


def inner(weir: GatewayProcess) -> bytes:
    """What would be a second request, were it taken for one."""
    return head(weir, f"x-client-request-id: {SMUGGLED}", f"Content-Length: {len(BODY)}") + BODY


def paid_and_told(up: Upstream, port: int, sent: bytes) -> tuple[bytes, int, int]:
    """What came back, how often the provider was asked, and how many answers tell a cost."""
    before = len(up.seen)
    received = exchange(port, sent)
    return received, len(up.seen) - before, received.lower().count(b"x-weir-cost-usd:")


def test_pipelined_requests_are_answered_in_turn_and_each_paid_once(
    weir: GatewayProcess, up: Upstream, port: int
) -> None:
    one = head(weir, f"Content-Length: {len(BODY)}") + BODY
    received, paid, told = paid_and_told(up, port, one * 3)
    assert re.findall(rb"HTTP/1\.1 (\d{3}) ", received) == [b"200"] * 4
    assert paid == told == 3


def both_lengths(weir: GatewayProcess, first: str) -> bytes:
    """A body in chunks that also has a length: the length says that more belongs to it."""
    ended = chunk(BODY) + b"0\r\n\r\n"
    length = f"Content-Length: {len(ended) if first == 'true length' else 4}"
    return head(weir, length, "Transfer-Encoding: chunked") + ended + inner(weir)


UNCLEAR = {
    "length and chunks": lambda weir: both_lengths(weir, "true length"),
    "a short length and chunks": lambda weir: both_lengths(weir, "short"),
    "two lengths": lambda weir: (
        head(weir, f"Content-Length: {len(BODY)}", "Content-Length: 4") + BODY + inner(weir)
    ),
    "lengths in one line": lambda weir: (
        head(weir, f"Content-Length: {len(BODY)}, 4") + BODY + inner(weir)
    ),
    "a length with a sign": lambda weir: head(weir, f"Content-Length: +{len(BODY)}") + BODY,
    "an unknown coding": lambda weir: (
        head(weir, "Transfer-Encoding: chunked, identity") + chunk(BODY) + b"0\r\n\r\n"
    ),
    "a folded header": lambda weir: (
        head(weir, "x-folded: a\r\n b", f"Content-Length: {len(BODY)}") + BODY
    ),
    "a space before the colon": lambda weir: (
        head(weir, f"Content-Length : {len(BODY)}") + BODY + inner(weir)
    ),
    "a bare line feed": lambda weir: head(weir, f"Content-Length: {len(BODY)}", end="\n") + BODY,
    "a chunk longer than it says": lambda weir: (
        head(weir, "Transfer-Encoding: chunked") + b"5\r\n" + BODY + b"\r\n0\r\n\r\n"
    ),
    "a chunk size with a sign": lambda weir: (
        head(weir, "Transfer-Encoding: chunked") + b"+%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    ),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_a_request_with_two_ends_is_refused_or_read_as_the_standard_says(
    weir: GatewayProcess, up: Upstream, port: int, case: str
) -> None:
    received, paid, told = paid_and_told(up, port, UNCLEAR[case](weir))
    statuses = set(re.findall(rb"HTTP/1\.1 (\d{3}) ", received))
    assert statuses <= {b"200", b"400", b"501"}, received
    # Nothing is paid for that was not answered, and nothing hidden in another's body.
    assert paid == told <= 1
    assert SMUGGLED not in [line.client_id for line in up.bill]


def test_a_target_in_absolute_form_is_read_as_its_path(
    weir: GatewayProcess, up: Upstream, port: int
) -> None:
    sent = head(weir, f"Content-Length: {len(BODY)}", target=f"http://elsewhere.example{PATH}")
    received, paid, told = paid_and_told(up, port, sent + BODY)
    assert received.startswith(b"HTTP/1.1 200 "), received
    assert paid == told
