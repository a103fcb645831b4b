"""What an OpenAI-compatible provider sends along, and what it never lets through."""

from pathlib import Path

import pytest

from gateway.providers.build import build_provider
from gateway.providers.config import OpenAIHttpSection
from gateway.providers.http_provider import HttpProvider
from gateway.providers.port import UpstreamCall
from tests.contracts.upstreams import run, started
from tests.unit.gateway.providers.raw_server import QUICK, WHOLE, raw_server, sends


def provider(env: dict[str, str] | None = None, **keys: object) -> HttpProvider:
    section = OpenAIHttpSection.model_validate(
        {"kind": "openai_http", "base_url": "http://127.0.0.1:1/v1"} | keys
    )
    built = build_provider("up", section, Path(), env or {})
    assert isinstance(built, HttpProvider)
    return built


def head_sent(
    *headers: tuple[bytes, bytes], env: dict[str, str] | None = None, **keys: object
) -> tuple[str, dict[str, str]]:
    """The request line and the headers that a server sees."""

    async def scenario() -> tuple[str, dict[str, str]]:
        async with raw_server(sends(WHOLE)) as server:
            base_url = f"http://127.0.0.1:{server.port}/base/v1/"
            async with started(provider(env, base_url=base_url, **keys)) as up:
                call = UpstreamCall("/chat/completions", b"{}", headers, QUICK)
                await (await up.open(call)).read()
        line, *fields = server.heads[0].decode().strip().split("\r\n")
        pairs = dict(field.split(": ", 1) for field in fields)
        assert len(pairs) == len(fields)
        return line, pairs

    return run(scenario())


def test_the_path_follows_the_base_url() -> None:
    assert head_sent()[0] == "POST /base/v1/chat/completions HTTP/1.1"


def test_the_key_and_the_account_go_along() -> None:
    _, headers = head_sent(
        env={"KEY": "sk-1\n"},
        api_key_env="KEY",
        organization="org-1",
        project="proj-1",
        headers={"X-Team": "core"},
    )
    assert headers["authorization"] == "Bearer sk-1"
    assert headers["openai-organization"] == "org-1"
    assert headers["openai-project"] == "proj-1"
    assert headers["x-team"] == "core"
    assert headers["content-type"] == "application/json"


def test_a_key_can_go_in_a_header_of_its_own() -> None:
    _, headers = head_sent(env={"KEY": "k"}, api_key_env="KEY", api_key_header="Api-Key")
    assert headers["api-key"] == "k"
    assert "authorization" not in headers


def test_allowed_headers_of_the_call_go_along_and_connection_headers_do_not() -> None:
    _, headers = head_sent(
        (b"Authorization", b"Bearer of-the-client"),
        (b"Content-Type", b"text/plain"),
        (b"Accept", b"text/event-stream"),
        (b"X-Request-Id", b"r-1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Content-Length", b"99"),
        (b"Accept-Encoding", b"gzip"),
        (b"Cookie", b"c=1"),
        (b"Host", b"elsewhere"),
    )
    assert headers["X-Request-Id"] == "r-1"
    assert headers["Accept"] == "text/event-stream"
    assert headers["Content-Type"] == "text/plain"
    assert headers["content-length"] == "2"
    assert headers["accept-encoding"] == "identity"
    lowered = {name.lower() for name in headers}
    assert not lowered & {"authorization", "cookie", "transfer-encoding"}


def test_a_provider_without_the_key_it_needs_is_not_ready() -> None:
    async def scenario() -> None:
        async with started(provider(api_key_env="KEY")) as without:
            assert not without.ready
        async with started(provider({"KEY": "k"}, api_key_env="KEY")) as with_key:
            assert with_key.ready
        async with started(provider()) as needs_none:
            assert needs_none.ready

    run(scenario())


def test_the_key_is_in_no_representation() -> None:
    built = provider({"KEY": "sk-hush"}, api_key_env="KEY", headers={"x-auth": "hush-too"})
    shown = repr(built) + repr(vars(built)["_settings"]) + repr(vars(built)["_client"])
    assert "hush" not in shown


def test_a_key_that_cannot_be_one_is_refused_by_the_name_of_its_variable() -> None:
    with pytest.raises(ValueError, match=r"providers\.up\.api_key_env: KEY holds") as caught:
        provider({"KEY": "sk-\nhush"}, api_key_env="KEY")
    assert "hush" not in str(caught.value)
