"""What deploy/ describes, started by hand as it is written there: Redis, a collector, two gateways.

There are no containers on the machine of a test, so each process gets an address of its own on the
loopback network, and the names and paths inside containers are replaced by those. Everything else,
command lines and environments, is the files'.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, AuthenticationError, OpenAI

from gateway.auth import derive_secret
from gateway.cli import _parser
from gateway.config import load_settings
from tests.journeys.deployments import (
    DEPLOY,
    Deployment,
    Part,
    here,
    kubernetes_objects,
    read_compose,
    read_kubernetes,
    write_config,
)
from tests.journeys.gateway_process import ROOT, SECRET, GatewayProcess, wait_for
from tests.journeys.upstream import Play, Upstream, upstream

GIVEN = {"WEIR_SECRET": SECRET, "OPENAI_API_KEY": "sk-upstream"}
KUBERNETES_SECRET = {
    "secret": SECRET,
    "redis-password": "a-password",
    "openai-api-key": "sk-upstream",
}
NAMES = ("compose", "kubernetes")


def read(name: str) -> Deployment:
    return read_compose(GIVEN) if name == "compose" else read_kubernetes(KUBERNETES_SECRET)


class Running(GatewayProcess):
    """One container's process on an address of its own."""

    def __init__(self, part: Part, folder: Path, address: str, places: Mapping[str, str]) -> None:
        config = Path(places["/etc/weir/config.toml"])
        own = {**places, "0.0.0.0": address, "/var/lib/weir": str(folder / "data")}
        env = {name: here(text, own) for name, text in part.env.items()}
        super().__init__(folder, config, env)
        self._command = [here(word, own) for word in part.command]
        self.base_url = f"http://{address}:8080"
        self.admin_key = derive_secret(SECRET).admin_key

    def environment(self) -> dict[str, str]:
        """Nothing but what the file says, and where programs are."""
        return {"PATH": os.environ["PATH"], **self._given}

    def launch(self, port: int = 0) -> None:
        program, *arguments = self._command
        assert program == "weir"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", *arguments],
                cwd=ROOT,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.running, self.log()
            return self.get("/readyz").status == 200

        wait_for(ready, "readiness", 60.0)


@dataclass(slots=True)
class Cluster:
    """All processes of a deployment, running."""

    collector: Running
    gateways: list[Running]
    key: str = ""

    def client(self, number: int) -> OpenAI:
        url = f"{self.gateways[number].base_url}/v1"
        return OpenAI(base_url=url, api_key=self.key, max_retries=0)


def addresses(count: int) -> list[str]:
    """Addresses of the loopback network that no other test listens on."""
    net = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}"
    return [f"{net}.{number + 1}" for number in range(count)]


@contextmanager
def redis(part: Part, folder: Path, address: str) -> Iterator[None]:
    program = shutil.which(part.command[0])
    assert program is not None, "redis-server is not installed; run .ci/system-deps test"
    folder.mkdir()
    placed = ["--bind", address, "--port", "6379", "--dir", str(folder)]
    process = subprocess.Popen([program, *part.command[1:], *placed], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def cluster(deployment: Deployment, folder: Path, up: Upstream) -> Iterator[Cluster]:
    """Start the parts in the order in which they need each other."""
    at_redis, at_collector, *at_gateways = addresses(4)
    config = folder / "config.toml"
    places = {
        "/etc/weir/config.toml": str(config),
        "redis:6379": f"{at_redis}:6379",
        "http://collector:": f"http://{at_collector}:",
        "https://api.openai.com/v1": up.base_url,
    }
    write_config(config, deployment.config, places)
    [server], [collecting] = deployment.named("redis"), deployment.named("collector")
    answering = deployment.named("gateway")
    assert len(answering) == 2
    with ExitStack() as stack:
        stack.enter_context(redis(server, folder / "redis", at_redis))
        running = [Running(collecting, folder / "collector", at_collector, places)]
        for number, (part, address) in enumerate(zip(answering, at_gateways, strict=True)):
            running.append(Running(part, folder / f"gateway-{number}", address, places))
        for process in running:
            stack.callback(process.clean_up)
            process.launch()  # in no order: each waits for what it needs, or is started again
            if process is running[0]:
                process.wait_ready()
        for process in running:
            process.wait_ready()
        yield Cluster(running[0], running[1:])


def row_of(weir: GatewayProcess, scope: str) -> dict[str, Any]:
    return next(row for row in weir.admin("budgets")["budgets"] if row["scope"] == scope)


@pytest.mark.redis
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="one loopback address elsewhere")
@pytest.mark.parametrize("name", NAMES)
def test_what_is_deployed_keeps_one_set_of_books(name: str, tmp_path: Path) -> None:
    deployment = read(name)
    with upstream() as up, cluster(deployment, tmp_path, up) as weir:
        up.play = Play(tokens=10)
        make_key(weir)
        answers = [ask(weir.client(number % 2)) for number in range(6)]
        assert {answer.choices[0].message.content for answer in answers} == {" water" * 10}
        assert len(up.bill) == 6
        budgets_are_one(weir)
        everything_is_collected(weir, 6)
        probes_answer(deployment, weir)
        for process in (*weir.gateways, weir.collector):
            assert process.stop() == 0
        assert len(weir.collector.events()) == 7  # with the refusal
        for gateway in weir.gateways:
            assert not (gateway.data / "weir.duckdb").exists()
            assert not list(gateway.data.glob("*.sqlite3*"))
        for process in (*weir.gateways, weir.collector):
            assert SECRET not in process.log() and "sk-" not in process.log()


def make_key(weir: Cluster) -> None:
    """A key made through one gateway's address of the control plane works on both."""
    body = json.dumps({"name": "a", "team": "support", "workflow": "triage"}).encode()
    made = weir.gateways[0].ask(
        "POST",
        "/admin/keys",
        body,
        Authorization=f"Bearer {weir.collector.admin_key}",
        Content_Type="application/json",
    )
    assert made.status == 201, made.body
    weir.key = made.json["key"]

    wait_for(lambda: all(knows(weir.client(number)) for number in range(2)), "both know it", 5.0)


def knows(client: OpenAI) -> bool:
    """Whether a gateway lets the key of its client in."""
    try:
        return bool(client.models.list().data)
    except AuthenticationError:
        return False


def ask(client: OpenAI) -> Any:
    return client.chat.completions.create(
        model="gpt-5-mini", messages=[{"role": "user", "content": "Hello"}], max_tokens=10
    )


def budgets_are_one(weir: Cluster) -> None:
    """What both gateways spent counts against one limit, which binds both."""
    row = row_of(weir.gateways[1], "org:default")
    assert row["posted_nano"] > 0
    terms = json.dumps({"scope": "team:support", "window": "month", "limit_usd": "0.000000001"})
    header = f"Bearer {weir.collector.admin_key}"
    path = "/admin/budgets"
    assert weir.gateways[1].ask("PUT", path, terms.encode(), Authorization=header).status == 200
    with pytest.raises(APIStatusError, match="budget_exceeded") as refused:
        ask(weir.client(0))
    assert refused.value.status_code == 402


def everything_is_collected(weir: Cluster, requests: int) -> None:
    wait_for(lambda: weir.collector.admin("status")["collector"]["waiting_rows"] == 0, "all is in")
    report = weir.gateways[0].admin("audit")
    assert (report["clean"], report["entries"], report["events"]) == (True, requests, requests)
    login = f"key={weir.collector.admin_key}".encode()
    for process in (weir.collector, *weir.gateways):
        form = {"Content_Type": "application/x-www-form-urlencoded", "Origin": process.base_url}
        opened = process.ask("POST", "/dashboard/login", login, **form)
        assert opened.status == 303, opened.body
        cookie = opened.headers["set-cookie"].partition(";")[0]
        assert process.ask("GET", "/dashboard", Cookie=cookie).status == 200
    refused = weir.collector.chat("Hello", key=weir.key)
    assert (refused.status, refused.error["code"]) == (404, "answered_elsewhere")


def probes_answer(deployment: Deployment, weir: Cluster) -> None:
    for name, processes in (("collector", [weir.collector]), ("gateway", weir.gateways)):
        for part in deployment.named(name):
            assert part.probes
            for process in processes:
                assert {process.get(path).status for path in part.probes} == {200}


# -- what no process shows --------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_command_line_is_one_that_weir_takes(name: str) -> None:
    for part in read(name).parts:
        if part.name != "redis":
            options = _parser().parse_args(part.command[1:])
            assert (options.role, options.host, options.port) == (part.name, "0.0.0.0", "8080")


@pytest.mark.parametrize("name", NAMES)
def test_redis_keeps_what_it_was_told_and_forgets_no_account(name: str) -> None:
    [part] = read(name).named("redis")
    said = dict(zip(part.command[1::2], part.command[2::2], strict=True))
    assert said["--maxmemory-policy"] == "noeviction"
    assert (said["--appendonly"], said["--appendfsync"]) == ("yes", "everysec")


def test_both_files_mount_the_same_configuration_which_has_no_fault(tmp_path: Path) -> None:
    text = (DEPLOY / "config.toml").read_text()
    assert read("compose").config == read("kubernetes").config == text
    env = {"WEIR_REDIS_URL": "redis://redis:6379/0", **GIVEN}
    settings = load_settings(write_config(tmp_path / "config.toml", text, {}), env)
    assert (settings.ledger.store, settings.server.demo_key) == ("redis", False)
    assert settings.server.control_url == "http://collector:8080"


def test_no_secret_is_in_the_files() -> None:
    for path in sorted(DEPLOY.iterdir()):
        text = path.read_text()
        assert not re.search(r"sk-[a-z0-9]{8}|[0-9a-f]{32}", text), path
    kinds = [item["kind"] for item in kubernetes_objects()]
    assert "Secret" not in kinds


def test_pods_have_the_time_they_need_to_finish() -> None:
    pods = {
        item["metadata"]["name"]: item["spec"]
        for item in kubernetes_objects()
        if item["kind"] == "Deployment"
    }
    assert pods["collector"]["strategy"] == {"type": "Recreate"}
    assert (pods["collector"]["replicas"], pods["gateway"]["replicas"]) == (1, 2)
    for pod in pods.values():
        spec = pod["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] >= 60
        assert spec["enableServiceLinks"] is False  # WEIR_PORT would not be a port


def test_the_image_has_what_a_gateway_needs_and_no_tool() -> None:
    def pins(*names: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, str(DEPLOY / "runtime_lock.py"), *names],
            capture_output=True,
            check=True,
            text=True,
        )
        assert done.stdout.count("==") <= done.stdout.count("--hash=sha256:")
        return set(re.findall(r"^([\w.-]+)==", done.stdout, re.MULTILINE))

    runtime = pins()
    assert {"fastapi", "duckdb", "redis", "pydantic-core", "idna"} <= runtime
    assert not runtime & {"pytest", "mypy", "ruff", "playwright", "uv", "setuptools", "xllamacpp"}
    assert {"setuptools", "wheel"} <= pins("setuptools", "wheel")


def test_the_image_is_built_from_the_lock_and_holds_every_package() -> None:
    lines = (DEPLOY / "Dockerfile").read_text()
    assert lines.count("--require-hashes") == 2
    copied = set(re.findall(r"^COPY (\w+)/ \1/$", lines, re.MULTILINE))
    assert copied == {"budgets", "routing", "telemetry", "dashboards", "gateway"}
    kept = set((DEPLOY / "Dockerfile.dockerignore").read_text().split())
    assert {f"!{name}/" for name in copied} <= kept
