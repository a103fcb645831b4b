"""The `[providers.NAME]` sections of the configuration file.

```toml
[providers.openai]
kind = "openai"

[providers.own]
kind = "openai_http"
base_url = "http://models.internal:8000/v1"
```
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from gateway.providers.http_client import parse_base_url
from gateway.providers.port import Timeouts
from gateway.providers.presets import PRESETS
from gateway.providers.script import parse_script

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]*$")]
DialectName = Literal[
    "chat",
    "completions",
    "responses",
    "embeddings",
    "messages",
    "count_tokens",
    "images",
    "speech",
    "transcriptions",
]
Dialects = Annotated[tuple[DialectName, ...], Field(min_length=1)]
# Beside its dialects a provider may keep files and work batches off.
BATCHES = "batches"
Offer = DialectName | Literal["batches"]
Offers = Annotated[tuple[Offer, ...], Field(min_length=1)]
OutputLimitField = Literal["max_tokens", "max_completion_tokens"]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeoutsSection(_Section):
    """Limits of one call in seconds; `total_s` covers the whole response."""

    connect_s: Seconds = 5.0
    first_byte_s: Seconds = 120.0
    idle_s: Seconds = 60.0
    total_s: Seconds = 600.0

    def to_port(self) -> Timeouts:
        return Timeouts(self.connect_s, self.first_byte_s, self.idle_s, self.total_s)


class _ProviderSection(_Section):
    # An optional provider whose key is not set is left out together with its models.
    optional: bool = False
    timeouts: TimeoutsSection = TimeoutsSection()
    # The request field in which this provider takes a bound of the answer set by the gateway.
    output_limit_field: OutputLimitField = "max_tokens"
    # Dialects that the provider does not speak are put into one that it does.
    translate: bool = True
    # What that cannot carry is left out and named, instead of refused.
    drop_unsupported: bool = False
    # Whether the provider takes `reasoning_effort`, and where it wants earlier reasoning back.
    reasoning_effort: bool = False
    reasoning_field: Literal["", "reasoning", "reasoning_content"] = ""

    @property
    def price_prefix(self) -> str:
        """How the price card begins the names of this provider's models."""
        return ""

    def missing_env(self, env: Mapping[str, str]) -> str | None:
        """The environment variable that is needed and not set; None if all is well."""
        return None


class _HttpSection(_ProviderSection):
    """What every API over HTTP has."""

    base_url: str
    api_key_env: EnvName | None = None
    headers: Mapping[HeaderName, HeaderValue] = Field(default_factory=dict)
    ca_file: Path | None = None
    max_connections: int = Field(default=1000, ge=1, le=10_000)
    max_idle_s: Seconds = 15.0

    @field_validator("base_url")
    @classmethod
    def _base_url_is_usable(cls, value: str) -> str:
        parse_base_url(value)
        return value

    def missing_env(self, env: Mapping[str, str]) -> str | None:
        """The environment variable of the key, where it is not set or empty."""
        if self.api_key_env is None or env.get(self.api_key_env, "").strip():
            return None
        return self.api_key_env


# What Anthropic's API takes where it is asked as if it were OpenAI's.
_ANTHROPIC: Mapping[str, Any] = {"dialects": ("chat", "messages", "count_tokens")}


class OpenAIHttpSection(_HttpSection):
    """An OpenAI-compatible API over HTTP; the kinds with a vendor's name know its keys' values."""

    kind: Literal[
        "openai_http",
        "openai",
        "azure",
        "azure_deployments",
        "cerebras",
        "deepseek",
        "fireworks",
        "groq",
        "llama_cpp",
        "mistral",
        "moonshot",
        "ollama",
        "openrouter",
        "together",
        "vllm",
        "xai",
    ]
    # At api.openai.com and Azure also responses; at api.anthropic.com messages and count_tokens.
    dialects: Offers = ("chat", "completions", "embeddings")
    api_key_header: HeaderName = "authorization"
    organization: HeaderValue | None = None
    project: HeaderValue | None = None
    # For Azure's older paths, in which a deployment has the model's place.
    api_version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]+$")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_the_vendor_wants_it(cls, values: Any) -> Any:
        """The kind's own values, then those that the host is known for; what is written stays."""
        if not isinstance(values, dict):
            return values
        preset = PRESETS.get(str(values.get("kind")))
        if preset is not None:
            values = {**preset.keys(), **values}
        try:
            host = parse_base_url(str(values.get("base_url"))).origin.host
        except ValueError:
            return values  # the field's own check says so, with its name
        if host == "api.openai.com" or host.endswith(".openai.azure.com"):
            known = PRESETS["openai" if host == "api.openai.com" else "azure"]
            return {
                "output_limit_field": known.output_limit_field,
                "dialects": known.dialects,
                "reasoning_effort": known.reasoning_effort,
                **values,
            }
        return {**_ANTHROPIC, **values} if host == "api.anthropic.com" else values

    @property
    def price_prefix(self) -> str:
        preset = PRESETS.get(self.kind)
        return "" if preset is None else preset.price_prefix

    @model_validator(mode="after")
    def _names_a_version(self) -> Self:
        if self.kind == "azure_deployments" and self.api_version is None:
            raise ValueError('`azure_deployments` needs api_version, such as "2024-10-21"')
        if self.kind == "azure_deployments" and BATCHES in self.dialects:
            raise ValueError("`azure_deployments` has a path for each model, and no batches")
        return self


class AnthropicHttpSection(_HttpSection):
    """Anthropic's API, or one that follows it."""

    kind: Literal["anthropic_http", "anthropic"]
    dialects: Dialects = ("messages", "count_tokens")
    base_url: str = "https://api.anthropic.com/v1"
    api_key_env: EnvName | None = "ANTHROPIC_API_KEY"
    api_key_header: HeaderName = "x-api-key"
    version: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.-]+$")] = "2023-06-01"


class LiteLLMSection(_ProviderSection):
    """A provider that is reached through litellm."""

    kind: Literal["litellm"]
    dialects: Dialects = ("chat",)
    # litellm's name for the provider, such as `bedrock`, `vertex_ai`, `gemini` or `cohere_chat`.
    vendor: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
    api_key_env: EnvName | None = None
    api_base: str | None = None
    # Further arguments of litellm, such as `aws_region_name` or `vertex_project`.
    options: Mapping[str, str | int | float | bool] = Field(default_factory=dict)

    @property
    def price_prefix(self) -> str:
        return f"{self.vendor}/"

    @field_validator("api_base")
    @classmethod
    def _api_base_is_usable(cls, value: str | None) -> str | None:
        if value is not None:
            parse_base_url(value)
        return value

    def missing_env(self, env: Mapping[str, str]) -> str | None:
        """The environment variable of the key, where it is not set or empty."""
        if self.api_key_env is None or env.get(self.api_key_env, "").strip():
            return None
        return self.api_key_env


class LocalModelSection(_ProviderSection):
    """A small model in a child process: a bundled one by name, or any GGUF file by path."""

    kind: Literal["local_model"]
    # llama.cpp words responses without many of their required fields, so they are not among these.
    dialects: Dialects = ("chat", "completions", "messages", "count_tokens")
    model: Literal["smollm2"] | None = None
    model_path: Path | None = None
    alias: HeaderValue | None = None
    threads: int = Field(default=1, ge=1, le=256)
    context_tokens: int = Field(default=4096, ge=256, le=1_048_576)
    parallel: int = Field(default=1, ge=1, le=64)
    ready_wait_s: Seconds = 10.0

    @model_validator(mode="after")
    def _names_one_model(self) -> Self:
        if (self.model is None) == (self.model_path is None):
            raise ValueError('give either model = "smollm2" or model_path = "/path/to/model.gguf"')
        return self


class ScriptedSection(_ProviderSection):
    """Answers from a script, without a network."""

    kind: Literal["scripted"]
    dialects: Offers = (*get_args(DialectName), "batches")
    default: str = "echo"

    @field_validator("default")
    @classmethod
    def _default_is_a_script(cls, value: str) -> str:
        parse_script(value)
        return value


ProviderSection = Annotated[
    OpenAIHttpSection | AnthropicHttpSection | LiteLLMSection | LocalModelSection | ScriptedSection,
    Field(discriminator="kind"),
]
