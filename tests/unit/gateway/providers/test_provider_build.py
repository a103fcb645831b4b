"""Sections of the configuration: what is refused, with which words, and what is built."""

from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.dialects.index import BY_ROUTE
from gateway.providers.aiohttp_client import AiohttpClient
from gateway.providers.build import ProviderBuildError, build_provider, proxy_for
from gateway.providers.config import (
    BATCHES,
    AnthropicHttpSection,
    DialectName,
    LiteLLMSection,
    LocalModelSection,
    OpenAIHttpSection,
    ProviderSection,
    ScriptedSection,
    TimeoutsSection,
)
from gateway.providers.http1_client import Http1Client
from gateway.providers.http_client import parse_base_url
from gateway.providers.local_model import LocalModelProvider
from gateway.providers.port import Timeouts
from gateway.providers.script import Script
from gateway.providers.scripted import ScriptedProvider

SECTIONS: TypeAdapter[ProviderSection] = TypeAdapter(ProviderSection)
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def proxy_env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("section", "place", "words"),
    [
        ({"kind": "opena"}, "", "openai_http"),
        ({"kind": "openai_http"}, "base_url", "required"),
        ({"kind": "openai_http", "base_url": "x"}, "base_url", "http://"),
        ({"kind": "openai_http", "base_url": "http://x", "key": 1}, "key", "Extra"),
        ({"kind": "openai_http", "base_url": "http://x", "api_key_env": "A B"}, "api_key_env", ""),
        ({"kind": "openai_http", "base_url": "http://x", "headers": {"a": "\n"}}, "headers", ""),
        ({"kind": "local_model"}, "", "model_path"),
        ({"kind": "local_model", "model": "smollm2", "model_path": "/x"}, "", "either"),
        ({"kind": "local_model", "model": "gpt-5"}, "model", "smollm2"),
        ({"kind": "scripted", "default": "chunks=many"}, "default", "chunks: must be"),
        ({"kind": "scripted", "timeouts": {"idle_s": 0}}, "timeouts", "greater than 0"),
    ],
)
def test_a_wrong_section_is_refused_with_its_place(
    section: dict[str, object], place: str, words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        SECTIONS.validate_python(section)
    (error,) = caught.value.errors()
    assert place in ".".join(map(str, error["loc"]))
    assert words in str(error)


def test_timeouts_are_read_from_toml_numbers() -> None:
    section = TimeoutsSection.model_validate({"connect_s": Decimal("1.5"), "total_s": 30})
    assert section.to_port() == Timeouts(1.5, 120.0, 60.0, 30.0)


def test_a_missing_key_is_named_and_not_an_error_of_the_build() -> None:
    section = SECTIONS.validate_python(
        {"kind": "openai_http", "base_url": "http://x", "api_key_env": "UP_KEY"}
    )
    assert section.missing_env({}) == "UP_KEY"
    assert section.missing_env({"UP_KEY": " "}) == "UP_KEY"
    assert section.missing_env({"UP_KEY": "k"}) is None
    assert not build_provider("up", section, Path(), {}).ready


@pytest.mark.parametrize(
    ("url", "limit_field"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://x.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("http://127.0.0.1:11434/v1", "max_tokens"),
    ],
)
def test_the_bound_of_the_answer_goes_where_the_host_reads_it(url: str, limit_field: str) -> None:
    section = OpenAIHttpSection(kind="openai_http", base_url=url)
    assert section.output_limit_field == limit_field
    turned = OpenAIHttpSection(
        kind="openai_http", base_url=url, output_limit_field="max_completion_tokens"
    )
    assert turned.output_limit_field == "max_completion_tokens"


@pytest.mark.parametrize(
    ("url", "dialects"),
    [
        (
            "https://api.openai.com/v1",
            "chat completions responses embeddings images speech transcriptions batches",
        ),
        ("https://x.openai.azure.com/openai/v1", "chat completions responses embeddings"),
        ("https://api.anthropic.com/v1", "chat messages count_tokens"),
        ("http://127.0.0.1:11434/v1", "chat completions embeddings"),
    ],
)
def test_a_provider_speaks_what_its_host_is_known_for_or_what_it_is_said_to(
    url: str, dialects: str
) -> None:
    section = OpenAIHttpSection(kind="openai_http", base_url=url)
    assert section.dialects == tuple(dialects.split())
    told = OpenAIHttpSection(kind="openai_http", base_url=url, dialects=("messages",))
    assert told.dialects == ("messages",)


def test_a_kind_that_has_a_path_for_each_model_has_no_batches() -> None:
    told: dict[str, Any] = {"base_url": "https://x.openai.azure.com/openai", "api_version": "1"}
    with pytest.raises(ValueError, match="no batches"):
        OpenAIHttpSection(kind="azure_deployments", dialects=("chat", BATCHES), **told)


def test_the_names_of_dialects_are_those_of_the_data_plane() -> None:
    spoken = {dialect.speech for dialect in BY_ROUTE.values()}
    assert spoken == set(get_args(DialectName))
    assert {*spoken, BATCHES} == set(ScriptedSection(kind="scripted").dialects)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        ({"https_proxy": "http://p:1"}, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "openai.com"}, None),
        ({"ALL_PROXY": "http://p:2"}, "http://p:2"),
        ({"http_proxy": "http://p:1"}, None),
    ],
)
def test_the_environment_decides_on_the_proxy(
    env: dict[str, str], expected: str | None, proxy_env: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        proxy_env.setenv(name, value)
    assert proxy_for(parse_base_url("https://api.openai.com/v1").origin) == expected
    section = OpenAIHttpSection(kind="openai_http", base_url="https://api.openai.com/v1")
    client = vars(build_provider("up", section, Path(), {}))["_client"]
    assert isinstance(client, Http1Client if expected is None else AiohttpClient)


def test_a_proxy_of_another_kind_is_refused_with_the_way_out(
    proxy_env: pytest.MonkeyPatch,
) -> None:
    proxy_env.setenv("HTTP_PROXY", "socks5://p:1")
    section = OpenAIHttpSection(kind="openai_http", base_url="http://x/v1")
    with pytest.raises(ProviderBuildError, match="add x to NO_PROXY"):
        build_provider("up", section, Path(), {})


def test_an_unreadable_authority_file_is_named(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    section = OpenAIHttpSection(kind="openai_http", base_url="https://x", ca_file=ca_file)
    with pytest.raises(ProviderBuildError, match=r"providers\.up\.ca_file: .*ca\.pem"):
        build_provider("up", section, Path(), {})


def test_a_local_model_is_built_without_being_loaded(tmp_path: Path) -> None:
    section = SECTIONS.validate_python({"kind": "local_model", "model": "smollm2"})
    built = build_provider("small", section, tmp_path, {})
    assert isinstance(built, LocalModelProvider)
    assert not built.ready
    assert list(tmp_path.iterdir()) == []


def test_a_model_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    section = SECTIONS.validate_python(
        {"kind": "local_model", "model_path": str(tmp_path / "x.gguf")}
    )
    with pytest.raises(ProviderBuildError, match=r"providers\.small\.model_path: no file at"):
        build_provider("small", section, tmp_path, {})


def test_a_scripted_provider_is_built_from_its_default() -> None:
    section = SECTIONS.validate_python({"kind": "scripted", "default": "say=hi"})
    assert isinstance(build_provider("s", section, Path(), {}), ScriptedProvider)


def test_every_key_is_described_in_the_documentation() -> None:
    page = (Path(__file__).parents[4] / "docs" / "providers.md").read_text(encoding="utf-8")
    sections = (
        OpenAIHttpSection,
        AnthropicHttpSection,
        LiteLLMSection,
        LocalModelSection,
        ScriptedSection,
        TimeoutsSection,
    )
    keys = {key for section in sections for key in section.model_fields}
    keys |= {field.name for field in fields(Script)} - {"args", "retry_after"}
    described = {
        line.split("`")[1].partition("=")[0] for line in page.splitlines() if "| `" in line
    }
    assert keys - described == set()
