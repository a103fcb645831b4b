"""What docs/dialects.md lists is what there is."""

import re
from pathlib import Path

from gateway.dialects.index import BY_ROUTE

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "dialects.md").read_text(encoding="utf-8")


def test_every_dialect_is_listed_with_its_route() -> None:
    rows = set(re.findall(r"^\| `([\w.]+)` \| `(/v1/\S+)` \|", TEXT, re.MULTILINE))
    assert rows == {(dialect.name, route) for route, dialect in BY_ROUTE.items()}


def test_every_module_of_a_dialect_is_named() -> None:
    dialects = {type(dialect).__module__.rpartition(".")[2] for dialect in BY_ROUTE.values()}
    assert {name for name in dialects if f"`{name}.py`" not in TEXT} == set()


def test_every_capture_is_listed_with_what_it_holds() -> None:
    folder = ROOT / "tests" / "captures"
    rows = re.findall(r"^\| `(\w+/\w+)` \| \S", TEXT, re.MULTILINE)
    found = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.sse")]
    assert sorted(rows) == sorted(found)


def test_every_field_that_is_refused_is_in_the_table() -> None:
    source = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "gateway" / "dialects").glob("*.py")
    )
    refused = set(re.findall(r'"(\w+)",\n +"unsupported_parameter"', source))
    assert refused
    assert {field for field in refused if f"`{field}`" not in TEXT} == set()
