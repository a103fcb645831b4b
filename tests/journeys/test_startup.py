"""How a gateway comes and goes: started, refused, asked to stop, killed, and what is left of it."""

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest

from budgets.money import nano_from_usd
from tests.journeys.gateway_process import (
    ROOT,
    SCRIPTED_CONFIG,
    GatewayProcess,
    assert_clean,
    gateway,
    upstream_config,
    wait_for,
)
from tests.journeys.upstream import Play, Upstream

GENEROUS_S = 30.0
GRACE_S = 30
LOCAL_CONFIG = """\
[providers.local]
kind = "local_model"
model = "smollm2"
[models.tiny]
provider = "local"
price = { input = "1", output = "2" }
context_tokens = 4_096
max_output_tokens = 1_024
prompt_overhead_tokens = 48
[tiers.small]
models = ["tiny"]
[policies.default]
tier = "small"
"""


def children_of(weir: GatewayProcess) -> list[psutil.Process]:
    return psutil.Process(weir.pid).children(recursive=True)


def is_gone(process: psutil.Process) -> bool:
    """Ended, or about to be reaped by whoever inherited it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_an_empty_directory_becomes_a_gateway_that_answers(tmp_path: Path) -> None:
    started_s = time.monotonic()
    with gateway(tmp_path, ROOT / "config.toml") as weir:
        ready_s = time.monotonic() - started_s
        answer = weir.chat("Say hello in one sentence.", max_tokens=8)
        answered_s = time.monotonic() - started_s
        assert answer.status == 200, answer.body
        assert answered_s < GENEROUS_S
        assert {path.name for path in weir.data.iterdir()} >= {
            "gateway.json",
            "keys.sqlite3",
            "ledger.sqlite3",
            "secret",
            "weir.duckdb",
        }
        assert (weir.data / "secret").stat().st_mode & 0o777 == 0o600
        assert_clean(weir)
    print(f"ready after {ready_s:.2f} s, first answer after {answered_s:.2f} s")


def test_both_keys_stay_the_same_and_spend_is_remembered_over_a_restart(tmp_path: Path) -> None:
    with gateway(tmp_path, SCRIPTED_CONFIG) as weir:
        answer = weir.chat("#weir:say=hello")
        keys = (weir.key, weir.admin_key)
        assert weir.stop() == 0
        weir.start()
        assert (weir.key, weir.admin_key) == keys
        row = weir.request(answer.request_id)
        assert nano_from_usd(answer.headers["x-weir-cost-usd"]) == row["cost_nano"]
        assert assert_clean(weir)["entries"] == 1


def test_without_a_demo_key_the_banner_says_how_to_make_one(tmp_path: Path) -> None:
    config = "[server]\ndemo_key = false\n" + SCRIPTED_CONFIG
    with gateway(tmp_path, config) as weir:
        assert weir.key == "(make one: weir keys create)"
        assert weir.chat(key=weir.admin_key).status == 200


def test_a_second_gateway_on_the_same_data_is_refused_in_plain_words(tmp_path: Path) -> None:
    with gateway(tmp_path, SCRIPTED_CONFIG) as weir:
        before = weir.chat().request_id
        second = weir.command("serve", "--port", "0")
        assert second.returncode == 1
        assert second.stderr == (
            f"weir: {weir.data} is in use by another gateway; stop it or set WEIR_DATA_DIR\n"
        )
        assert json.loads((weir.data / "gateway.json").read_bytes())["pid"] == weir.pid
        assert weir.chat().status == 200
        assert weir.request(before)["basis"] == "settled"


def test_a_taken_port_is_said_in_plain_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        weir = GatewayProcess(tmp_path, SCRIPTED_CONFIG)
        answer = weir.command("serve", "--port", str(port))
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"weir: cannot listen on 127.0.0.1:{port}: ")
    assert "--port" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (weir.data / "gateway.json").exists()


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"WEIR_SECRET": "short"}, "WEIR_SECRET holds 5 characters"),
        ({"WEIR_DATA_DIR": "/proc/nowhere"}, "set WEIR_DATA_DIR"),
        ({"WEIR_PORT": "http"}, "WEIR_PORT"),
        ({"WEIR_CONFIG": "/nowhere.toml"}, "/nowhere.toml"),
    ],
)
def test_a_wrong_setting_is_said_in_plain_words(
    tmp_path: Path, env: dict[str, str], told: str
) -> None:
    weir = GatewayProcess(tmp_path, SCRIPTED_CONFIG, env)
    port = () if "WEIR_PORT" in env else ("--port", "0")
    answer = weir.command("serve", *port)
    assert answer.returncode in (1, 2)
    assert told in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("file", ["ledger.sqlite3", "keys.sqlite3", "weir.duckdb"])
def test_a_file_that_cannot_be_read_is_named_in_plain_words(tmp_path: Path, file: str) -> None:
    weir = GatewayProcess(tmp_path, SCRIPTED_CONFIG)
    weir.data.mkdir()
    (weir.data / file).write_bytes(b"no database" * 1_000)
    answer = weir.command("serve", "--port", "0")
    assert answer.returncode == 1
    assert answer.stderr.startswith("weir: ")
    assert str(weir.data / file) in answer.stderr
    assert "Traceback" not in answer.stderr


def test_gateway_json_names_the_process_and_goes_with_it(tmp_path: Path) -> None:
    with gateway(tmp_path, SCRIPTED_CONFIG) as weir:
        note = weir.data / "gateway.json"
        assert json.loads(note.read_bytes()) == {"pid": weir.pid, "base_url": weir.base_url}
        assert weir.stop() == 0
        assert not note.exists()
        # One that is killed leaves its note; commands see that nobody is there, and a start renews.
        weir.start()
        weir.kill()
        assert note.exists()
        audit = weir.command("audit")
        assert (audit.returncode, "CLEAN" in audit.stdout) == (0, True), audit.stderr
        weir.start()
        assert json.loads(note.read_bytes())["pid"] == weir.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_finishes_what_is_under_way_and_closes_the_books(
    tmp_path: Path, up: Upstream, number: signal.Signals
) -> None:
    with gateway(tmp_path, upstream_config(up.base_url)) as weir:
        up.play = Play(tokens=40, delay_s=0.02)
        response = weir.stream(max_tokens=40)
        request_id = response.headers["x-weir-request-id"]
        assert b"data:" in response.readline()
        os.kill(weir.pid, number)
        wait_for(lambda: weir.get("/healthz").status == 0, "no new callers are let in")
        rest = response.read()
        assert rest.count(b"water") == 40
        assert rest.endswith(b"data: [DONE]\n\n")
        assert weir.wait_gone() == 0
        [event] = weir.events()
        assert (event["request_id"], event["ending"], event["usage_source"]) == (
            request_id,
            "completed",
            "provider",
        )
        assert not (weir.data / "gateway.json").exists()
        audit = weir.command("audit")
        assert audit.returncode == 0, audit.stdout
        assert "Traceback" not in weir.log()


def test_asked_twice_it_ends_at_once_and_the_next_start_closes_the_books(
    tmp_path: Path, up: Upstream
) -> None:
    with gateway(tmp_path, upstream_config(up.base_url)) as weir:
        up.play = Play(tokens=40, stall_after=3)
        response = weir.stream(max_tokens=40)
        response.readline()
        weir.ask_to_stop()
        wait_for(lambda: weir.get("/healthz").status == 0, "no new callers are let in")
        asked_again_s = time.monotonic()
        weir.ask_to_stop()
        weir.wait_gone()
        assert time.monotonic() - asked_again_s < GRACE_S / 2
        response.close()
        weir.start()
        report = assert_clean(weir)
        assert (report["entries"], report["ledger_nano"] > 0) == (1, True)


@pytest.mark.parametrize("how", ["asked", "killed"])
def test_no_child_outlives_the_gateway(tmp_path: Path, how: str) -> None:
    with gateway(tmp_path, LOCAL_CONFIG) as weir:
        assert weir.chat("Hello", max_tokens=2).status == 200
        children = children_of(weir)
        assert children
        if how == "asked":
            assert weir.stop() == 0
        else:
            weir.kill()
        wait_for(lambda: all(map(is_gone, children)), "the children end")


def test_a_killed_local_model_comes_back_and_answers(tmp_path: Path) -> None:
    with gateway(tmp_path, LOCAL_CONFIG) as weir:
        assert weir.chat("Hello", max_tokens=2).status == 200
        [child] = children_of(weir)
        child.kill()
        wait_for(lambda: any(one.pid != child.pid for one in children_of(weir)), "another child")
        # It is still loading: the request waits for it.
        answer = weir.chat("Hello", max_tokens=2)
        assert answer.status == 200, answer.body
        assert_clean(weir)


def test_a_local_model_that_dies_within_an_answer_is_an_error_that_is_paid(tmp_path: Path) -> None:
    with gateway(tmp_path, LOCAL_CONFIG) as weir:
        assert weir.chat("Hello", max_tokens=2).status == 200
        [child] = children_of(weir)
        response = weir.stream("Count from one to a thousand.", max_tokens=900)
        seen = response.readline()
        killer = threading.Thread(target=child.kill)
        killer.start()
        body = seen + response.read()
        killer.join()
        assert b'"code":"upstream_broken"' in body
        row = weir.ended(response.headers["x-weir-request-id"])
        assert (row["ending"], row["usage_source"]) == ("upstream_failed", "estimated")
        assert 0 < row["cost_nano"] <= row["reserved_nano"]
        wait_for(lambda: weir.chat("Hello", max_tokens=2).status == 200, "it is back")
        assert_clean(weir)
