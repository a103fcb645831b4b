"""The `weir` command in processes of its own: what it prints and how it exits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.auth import load_secret
from gateway.cli import main
from gateway.key_registry import KeyRegistry
from gateway.registries.in_sqlite import KEYS_FILE, SqliteKeys
from tests.unit.gateway.desks import run

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
[policies.cheap]
tier = "small"
"""
KEY = ("--name", "Ana", "--team", "research", "--workflow", "papers")


class Weir:
    """Runs the command on one configuration and one data directory."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.toml"
        self.config.write_text(CONFIG)
        self.data = folder / "data"

    def __call__(self, *arguments: str, files: bool = True) -> subprocess.CompletedProcess[str]:
        where = ("--config", str(self.config), "--data-dir", str(self.data)) if files else ()
        env = {name: text for name, text in os.environ.items() if not name.startswith("WEIR_")}
        return subprocess.run(
            [sys.executable, "-m", "gateway.cli", *arguments, *where],
            capture_output=True,
            text=True,
            env=env,
            check=False,
            timeout=120,
        )


@pytest.fixture
def weir(tmp_path: Path) -> Weir:
    return Weir(tmp_path)


def test_a_sound_configuration_passes(weir: Weir) -> None:
    done = weir("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{weir.config}: ok, 1 models in 1 tiers\n"
    assert not weir.data.exists()


def test_a_provider_without_its_optional_key_is_mentioned(weir: Weir) -> None:
    remote = '[providers.far]\nkind = "openai_http"\nbase_url = "https://far.example/v1"\n'
    weir.config.write_text(f'{CONFIG}{remote}api_key_env = "FAR_KEY"\noptional = true\n')
    assert "provider far is left out: FAR_KEY is not set" in weir("check").stdout


def test_faults_are_all_printed_and_counted(weir: Weir) -> None:
    weir.config.write_text(CONFIG.replace("scripted", "scriptd").replace('["tiny"]', '["x"]'))
    failed = weir("check")
    assert (failed.returncode, failed.stdout) == (1, "")
    lines = failed.stderr.splitlines()
    assert lines[0].startswith(f"{weir.config}:2: providers.here.kind: ")
    assert lines[1].startswith(f"{weir.config}:9: tiers.small.models[0]: ")
    assert lines[2] == f"weir: {weir.config}: 2 faults"


def test_check_finds_a_model_file_that_is_not_there(weir: Weir) -> None:
    local = 'kind = "local_model"\nmodel_path = "/nowhere/model.gguf"'
    weir.config.write_text(CONFIG.replace('kind = "scripted"', local))
    failed = weir("check")
    assert failed.returncode == 1
    assert "providers.here.model_path: no file at /nowhere/model.gguf" in failed.stderr


def test_other_commands_refuse_a_faulty_configuration(weir: Weir) -> None:
    weir.config.write_text("[server]\nport = 'x'\n")
    for command in (("serve",), ("keys", "list"), ("audit",), ("explain", "req_1")):
        failed = weir(*command)
        assert failed.returncode == 2
        assert "server.port" in failed.stderr
        assert "Traceback" not in failed.stderr


def test_a_key_is_made_listed_and_revoked(weir: Weir) -> None:
    """`gateway.cli_keys.add_keys`."""
    made = weir("keys", "create", *KEY, "--policy", "cheap")
    assert made.returncode == 0
    key, _, rest = made.stdout.partition("\n")
    key_id = rest.split()[1].rstrip(";")
    listed = weir("keys", "list", "--json")
    (record,) = json.loads(listed.stdout)
    assert (record["key_id"], record["policy"], record["revoked_ms"]) == (key_id, "cheap", None)
    assert key not in listed.stdout
    registry = KeyRegistry(
        SqliteKeys(weir.data / KEYS_FILE), load_secret(weir.data, {}), org="default"
    )
    assert run(registry.refresh())
    assert registry.find(key.encode()) is not None
    run(registry.aclose())
    assert weir("keys", "revoke", key_id).returncode == 0
    assert "Ana" in weir("keys", "list").stdout
    assert json.loads(weir("keys", "list", "--json").stdout)[0]["revoked_ms"] is not None
    unknown = weir("keys", "revoke", "k0")
    assert (unknown.returncode, "no key 'k0'" in unknown.stderr) == (1, True)


def test_a_key_can_be_had_as_json(weir: Weir) -> None:
    made = json.loads(weir("keys", "create", *KEY, "--json", "--role", "admin").stdout)
    assert made["key"].startswith("sk-weir-")
    assert (made["role"], made["team"]) == ("admin", "research")
    unnamed = weir("keys", "create", "--team", "lab", "--workflow", "w", "--json")
    assert json.loads(unnamed.stdout)["name"] == "lab/w"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*KEY, "--policy", "cheep"), "there is no policy 'cheep' (did you mean 'cheap'?)"),
        (("--name", "A", "--team", "a/b", "--workflow", "w"), "--team: expected"),
        (("--name", "", "--team", "a", "--workflow", "w"), "--name: expected"),
    ],
)
def test_a_key_that_cannot_be_made_is_refused(
    weir: Weir, arguments: tuple[str, ...], message: str
) -> None:
    failed = weir("keys", "create", *arguments)
    assert failed.returncode == 2
    assert message in failed.stderr


def test_a_secret_that_others_can_read_stops_the_command(weir: Weir) -> None:
    assert weir("keys", "create", *KEY).returncode == 0
    (weir.data / "secret").chmod(0o644)
    failed = weir("keys", "list")
    assert (failed.returncode, "chmod 600" in failed.stderr) == (2, True)


def test_an_audit_without_books_cannot_be_done(weir: Weir) -> None:
    failed = weir("audit")
    assert failed.returncode == 2
    assert "no gateway runs, and its files cannot be read" in failed.stderr


def test_prices_are_shown_and_the_card_is_checked(weir: Weir, tmp_path: Path) -> None:
    shown = weir("prices", "show", "gpt-5", files=False)
    assert (shown.returncode, "1.25" in shown.stdout) == (0, True)
    unknown = weir("prices", "show", "gtp-5", files=False)
    assert (unknown.returncode, "did you mean 'gpt-5'" in unknown.stderr) == (1, True)
    assert weir("prices", "import", "--check", files=False).returncode == 0
    other = tmp_path / "map.json"
    other.write_text("{}")
    assert weir("prices", "import", "--check", "--map", str(other), files=False).returncode == 1
    none = weir("prices", "import", "--map", str(tmp_path / "none.json"), files=False)
    assert (none.returncode, "not a price map" in none.stderr) == (2, True)


def test_the_version_is_printed(weir: Weir) -> None:
    assert weir("version", files=False).stdout.count(".") == 2


@pytest.mark.parametrize("arguments", [(), ("keys",), ("prices",), ("serv",)])
def test_a_command_that_is_none_shows_how(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: weir" in capsys.readouterr().err


def test_a_budget_is_set_in_the_files_where_no_gateway_runs(weir: Weir) -> None:
    """`gateway.cli_budgets.add_budgets` with what it shares in `gateway.cli_context`."""
    terms = ("--scope", "team:research", "--window", "90m", "--limit-usd", "3")
    done = weir("budgets", "set", *terms)
    said = "team:research/90m is in effect when the gateway starts\n"
    assert (done.returncode, done.stdout) == (0, said)
    wrong = weir("budgets", "set", *terms[:2], "--window", "moth", "--limit-usd", "3")
    assert wrong.returncode == 2
    assert "weir: --window: expected" in wrong.stderr and '(did you mean "month"?)' in wrong.stderr
    assert weir("budgets", "delete", "team:research/90m").returncode == 0
    again = weir("budgets", "delete", "team:research/90m")
    assert (again.returncode, again.stdout) == (1, "")
