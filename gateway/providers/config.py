"""The `[providers.NAME]` sections of the configuration file.

```toml
[providers.openai]
kind = "openai_http"
base_url = "https://api.openai.com/v1"
api_key_env = "OPENAI_API_KEY"
```
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

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
from gateway.providers.script import parse_script

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]*$")]
DialectName = Literal["chat", "completions", "responses", "embeddings", "messages", "count_tokens"]
Dialects = Annotated[tuple[DialectName, ...], Field(min_length=1)]
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

    def missing_env(self, env: Mapping[str, str]) -> str | None:
        """The environment variable that is needed and not set; None if all is well."""
        return None


_OPENAI: Mapping[str, Any] = {
    "output_limit_field": "max_completion_tokens",
    "dialects": ("chat", "completions", "responses", "embeddings"),
}
_ANTHROPIC: Mapping[str, Any] = {"dialects": ("chat", "messages", "count_tokens")}


class OpenAIHttpSection(_ProviderSection):
    """An OpenAI-compatible API over HTTP."""

    kind: Literal["openai_http"]
    # At api.openai.com and Azure also responses; at api.anthropic.com messages and count_tokens.
    dialects: Dialects = ("chat", "completions", "embeddings")
    base_url: str
    api_key_env: EnvName | None = None
    api_key_header: HeaderName = "authorization"
    organization: HeaderValue | None = None
    project: HeaderValue | None = None
    headers: Mapping[HeaderName, HeaderValue] = Field(default_factory=dict)
    ca_file: Path | None = None
    max_connections: int = Field(default=1000, ge=1, le=10_000)
    max_idle_s: Seconds = 15.0

    @model_validator(mode="before")
    @classmethod
    def _as_the_host_is_known_to_be(cls, values: Any) -> Any:
        """OpenAI's newer models refuse `max_tokens`; many other servers ignore anything else."""
        if not isinstance(values, dict):
            return values
        try:
            host = parse_base_url(str(values.get("base_url"))).origin.host
        except ValueError:
            return values  # the field's own check says so, with its name
        if host == "api.openai.com" or host.endswith(".openai.azure.com"):
            return {**_OPENAI, **values}
        return {**_ANTHROPIC, **values} if host == "api.anthropic.com" else values

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


class LocalModelSection(_ProviderSection):
    """A small model in a child process: a bundled one by name, or any GGUF file by path."""

    kind: Literal["local_model"]
    dialects: Dialects = ("chat", "completions")
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
    dialects: Dialects = (
        "chat",
        "completions",
        "responses",
        "embeddings",
        "messages",
        "count_tokens",
    )
    default: str = "echo"

    @field_validator("default")
    @classmethod
    def _default_is_a_script(cls, value: str) -> str:
        parse_script(value)
        return value


ProviderSection = Annotated[
    OpenAIHttpSection | LocalModelSection | ScriptedSection, Field(discriminator="kind")
]
