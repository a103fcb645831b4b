"""Finding the running gateway and asking it, over real sockets."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from gateway.admin_client import AdminClientError, RunningGateway, ask, running_gateway

ANSWERS = {
    "/admin/requests/req%2F1": (200, b'{"request_id": "req/1"}'),
    "/admin/audit": (200, b'{"clean": true}'),
    "/admin/list": (200, b"[]"),
    "/admin/text": (200, b"hello"),
    "/admin/broken": (500, b"{}"),
}


class Handler(BaseHTTPRequestHandler):
    """Answers from the table to the right key, 404 elsewhere."""

    def do_GET(self) -> None:
        status, body = ANSWERS.get(self.path, (404, b"{}"))
        if self.headers["Authorization"] != "Bearer sk-weir-admin":
            status, body = 401, b"{}"
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        """Stay quiet."""


@pytest.fixture
def gateway() -> Iterator[RunningGateway]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield RunningGateway(os.getpid(), f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


def note(folder: Path, pid: int, base_url: str) -> None:
    (folder / "gateway.json").write_text(json.dumps({"pid": pid, "base_url": base_url}))


def test_a_gateway_that_runs_is_found(tmp_path: Path, gateway: RunningGateway) -> None:
    note(tmp_path, gateway.pid, gateway.base_url)
    assert running_gateway(tmp_path) == gateway


def test_without_a_note_no_gateway_runs(tmp_path: Path) -> None:
    assert running_gateway(tmp_path) is None


def test_the_note_of_a_dead_process_is_stale(tmp_path: Path, gateway: RunningGateway) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(timeout=60)
    note(tmp_path, process.pid, gateway.base_url)
    assert running_gateway(tmp_path) is None


def test_a_process_that_does_not_listen_is_no_gateway(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    note(tmp_path, os.getpid(), f"http://127.0.0.1:{port}")
    assert running_gateway(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x", "base_url": "y"}'])
def test_a_damaged_note_is_refused_with_the_fix(tmp_path: Path, text: str) -> None:
    (tmp_path / "gateway.json").write_text(text)
    with pytest.raises(AdminClientError, match=r"gateway\.json.*delete the file"):
        running_gateway(tmp_path)


def test_an_answer_is_read_and_ids_are_escaped(gateway: RunningGateway) -> None:
    assert ask(gateway, "sk-weir-admin", "requests", "req/1") == {"request_id": "req/1"}
    assert ask(gateway, "sk-weir-admin", "audit") == {"clean": True}
    assert ask(gateway, "sk-weir-admin", "requests", "unknown") is None


def test_proxies_of_the_environment_are_not_used(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert ask(gateway, "sk-weir-admin", "audit") == {"clean": True}


@pytest.mark.parametrize(
    ("key", "path", "message"),
    [
        ("sk-weir-other", "audit", "does not know this admin key"),
        ("sk-weir-admin", "broken", "answered with status 500"),
        ("sk-weir-admin", "list", "no JSON object"),
        ("sk-weir-admin", "text", "does not answer"),
    ],
)
def test_an_answer_that_is_none_is_explained(
    gateway: RunningGateway, key: str, path: str, message: str
) -> None:
    with pytest.raises(AdminClientError, match=message):
        ask(gateway, key, path)


def test_a_gateway_that_has_gone_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    gone = RunningGateway(os.getpid(), f"http://127.0.0.1:{port}")
    with pytest.raises(AdminClientError, match=r"does not answer at http://127\.0\.0\.1"):
        ask(gone, "sk-weir-admin", "audit")
