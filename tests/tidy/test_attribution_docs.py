"""The table of docs/attribution.md is the table of the code, row by row and in its order."""

import re
from pathlib import Path

from gateway.identity_sources import ALL_SOURCES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "attribution.md").read_text(encoding="utf-8")


def test_every_source_is_listed_in_the_order_in_which_it_is_read() -> None:
    rows = re.findall(r"^\| ([a-z ]+) \| `(\S+)` \| ([^|]+) \| (\w+) \|$", TEXT, re.MULTILINE)
    assert rows == [
        (source.party.value, source.name, source.sender, source.strength.value)
        for source in ALL_SOURCES
    ]


def test_no_source_stands_twice() -> None:
    names = [(source.party, source.name) for source in ALL_SOURCES]
    assert len(set(names)) == len(names)
