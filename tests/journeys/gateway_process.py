"""A gateway in a process of its own, as people run it: start, talk, stop, kill, start again.

    with gateway(tmp_path, CONFIG) as weir:          # starts and waits until it is ready
        answer = weir.chat("Hello", max_tokens=5)    # one request with the demo key
        row = weir.request(answer.request_id)        # the same request as DuckDB has it
        assert_clean(weir)

`weir.stop()` asks it to go, `weir.kill()` does not ask; `weir.start()` starts on the same data.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from telemetry.warehouse import Warehouse
from tests.contracts.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[2]
START_WITHIN_S = 60.0
STOP_WITHIN_S = 60.0
ANSWER_WITHIN_S = 60.0
# A test must not depend on the accounts, proxies and settings of the machine it runs on.
FOREIGN = re.compile(r"WEIR_.*|.*_API_KEY|.*_PROXY", re.IGNORECASE)

SCRIPTED_CONFIG = """\
[providers.here]
kind = "scripted"
[models.tiny]
provider = "here"
price = { input = "1", output = "2" }
context_tokens = 100_000
max_output_tokens = 4_096
aliases = ["tiny-alias"]
answers = ["text", "embeddings", "images", "speech", "transcriptions"]
[tiers.small]
models = ["tiny"]
[policies.default]
tier = "small"
"""


IN_REDIS = '[ledger]\nstore = "redis"\n'
SECRET = "0123456789abcdef0123456789abcdef"


def on_redis(server: RedisServer) -> dict[str, str]:
    """The environment of a gateway that keeps its ledger on this server, as `IN_REDIS` says."""
    return {"WEIR_REDIS_URL": server.url, "WEIR_SECRET": SECRET}


def upstream_config(base_url: str, budgets: str = "", server: str = "", timeouts: str = "") -> str:
    """One model of an upstream over HTTP: a dollar for a million tokens in, two for those out."""
    return f"""\
[server]
{server}
[providers.up]
kind = "openai_http"
base_url = "{base_url}"
[providers.up.timeouts]
{timeouts}
[models.tiny]
provider = "up"
upstream_model = "up-tiny"
price = {{ input = "1", output = "2" }}
context_tokens = 100_000
max_output_tokens = 4_096
[tiers.small]
models = ["tiny"]
[policies.default]
tier = "small"
{budgets}
"""


def budget(scope: str, limit_usd: str, window: str = "total") -> str:
    """One `[[budgets]]` table."""
    return f'[[budgets]]\nscope = "{scope}"\nwindow = "{window}"\nlimit_usd = "{limit_usd}"\n'


def wait_for(holds: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    """Poll until a condition holds; fail with `what` when it does not in time."""
    due = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < due, f"never happened: {what}"
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object; its four fields are always there."""
        error = self.json["error"]
        assert {"message", "type", "param", "code"} <= set(error), error
        assert isinstance(error, dict)
        return error

    @property
    def request_id(self) -> str:
        return self.headers["x-weir-request-id"]


class GatewayProcess:
    """One installation (configuration and data directory) and the process that serves it."""

    def __init__(
        self,
        folder: Path,
        config: str | Path,
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ):
        """`options` are those of `weir serve`, beside its port."""
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        if isinstance(config, str):
            self.config = folder / "config.toml"
            self.config.write_text(config)
        else:
            self.config = config
        self._log = folder / "gateway.log"
        self._given = dict(env or {})
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.base_url = ""
        self.key = ""
        self.admin_key = ""

    # -- its life -------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
        files = {"WEIR_CONFIG": str(self.config), "WEIR_DATA_DIR": str(self.data)}
        return {**own, **files, **self._given}

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one `weir` command on this installation."""
        return subprocess.run(
            [sys.executable, "-m", "gateway.cli", *arguments],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=START_WITHIN_S,
        )

    def launch(self, port: int = 0) -> None:
        """Start the process; `wait_ready` says when it answers."""
        assert self._process is None or self._process.poll() is not None, "it runs already"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "serve", "--port", str(port), *self._options],
                cwd=ROOT,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start(self, port: int = 0) -> None:
        """Start the process and wait until it is ready."""
        self.launch(port)
        self.wait_ready()

    def wait_ready(self) -> None:
        wait_for(self._banner_shown, "the banner", START_WITHIN_S)
        banner = self.log()
        self.base_url = _found(r"^Weir listens on (\S+)$", banner)
        self.key = _found(r"^key: (.+)$", banner)
        self.admin_key = _found(r"^admin: (\S+)$", banner)
        wait_for(lambda: self.get("/readyz").status == 200, "readiness", START_WITHIN_S)

    def _banner_shown(self) -> bool:
        assert self.running, f"the gateway ended with {self.exit_status}:\n{self.log()}"
        return "\ndashboard:" in self.log()

    def log(self) -> str:
        """Everything the process wrote since its last start."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def stop(self) -> int:
        """Ask it to go (SIGTERM) and wait until it has; its exit status."""
        self.ask_to_stop()
        return self.wait_gone()

    def ask_to_stop(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def wait_gone(self) -> int:
        assert self._process is not None
        return self._process.wait(STOP_WITHIN_S)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait_gone() == -signal.SIGKILL

    def clean_up(self) -> None:
        """End whatever is left of it, its children included."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_WITHIN_S)

    # -- talking to it --------------------------------------------------------------------------

    def connect(self) -> http.client.HTTPConnection:
        address = urlsplit(self.base_url)
        assert address.hostname is not None
        return http.client.HTTPConnection(address.hostname, address.port, timeout=ANSWER_WITHIN_S)

    def send(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        """Send one request; the answer is still to be read. Underscores in names become dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = self.connect()
        connection.request(method, path, body, named)
        return connection.getresponse()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request and its whole answer."""
        response = self.send(method, path, body, **headers)
        with response:
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())

    def get(self, path: str) -> Answer:
        """GET without a key; status 0 where nothing listens."""
        try:
            return self.ask("GET", path)
        except ConnectionError:
            return Answer(0, {}, b"")

    def chat(self, message: str = "Hello", **fields: Any) -> Answer:
        """One chat completion with the demo key; `headers` and `key` are taken out of `fields`."""
        body, headers = self.chat_request(message, fields)
        return self.ask("POST", "/v1/chat/completions", body, **headers)

    def stream(self, message: str = "Hello", **fields: Any) -> http.client.HTTPResponse:
        """The same as a stream that is still to be read."""
        body, headers = self.chat_request(message, {"stream": True, **fields})
        return self.send("POST", "/v1/chat/completions", body, **headers)

    def chat_request(self, message: str, fields: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
        headers = {
            "Authorization": f"Bearer {fields.pop('key', self.key)}",
            "Content-Type": "application/json",
            **fields.pop("headers", {}),
        }
        body = {"model": "auto", "messages": [{"role": "user", "content": message}], **fields}
        return json.dumps(body).encode(), headers

    def admin(self, *path: str) -> Any:
        """GET `/admin/PATH` as JSON; None for 404."""
        answer = self.ask(
            "GET", "/".join(("/admin", *path)), Authorization=f"Bearer {self.admin_key}"
        )
        if answer.status == 404:
            return None
        assert answer.status == 200, answer.body
        return answer.json

    def change(self, method: str, path: str, body: Any = None) -> Answer:
        """Send JSON to `/admin/PATH` with the admin key."""
        text = None if body is None else json.dumps(body).encode()
        headers = {
            "Authorization": f"Bearer {self.admin_key}",
            "Content-Type": "application/json",
        }
        return self.ask(method, f"/admin/{path}", text, **headers)

    def make_key(self, team: str) -> tuple[str, str]:
        """A new key of a team, and its id."""
        made = self.change("POST", "keys", {"name": "new", "team": team, "workflow": "none"})
        assert made.status == 201, made.body
        return made.json["key"], made.json["key_id"]

    def request(self, request_id: str) -> dict[str, Any]:
        """One request as DuckDB has it, collected first if it is still on its way."""
        row = self.admin("requests", request_id)
        assert row is not None, f"{request_id} is not on record"
        assert isinstance(row, dict)
        return row

    def ended(self, request_id: str) -> dict[str, Any]:
        """The same for a request that nobody waits for: it may still be under way."""
        wait_for(lambda: self.admin("requests", request_id) is not None, f"the end of {request_id}")
        return self.request(request_id)

    def events(self) -> list[dict[str, Any]]:
        """Every event in DuckDB; only while the gateway is down."""
        assert not self.running, "the gateway alone opens the file"
        with Warehouse.open(self.data / "weir.duckdb") as warehouse:
            return warehouse.query("SELECT * FROM event ORDER BY event_id")


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    assert match is not None, f"no {pattern!r} in:\n{text}"
    return match[1]


@contextmanager
def gateway(
    folder: Path,
    config: str | Path,
    env: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Iterator[GatewayProcess]:
    """A running gateway; nothing of it is left after the block."""
    process = GatewayProcess(folder, config, env, options)
    try:
        process.start()
        yield process
    finally:
        process.clean_up()


def assert_clean(weir: GatewayProcess) -> dict[str, Any]:
    """The running gateway's own audit finds nothing; the report."""
    report = weir.admin("audit")
    assert report["clean"], json.dumps(report, indent=1)
    assert isinstance(report, dict)
    return report


def sse_data(text: bytes) -> list[Any]:
    """The data of every event of a stream: JSON values, and `[DONE]` as text."""
    events = [part for part in text.replace(b"\r\n", b"\n").split(b"\n\n") if part.strip()]
    lines = [
        line[5:].strip() for part in events for line in part.split(b"\n") if line[:5] == b"data:"
    ]
    return [line.decode() if line == b"[DONE]" else json.loads(line) for line in lines]
