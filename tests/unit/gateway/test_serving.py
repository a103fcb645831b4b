"""Where the gateway listens, what it prints, and how it is told to end."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.app import serve
from gateway.config import Settings
from gateway.roles import ServeRole
from gateway.serving import STARTUP_ERRORS, Server, banner, base_url, uvicorn_config
from tests.unit.gateway.gateways import SECRET, settings_in


def at(settings: Settings, **changes: object) -> Settings:
    return replace(settings, server=settings.server.model_copy(update=changes))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("localhost", "http://localhost:8080"),
        ("::1", "http://[::1]:8080"),
    ],
)
def test_the_base_url_is_one_that_clients_can_use(tmp_path: Path, host: str, url: str) -> None:
    assert base_url(at(settings_in(tmp_path), host=host)) == url


def test_the_banner_shows_both_keys_and_a_command_to_try(tmp_path: Path) -> None:
    told = banner(settings_in(tmp_path), ServeRole.ALL).splitlines()
    assert told[1] == "base URL:  http://127.0.0.1:8080/v1"
    assert told[2:4] == [f"key: {SECRET.demo_key}", f"admin: {SECRET.admin_key}"]
    assert any(f"Bearer {SECRET.demo_key}" in line for line in told)


def test_a_demo_key_that_is_off_is_not_shown(tmp_path: Path) -> None:
    told = banner(at(settings_in(tmp_path), demo_key=False), ServeRole.PARENT)
    assert SECRET.demo_key not in told
    assert "weir keys create" in told


def test_the_first_signal_ends_gently_and_the_second_at_once() -> None:
    ending: list[str] = []
    server = Server(uvicorn_config(lambda: None), lambda: None, lambda: ending.append("ending"))
    server.end()
    assert (server.should_exit, server.force_exit, ending) == (True, False, ["ending"])
    server.end()
    assert (server.should_exit, server.force_exit) == (True, True)


def test_the_web_server_says_nothing_about_itself_and_trusts_no_proxy() -> None:
    config = uvicorn_config(lambda: None)
    assert (config.server_header, config.proxy_headers, config.access_log) == (False, False, False)
    assert config.timeout_keep_alive > 60  # longer than common clients keep theirs


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_that_cannot_be_listened_on_is_said_in_one_line(
    tmp_path: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve(at(settings_in(tmp_path), host=host, port=0)) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"weir: cannot listen on {host}:0: ")
    assert told.count("\n") == 1


def test_every_fault_of_opening_is_one_that_is_said_plainly() -> None:
    assert {error.__name__ for error in STARTUP_ERRORS} == {
        "AuthError",
        "DataDirError",
        "LedgerError",
        "ListenError",
        "ProviderBuildError",
        "RegistryError",
    }
