"""A proxy that lets nobody out, and writes down who wanted to go where."""

import socket
import threading
from types import TracebackType
from typing import Self


class Outside:
    """Stands where a client looks for the world beyond this machine; `asked_for` has its wishes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.asked_for: list[str] = []

    def environment(self) -> dict[str, str]:
        """What sends a client here, except for this machine itself."""
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        names = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
        here = "127.0.0.1,localhost"
        return {**dict.fromkeys(names, url), "NO_PROXY": here, "no_proxy": here}

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(5)
                head = connection.recv(4_096)
                if head == b"stop":
                    return
                self.asked_for.append(head.partition(b"\r\n")[0].decode("latin-1"))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with socket.create_connection(self._listener.getsockname()) as last:
            last.sendall(b"stop")
        self._thread.join()
        self._listener.close()
