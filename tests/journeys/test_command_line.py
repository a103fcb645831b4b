"""A gateway in its own process and the commands that go with it, while it runs and after."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.gateway_process import wait_for

CONFIG = """\
[providers.here]
kind = "scripted"
[models.tiny]
provider = "here"
price = { input = "1", output = "2" }
context_tokens = 4096
max_output_tokens = 1024
[tiers.small]
models = ["tiny"]
[policies.default]
tier = "small"
[[budgets]]
scope = "key:*"
window = "month"
limit_usd = "5"
"""
DEADLINE_S = 60.0
SLACK_S = 2.0


class Installation:
    """A configuration, a data directory, and a gateway that may run on them."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.toml"
        self.config.write_text(CONFIG)
        self.data = folder / "data"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.process: subprocess.Popen[str] | None = None

    def command(self, *arguments: str) -> list[str]:
        files = ("--config", str(self.config), "--data-dir", str(self.data))
        return [sys.executable, "-m", "gateway.cli", *arguments, *files]

    def weir(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, check=False, timeout=120
        )

    def start(self) -> None:
        command = self.command("serve", "--port", str(self.port))
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        wait_for((self.data / "gateway.json").exists, "gateway.json is written", DEADLINE_S)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode

    def chat(self, key: str) -> tuple[int, str]:
        """Status of one request and the id Weir gave it."""
        body = {"model": "auto", "messages": [{"role": "user", "content": "Say hello"}]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=DEADLINE_S) as answer:
                return answer.status, answer.headers["x-weir-request-id"]
        except urllib.error.HTTPError as error:
            return error.code, ""


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    if installation.process is not None and installation.process.poll() is None:
        installation.process.kill()
        installation.process.communicate(timeout=DEADLINE_S)


def test_commands_work_on_a_running_gateway_and_on_its_files(installation: Installation) -> None:
    installation.start()
    made = installation.weir(
        "keys", "create", "--name", "Ana", "--team", "lab", "--workflow", "w", "--json"
    )
    key = json.loads(made.stdout)
    wait_for(lambda: installation.chat(key["key"])[0] == 200, "the key is known")
    status, request_id = installation.chat(key["key"])
    assert status == 200
    explained = installation.weir("explain", request_id)
    assert explained.returncode == 0, explained.stderr
    assert f"key {key['key_id']}, team lab" in explained.stdout
    audited = installation.weir("audit")
    assert (audited.returncode, "CLEAN" in audited.stdout) == (0, True), audited.stderr
    assert installation.weir("explain", "req_unknown").returncode == 1
    assert installation.weir("keys", "revoke", key["key_id"]).returncode == 0
    revoked_s = time.monotonic()
    wait_for(lambda: installation.chat(key["key"])[0] == 401, "the key is revoked")
    assert time.monotonic() - revoked_s < 1.0 + SLACK_S
    assert installation.stop() == 0
    offline = installation.weir("explain", request_id)
    assert offline.stdout == explained.stdout
    report = json.loads(installation.weir("audit", "--json").stdout)
    assert report["clean"] is True
    assert report["ledger_nano"] == report["warehouse_nano"] > 0
