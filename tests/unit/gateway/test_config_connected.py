"""What gateway.config_connected leaves out for want of a key, and what stays."""

from pathlib import Path

import pytest

from gateway.config import Settings, load_settings
from gateway.config_errors import ConfigError

TEXT = """\
[providers.here]
kind = "scripted"
[providers.openai]
kind = "openai_http"
base_url = "https://api.openai.com/v1"
api_key_env = "OPENAI_API_KEY"
optional = true
[models.both]
deployments = [{ provider = "openai", upstream_model = "gpt-5" }, { provider = "here" }]
price = { input = "1", output = "2" }
context_tokens = 4096
max_output_tokens = 1024
[models.far]
provider = "openai"
price = { input = "1", output = "2" }
context_tokens = 4096
max_output_tokens = 1024
[tiers.small]
models = ["far", "both"]
[policies.default]
tier = "small"
last_resort = "far"
"""


def load(folder: Path, text: str = TEXT, **env: str) -> Settings:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, env)


def test_with_the_key_everything_is_there(tmp_path: Path) -> None:
    settings = load(tmp_path, OPENAI_API_KEY="sk-x")
    both = settings.catalog.models["both"]
    assert [(one.provider, one.upstream_model) for one in both.places] == [
        ("openai", "gpt-5"),
        ("here", "both"),
    ]
    assert settings.policies["default"].last_resort == "far"


def test_a_model_keeps_the_deployments_that_are_connected(tmp_path: Path) -> None:
    settings = load(tmp_path)
    both = settings.catalog.models["both"]
    assert (both.provider, both.upstream_model) == ("here", "both")
    assert [one.provider for one in both.places] == ["here"]
    assert settings.catalog.tiers[0].models == ("both",)


def test_a_last_resort_that_is_left_out_is_none(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert "far" not in settings.catalog.models
    assert settings.policies["default"].last_resort == ""


def test_a_tier_that_keeps_no_model_names_what_would_bring_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set OPENAI_API_KEY, or add a model"):
        load(tmp_path, TEXT.replace('["far", "both"]', '["far"]'))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('{ provider = "here" }', '{ provider = "hree" }', "deployments[1].provider: no provider"),
        ('last_resort = "far"', 'last_resort = "fra"', "last_resort: no model is called"),
        ('tier = "small"\n', 'tier = "small"\nlast_resrt = "far"\n', "last_resrt: unknown key"),
        ("[models.both]", '[models.both]\nbalance = "wieghted"', "balance: "),
        ("[models.both]", '[models.both]\nprovider = "here"', "both provider and deployments"),
    ],
)
def test_a_wrong_key_is_named_with_its_line(tmp_path: Path, old: str, new: str, fault: str) -> None:
    text = TEXT.replace(old, new)
    if "last_resrt" in new:
        text = text.replace('last_resort = "far"\n', "")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, OPENAI_API_KEY="sk-x")
    assert fault in str(caught.value)
    assert "config.toml:" in str(caught.value)
