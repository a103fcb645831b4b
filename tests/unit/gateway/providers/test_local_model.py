"""The local model's child process: loaded aside, restarted, and never left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import psutil
import pytest

from gateway.providers.build import build_provider
from gateway.providers.config import LocalModelSection
from gateway.providers.local_model import LocalModelProvider, Patience
from gateway.providers.local_model_child import parse_arguments
from gateway.providers.local_process import BoundedLog, LocalModelSettings
from gateway.providers.port import UpstreamError, UpstreamFault
from tests.contracts.upstreams import DEADLINE_S, PATIENT, chat, eventually, fault_of, run, started

ROOT = Path(__file__).parents[4]


def smollm2(data_dir: Path, name: str = "small") -> LocalModelProvider:
    section = LocalModelSection(kind="local_model", model="smollm2", context_tokens=512)
    provider = build_provider(name, section, data_dir, os.environ)
    assert isinstance(provider, LocalModelProvider)
    return provider


@asynccontextmanager
async def loaded(data_dir: Path, name: str = "small") -> AsyncIterator[LocalModelProvider]:
    async with started(smollm2(data_dir, name)) as provider:
        assert await provider.wait_ready(60), provider.trouble
        yield provider


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_the_model_answers_under_the_name_that_prices_know(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with loaded(tmp_path) as provider:
            answer = orjson.loads(await (await provider.open(chat("Hi", max_tokens=1))).read())
            assert answer["model"] == "smollm2-135m"

    run(scenario())


def test_a_call_that_comes_while_the_model_loads_waits_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with started(smollm2(tmp_path)) as provider:
            assert not provider.ready
            reply = await provider.open(chat("Hi", max_tokens=1))
            assert reply.status == 200
            assert provider.ready

    run(scenario())


def test_a_killed_child_is_replaced_and_calls_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with loaded(tmp_path) as provider:
            streaming = await provider.open(
                chat("Write.", max_tokens=400, stream=True, ignore_eos=True)
            )
            await streaming.read_some()
            first = provider.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            assert await fault_of(streaming.read()) is UpstreamFault.BROKEN
            await eventually(lambda: not provider.ready, "the death was noticed")
            reply = await provider.open(chat("Hi", max_tokens=1))
            assert reply.status == 200
            assert provider.starts == 2
            assert provider.pid != first

    run(scenario())


def test_the_child_ends_with_its_provider(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with loaded(tmp_path) as provider:
            pid = provider.pid
        assert pid is not None
        assert gone(pid)
        assert provider.pid is None

    run(scenario())


def test_the_child_does_not_outlive_a_killed_gateway(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from tests.unit.gateway.providers.test_local_model import loaded\n"
        "async def main():\n"
        "    async with loaded(Path(sys.argv[1])) as provider:\n"
        "        print(provider.pid, flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not gone(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    run(eventually(lambda: gone(child), "the child ended"))


def child_command(parent_pid: int, model_file: str = "none.gguf") -> list[str]:
    program = ROOT / "gateway" / "providers" / "local_model_child.py"
    arguments = [f"--model-file={model_file}", "--alias=a", f"--parent-pid={parent_pid}"]
    return [sys.executable, "-P", str(program), *arguments]


def test_the_end_of_stdin_alone_ends_the_child(tmp_path: Path) -> None:
    model_file = str(vars(smollm2(tmp_path))["_settings"].model_file)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(child_command(os.getpid(), model_file), **pipes) as child:  # type: ignore[call-overload]
        child.stdin.write(b"key\n")
        child.stdin.flush()
        assert child.stdout.readline().startswith(b'{"address"')
        child.stdin.close()
        assert child.wait(DEADLINE_S) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the signal of the parent's death is Linux's")
def test_the_death_of_the_parent_alone_ends_the_child(tmp_path: Path) -> None:
    """The test holds the other end of the child's stdin, so that only the signal is left."""
    program = (
        "import os, subprocess, sys, time\n"
        "command = sys.argv[1:] + [f'--parent-pid={os.getpid()}']\n"
        "print(subprocess.Popen(command).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    model_file = str(vars(smollm2(tmp_path))["_settings"].model_file)
    command = [sys.executable, "-c", program, *child_command(0, model_file)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes) as parent:  # type: ignore[call-overload]
        parent.stdin.write(b"key\n")
        parent.stdin.flush()
        child = int(parent.stdout.readline())
        assert parent.stdout.readline().startswith(b'{"address"')
        parent.kill()
        parent.wait()
        run(eventually(lambda: gone(child), "the child ended"))


@pytest.mark.parametrize("parent_pid", [1, os.getpid()], ids=["another parent", "at its end"])
def test_a_child_whose_parent_has_gone_does_not_begin(parent_pid: int) -> None:
    """Another parent than announced, or an stdin that is at its end already."""
    ended = subprocess.run(
        child_command(parent_pid), stdin=subprocess.DEVNULL, check=False, timeout=DEADLINE_S
    )
    assert ended.returncode == 1


def test_the_childs_arguments_are_what_the_parent_gives() -> None:
    settings = LocalModelSettings(Path("/m.gguf"), "alias", 2, 1024, 3)
    options = parse_arguments([*settings.arguments(), "--parent-pid=7"])
    assert (options.model_file, options.alias, options.port) == ("/m.gguf", "alias", 0)
    assert (options.threads, options.context_tokens, options.parallel) == (2, 1024, 3)


def test_the_child_knows_no_secret_of_the_gateway(tmp_path: Path) -> None:
    section = LocalModelSection(kind="local_model", model="smollm2", context_tokens=512)

    async def scenario() -> None:
        env = os.environ | {"OPENAI_API_KEY": "sk-hush"}
        provider = build_provider("small", section, tmp_path, env)
        assert isinstance(provider, LocalModelProvider)
        async with started(provider):
            assert await provider.wait_ready(60)
            child = psutil.Process(provider.pid)
            assert "OPENAI_API_KEY" not in child.environ()
            (listening,) = [c for c in child.net_connections() if c.status == psutil.CONN_LISTEN]
            assert listening.laddr.ip == "127.0.0.1"
            _, writer = reading = await asyncio.open_connection("127.0.0.1", listening.laddr.port)
            writer.write(b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}")
            assert b" 401 " in await reading[0].readline()
            writer.close()

    run(scenario())


def test_two_providers_have_a_child_each(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with loaded(tmp_path, "one") as one, loaded(tmp_path, "two") as two:
            assert one.pid != two.pid

    run(scenario())


def test_a_file_that_is_no_model_is_tried_again_and_explained(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    patience = Patience(ready_wait_s=0.05, first_backoff_s=0.01, max_backoff_s=0.02)
    settings = LocalModelSettings(broken, "broken")
    log_file = tmp_path / "logs" / "broken.log"

    async def scenario() -> None:
        provider = LocalModelProvider("small", settings, log_file, os.environ, patience)
        async with started(provider):
            await eventually(lambda: provider.starts >= 3, "it was tried again")
            assert not provider.ready
            with pytest.raises(UpstreamError, match="not ready: ended with exit code") as caught:
                await provider.open(chat("Hi", timeouts=replace(PATIENT, total_s=1)))
            assert caught.value.kind is UpstreamFault.CONNECT
        assert b"gateway: ended with exit code" in log_file.read_bytes()

    run(scenario())


def test_a_child_that_loads_for_too_long_is_ended(tmp_path: Path) -> None:
    model_file = vars(smollm2(tmp_path))["_settings"].model_file
    settings = LocalModelSettings(model_file, "slow")
    patience = Patience(load_s=0.01, first_backoff_s=60)

    async def scenario() -> None:
        log_file = tmp_path / "x.log"
        provider = LocalModelProvider("small", settings, log_file, os.environ, patience)
        async with started(provider):
            await eventually(lambda: provider.trouble != "", "it gave up")
            assert provider.trouble == "not loaded within 0.01 s"
            assert provider.pid is None

    run(scenario())


def test_the_log_never_exceeds_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "x.log"
    log = BoundedLog(path, max_bytes=100)
    for number in range(50):
        log.append(b"line %d\n" % number)
        assert path.stat().st_size <= 100
    assert log.last_line == "line 49"
    assert path.read_bytes().endswith(b"line 49\n")
    assert sorted(file.name for file in path.parent.iterdir()) == ["x.log", "x.log.1"]
    log.append(b"x" * 1000)
    assert path.stat().st_size == 100
