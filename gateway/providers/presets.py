"""What is known of the vendors that speak OpenAI's dialect: a table of plain values.

A kind with a vendor's name stands for `openai_http` with these keys; what the file says wins.
`price_prefix` is how the price card begins the names of the vendor's models.
Source: the vendors' own API references. docs/providers.md shows the table, and a test compares.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CHAT = ("chat",)
_PLAIN = ("chat", "completions")
_EMBEDDING = ("chat", "embeddings")
_CLASSIC = ("chat", "completions", "embeddings")
_MEDIA = ("images", "speech", "transcriptions")
_OPENAI = ("chat", "completions", "responses", "embeddings")


@dataclass(frozen=True, slots=True)
class Preset:
    """One vendor. Without a `base_url` the file must give one."""

    base_url: str = ""
    api_key_env: str | None = None
    dialects: tuple[str, ...] = _CLASSIC
    output_limit_field: str = "max_tokens"
    api_key_header: str = "authorization"
    reasoning_effort: bool = False
    reasoning_field: str = ""
    price_prefix: str = ""

    def keys(self) -> dict[str, Any]:
        """The keys of a provider's section."""
        keys = {
            "dialects": self.dialects,
            "output_limit_field": self.output_limit_field,
            "api_key_header": self.api_key_header,
            "reasoning_effort": self.reasoning_effort,
            "reasoning_field": self.reasoning_field,
        }
        if self.base_url:
            keys["base_url"] = self.base_url
        if self.api_key_env is not None:
            keys["api_key_env"] = self.api_key_env
        return keys


# Kinds whose models have OpenAI's own vocabularies, by their names.
OPENAI_KINDS = frozenset({"openai_http", "openai", "azure", "azure_deployments"})
_OPENAI_LIMIT = "max_completion_tokens"
PRESETS: Mapping[str, Preset] = {
    "openai": Preset(
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        (*_OPENAI, *_MEDIA, "batches"),
        _OPENAI_LIMIT,
        reasoning_effort=True,
    ),
    "azure": Preset(
        api_key_env="AZURE_OPENAI_API_KEY",
        dialects=_OPENAI,
        output_limit_field=_OPENAI_LIMIT,
        api_key_header="api-key",
        reasoning_effort=True,
        price_prefix="azure/",
    ),
    "azure_deployments": Preset(
        api_key_env="AZURE_OPENAI_API_KEY",
        dialects=_CLASSIC,
        output_limit_field=_OPENAI_LIMIT,
        api_key_header="api-key",
        reasoning_effort=True,
        price_prefix="azure/",
    ),
    "cerebras": Preset(
        "https://api.cerebras.ai/v1",
        "CEREBRAS_API_KEY",
        _PLAIN,
        _OPENAI_LIMIT,
        price_prefix="cerebras/",
    ),
    "deepseek": Preset(
        "https://api.deepseek.com",
        "DEEPSEEK_API_KEY",
        _CHAT,
        reasoning_field="reasoning_content",
        price_prefix="deepseek/",
    ),
    "fireworks": Preset(
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_API_KEY",
        _CLASSIC,
        reasoning_effort=True,
        reasoning_field="reasoning_content",
        price_prefix="fireworks_ai/",
    ),
    "groq": Preset(
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        _CHAT,
        _OPENAI_LIMIT,
        price_prefix="groq/",
    ),
    "llama_cpp": Preset("http://127.0.0.1:8080/v1", None, _CLASSIC),
    "mistral": Preset(
        "https://api.mistral.ai/v1", "MISTRAL_API_KEY", _EMBEDDING, price_prefix="mistral/"
    ),
    "moonshot": Preset(
        "https://api.moonshot.ai/v1",
        "MOONSHOT_API_KEY",
        _CHAT,
        reasoning_field="reasoning_content",
        price_prefix="moonshot/",
    ),
    "ollama": Preset("http://127.0.0.1:11434/v1", None, _CLASSIC),
    "openrouter": Preset(
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        _PLAIN,
        reasoning_effort=True,
        reasoning_field="reasoning",
    ),
    "together": Preset(
        "https://api.together.xyz/v1", "TOGETHER_API_KEY", _CLASSIC, price_prefix="together_ai/"
    ),
    "vllm": Preset("http://127.0.0.1:8000/v1", None, _CLASSIC, reasoning_field="reasoning_content"),
    "xai": Preset("https://api.x.ai/v1", "XAI_API_KEY", _CHAT, price_prefix="xai/"),
}
