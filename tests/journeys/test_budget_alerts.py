"""A threshold of a budget is told to a webhook once, through a kill and two restarts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.journeys.gateway_process import SCRIPTED_CONFIG, budget, gateway, wait_for

CONFIG = (
    SCRIPTED_CONFIG
    + budget("key:demo", "0.001", "month")
    + 'alert_at = [0.001, 1]\n[alerts]\nwebhook_url_env = "ALERT_URL"\n'
)


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook and what it got; it refuses the first delivery."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(json.loads(body))
            self.send_response(503 if len(got) == 1 else 204)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *values: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook?token=secret", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_crossing_is_told_once_through_a_kill_and_restarts(tmp_path: Path) -> None:
    with receiver() as (url, got), gateway(tmp_path, CONFIG, {"ALERT_URL": url}) as weir:
        assert weir.chat("Hello", max_tokens=5).status == 200
        wait_for(lambda: len(got) == 2, "the alert and its second delivery")
        assert got[0] == got[1]
        assert (got[0]["scope"], got[0]["threshold"]) == ("key:demo", 0.001)
        assert "key:demo has spent" in weir.log()
        assert "secret" not in weir.log()
        for _ in range(2):
            weir.kill()
            weir.start()
            assert weir.chat("Hello", max_tokens=5).status == 200
        assert weir.stop() == 0
        assert len(got) == 2
