"""Every configuration key, command and option is in the documentation."""

import argparse
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from budgets.config import (
    BudgetSection,
    DatedPrice,
    LedgerSection,
    ModelPricing,
    PriceSection,
    ThresholdSection,
)
from gateway.cli import _parser
from gateway.config import AlertsSection, ServerSection
from gateway.config_batches import BatchesSection
from gateway.providers.config import (
    AnthropicHttpSection,
    LiteLLMSection,
    LocalModelSection,
    OpenAIHttpSection,
    ScriptedSection,
    TimeoutsSection,
)
from routing.config import (
    DeploymentSection,
    MatchSection,
    ModelSection,
    PolicySection,
    RuleSection,
    TierSection,
)
from telemetry.config import TelemetrySection

DOCS = Path(__file__).resolve().parents[2] / "docs"
SECTIONS: dict[type[BaseModel], str] = {
    ServerSection: "configuration.md",
    LedgerSection: "configuration.md",
    OpenAIHttpSection: "configuration.md",
    AnthropicHttpSection: "configuration.md",
    LiteLLMSection: "configuration.md",
    LocalModelSection: "configuration.md",
    ScriptedSection: "configuration.md",
    TimeoutsSection: "configuration.md",
    ModelSection: "configuration.md",
    ModelPricing: "configuration.md",
    DeploymentSection: "configuration.md",
    TierSection: "configuration.md",
    PolicySection: "configuration.md",
    RuleSection: "configuration.md",
    MatchSection: "configuration.md",
    BudgetSection: "configuration.md",
    ThresholdSection: "configuration.md",
    TelemetrySection: "configuration.md",
    AlertsSection: "configuration.md",
    BatchesSection: "configuration.md",
    PriceSection: "prices.md",
    DatedPrice: "prices.md",
}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_the_configuration_is_described(section: type[BaseModel]) -> None:
    text = (DOCS / SECTIONS[section]).read_text(encoding="utf-8")
    names = {field.alias or name for name, field in section.model_fields.items()}
    described = set(
        re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"`[^`]+`|```.*?```", text, re.S)))
    )
    assert names - described == set()


@pytest.mark.parametrize(
    ("heading", "section"),
    [
        ("[server]", ServerSection),
        ("[ledger]", LedgerSection),
        ("[telemetry]", TelemetrySection),
    ],
)
def test_defaults_in_the_documentation_are_the_real_ones(
    heading: str, section: type[BaseModel]
) -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    part = text.partition(f"## `{heading}`")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", part, re.MULTILINE))
    documented = {name: tomllib.loads(f"x = {value}")["x"] for name, value in rows.items()}
    assert documented == {name: field.default for name, field in section.model_fields.items()}


def commands(parser: argparse.ArgumentParser, path: str = "weir") -> Iterator[tuple[str, set[str]]]:
    """Each command with the options it takes."""
    verbs = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not verbs:
        options = {text for action in parser._actions for text in action.option_strings}
        yield path, {text for text in options if text.startswith("--")} - {"--help"}
    for action in verbs:
        for name, inner in action.choices.items():
            yield from commands(inner, f"{path} {name}")


def test_every_command_and_option_is_described() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    found = dict(commands(_parser()))
    assert len(found) == 16
    for command, options in found.items():
        assert f"`{command}`" in text
        assert {option for option in options if option not in text} == set()
