"""A server on a real socket that answers with bytes prepared by the test, and counts the asking."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]
JSON = [(b"content-type", b"application/json")]


@dataclass
class Canned:
    """What the server says to everyone, and what it was asked."""

    base_url: str = ""
    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    asked: list[tuple[str, bytes]] = field(default_factory=list)

    def say(self, status: int, headers: list[tuple[bytes, bytes]], *parts: bytes) -> None:
        """The next answers; each part is sent by itself."""
        self.status, self.headers, self.parts = status, headers, list(parts)
        self.asked.clear()


def handler_for(canned: Canned) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # each part goes out by itself

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            canned.asked.append((self.path, body))
            self.send_response(canned.status)
            for name, content in canned.headers:
                self.send_header(name.decode(), content.decode())
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for part in canned.parts:
                if part:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                    self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that raises hangs up; whatever is wrong here, the test sees in its answer."""


@contextmanager
def canned_server() -> Iterator[Canned]:
    """A server for the length of a `with`; its words are exchanged with `say`."""
    canned = Canned()
    server = Server(("127.0.0.1", 0), handler_for(canned))
    canned.base_url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield canned
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
