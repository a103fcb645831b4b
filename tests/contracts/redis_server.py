"""A real redis-server for tests, on a socket of its own, started once for all of them."""

import atexit
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

STARTED_WITHIN_S = 20.0


class RedisServer:
    """A server process and the directory it works in; it can be killed and started again."""

    def __init__(self, *options: str) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is not installed; run .ci/system-deps test"
        self._program = program
        # Not under pytest's own directory: the path of a socket may have about 100 characters.
        self.directory = Path(tempfile.mkdtemp(prefix="weir-redis-"))
        self._socket = self.directory / "redis.sock"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"
        self.client = Redis(unix_socket_path=str(self._socket))
        self.start()

    def start(self) -> None:
        """Start it with what it finds in its directory, and wait until it answers."""
        self._socket.unlink(missing_ok=True)
        command = [self._program, "--port", "0", "--unixsocket", str(self._socket), "--save", ""]
        command += ["--dir", str(self.directory), "--logfile", "redis.log", *self._options]
        self._process = subprocess.Popen(command)
        give_up_s = time.monotonic() + STARTED_WITHIN_S
        while not self._answers():
            assert self._process.poll() is None, (self.directory / "redis.log").read_text()
            assert time.monotonic() < give_up_s, "redis-server does not answer"
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisError:
            return False

    def freeze(self) -> None:
        """Stop it where it is: the kernel still takes what is sent to it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it and leave nothing behind."""
        self.client.close()
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


@cache
def shared_server() -> RedisServer:
    """The one that tests share which take no server down; each uses an organisation of its own."""
    server = RedisServer()
    atexit.register(server.close)
    return server


@contextmanager
def own_server(*options: str) -> Iterator[RedisServer]:
    """A server for one test, to do with as it likes."""
    server = RedisServer(*options)
    try:
        yield server
    finally:
        server.close()
