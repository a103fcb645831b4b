"""What an OpenAI-compatible provider sends along, and what it never lets through."""

from pathlib import Path

import orjson
import pytest

from gateway.providers.build import build_provider
from gateway.providers.config import AnthropicHttpSection, OpenAIHttpSection
from gateway.providers.http_provider import HttpProvider
from gateway.providers.port import UpstreamCall
from gateway.providers.unsigned import UNSIGNED, without_unsigned
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


def test_what_has_no_body_has_no_kind_of_content() -> None:
    async def scenario() -> str:
        async with raw_server(sends(WHOLE)) as server:
            base_url = f"http://127.0.0.1:{server.port}/v1/"
            async with started(provider(base_url=base_url)) as up:
                call = UpstreamCall("/files/file-1", b"", (), QUICK, b"DELETE")
                await (await up.open(call)).read()
        return server.heads[0].decode().lower()

    head = run(scenario())
    assert head.startswith("delete /v1/files/file-1 http/1.1\r\n")
    assert "content-type" not in head


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


def anthropic_head(*headers: tuple[bytes, bytes], **keys: object) -> tuple[str, dict[str, str]]:
    """What a server sees of a call to Anthropic's API."""

    async def scenario() -> tuple[str, dict[str, str]]:
        async with raw_server(sends(WHOLE)) as server:
            section = AnthropicHttpSection.model_validate(
                {"kind": "anthropic_http", "base_url": f"http://127.0.0.1:{server.port}/v1"} | keys
            )
            built = build_provider("up", section, Path(), {"ANTHROPIC_API_KEY": "sk-ant"})
            async with started(built) as up:
                call = UpstreamCall("/messages?beta=true", b"{}", headers, QUICK)
                await (await up.open(call)).read()
        line, *fields = server.heads[0].decode().strip().split("\r\n")
        return line, dict(field.split(": ", 1) for field in fields)

    return run(scenario())


def test_anthropic_gets_its_key_and_version_and_the_query() -> None:
    line, headers = anthropic_head((b"x-api-key", b"of-the-client"))
    assert line == "POST /v1/messages?beta=true HTTP/1.1"
    assert headers["x-api-key"] == "sk-ant"
    assert headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in headers


def test_a_clients_own_version_and_betas_go_before_ours() -> None:
    version, beta = (b"anthropic-version", b"2026-01-01"), (b"anthropic-beta", b"a,b")
    _, headers = anthropic_head(version, beta, version="2024-01-01")
    assert headers["anthropic-version"] == "2026-01-01"
    assert headers["anthropic-beta"] == "a,b"


def test_anthropic_is_where_it_says_unless_told_otherwise() -> None:
    section = AnthropicHttpSection(kind="anthropic_http")
    built = build_provider("up", section, Path(), {})
    assert repr(built) == "HttpProvider('up', 'https://api.anthropic.com/v1')"
    assert section.missing_env({}) == "ANTHROPIC_API_KEY"


def test_anthropic_never_gets_thinking_that_nobody_sealed() -> None:
    ours = {"type": "thinking", "thinking": "Hm.", "signature": UNSIGNED}
    theirs = {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}
    said = {"role": "assistant", "content": [ours, theirs]}
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}, said]})
    left = orjson.loads(without_unsigned(body))["messages"]
    assert left[1]["content"] == [theirs]
    assert left[0] == {"role": "user", "content": "Hi"}
    plain = b'{"messages" : []}'
    assert without_unsigned(plain) is plain


@pytest.mark.parametrize(
    ("body", "deployment"),
    [(b'{"model": "gpt 5/x"}', "gpt%205%2Fx"), (b"{", "none"), (b"{}", "none")],
)
def test_a_deployment_is_part_of_the_path(body: bytes, deployment: str) -> None:
    async def scenario() -> str:
        async with raw_server(sends(WHOLE)) as server:
            keys = {"kind": "azure_deployments", "api_version": "2024-10-21"}
            base_url = f"http://127.0.0.1:{server.port}/openai"
            env = {"AZURE_OPENAI_API_KEY": "k"}
            async with started(provider(env, base_url=base_url, **keys)) as up:
                await (await up.open(UpstreamCall("/chat/completions", body, (), QUICK))).read()
        return server.heads[0].decode()

    head = run(scenario())
    path = f"/openai/deployments/{deployment}/chat/completions?api-version=2024-10-21"
    assert head.startswith(f"POST {path} HTTP/1.1")
    assert "api-key: k" in head
