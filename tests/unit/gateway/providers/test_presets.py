"""What is known of vendors: valid sections, and the table that the documentation shows."""

import re
from pathlib import Path
from typing import get_args

import pytest

from gateway.providers.config import OpenAIHttpSection
from gateway.providers.presets import PRESETS

DOCS = Path(__file__).resolve().parents[4] / "docs" / "providers.md"
SOMEWHERE = "https://somewhere.example/v1"


def section(kind: str, **keys: object) -> OpenAIHttpSection:
    needed = {} if PRESETS[kind].base_url else {"base_url": SOMEWHERE}
    if kind == "azure_deployments":
        needed["api_version"] = "2024-10-21"
    return OpenAIHttpSection.model_validate({"kind": kind, **needed, **keys})


def test_every_vendor_is_a_kind() -> None:
    kinds = set(get_args(OpenAIHttpSection.model_fields["kind"].annotation))
    assert kinds == {"openai_http", *PRESETS}


@pytest.mark.parametrize("kind", PRESETS)
def test_a_kind_alone_is_enough_and_what_is_written_wins(kind: str) -> None:
    preset, plain = PRESETS[kind], section(kind)
    assert plain.base_url == (preset.base_url or SOMEWHERE)
    assert (plain.api_key_env, plain.dialects) == (preset.api_key_env, preset.dialects)
    assert plain.output_limit_field == preset.output_limit_field
    other = section(kind, base_url="http://own/v1", api_key_env="OWN", dialects=["chat"])
    assert (other.base_url, other.api_key_env, other.dialects) == (
        "http://own/v1",
        "OWN",
        ("chat",),
    )


def test_the_table_in_the_documentation_is_the_real_one() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    shown = {kind: [cell.strip().replace("`", "") for cell in row.split("|")] for kind, row in rows}
    for kind, preset in PRESETS.items():
        assert shown[kind] == [
            preset.base_url or "give it",
            preset.api_key_env or "none",
            ", ".join(preset.dialects),
            preset.output_limit_field,
            preset.price_prefix or "none",
        ]


def test_price_prefixes_are_on_the_price_card() -> None:
    from budgets.price_card import card_names  # noqa: PLC0415

    names = card_names()
    for preset in PRESETS.values():
        assert any(name.startswith(preset.price_prefix) for name in names)


def test_a_deployment_needs_the_version_of_the_api() -> None:
    with pytest.raises(ValueError, match="api_version"):
        OpenAIHttpSection.model_validate({"kind": "azure_deployments", "base_url": SOMEWHERE})
