"""pydantic's errors become faults with the place, a plain sentence and a suggestion."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from gateway.config_errors import ConfigError
from gateway.config_reading import (
    ConfigText,
    FaultList,
    Shape,
    read_array,
    read_config_text,
    read_section,
    read_tables,
    split_tables,
)


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth: int = 0
    colour: Literal["red", "green"] = "red"


class Circle(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["circle"]
    radius: float
    inner: Inner = Inner()


class Square(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["square"]
    edge: float = 1.0


FIGURE: Shape[Circle | Square] = Shape(Annotated[Circle | Square, Field(discriminator="kind")])


def read(raw: object) -> list[str]:
    faults = FaultList(ConfigText("c.toml", {}, {("figure",): 3, ("figure", "radius"): 5}))
    assert (read_section(faults, ("figure",), raw, FIGURE) is None) == bool(faults.faults)
    return [str(fault) for fault in faults.faults]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"kind": "circle", "radius": 1}, []),
        ({"kind": "circle"}, ["c.toml:5: figure.radius: is missing"]),
        ({"radius": 1}, ["c.toml:3: figure.kind: is missing"]),
        (3, ["c.toml:3: figure: expected a table, got 3"]),
        (
            {"kind": "circle", "radius": 1, "inner": 2},
            ["c.toml:3: figure.inner: expected a table, got 2"],
        ),
        (
            {"kind": "sqare"},
            [
                "c.toml:3: figure.kind: expected one of 'circle', 'square', got 'sqare' "
                '(did you mean "square"?)'
            ],
        ),
        (
            {"kind": "circle", "radius": "wide"},
            [
                "c.toml:5: figure.radius: input should be a valid number, unable to parse string "
                "as a number, got 'wide'"
            ],
        ),
        (
            {"kind": "circle", "radius": 1, "iner": {}},
            ['c.toml:3: figure.iner: unknown key (did you mean "inner"?)'],
        ),
        (
            {"kind": "circle", "radius": 1, "inner": {"depht": 1}},
            ['c.toml:3: figure.inner.depht: unknown key (did you mean "depth"?)'],
        ),
        (
            {"kind": "circle", "radius": 1, "inner": {"colour": "gren"}},
            [
                "c.toml:3: figure.inner.colour: input should be 'red' or 'green', got 'gren' "
                '(did you mean "green"?)'
            ],
        ),
        (
            {"kind": "circle", "radius": 1, "inner": {"depth": Decimal("1.5")}},
            [
                "c.toml:3: figure.inner.depth: input should be a valid integer, got a number with "
                "a fractional part, got 1.5"
            ],
        ),
    ],
)
def test_a_fault_says_where_and_what(raw: object, expected: list[str]) -> None:
    assert read(raw) == expected


def test_tables_and_arrays_keep_what_is_sound() -> None:
    faults = FaultList(ConfigText("c.toml", {}, {}))
    good, bad = {"kind": "square"}, {"kind": "circle"}
    assert list(read_tables(faults, ("f",), {"a": good, "b": bad}, FIGURE)) == ["a"]
    assert list(read_array(faults, ("g",), [bad, good], FIGURE)) == [1]
    assert read_tables(faults, ("h",), 3, FIGURE) == {}
    assert read_array(faults, ("i",), {}, FIGURE) == {}
    assert [fault.key for fault in faults.faults] == ["f.b.radius", "g[0].radius", "h", "i"]


def test_a_table_of_two_floors_is_split_by_key() -> None:
    raw = {"a": {"depth": 1, "other": 2}, "b": 3}
    assert split_tables(raw, Inner) == ({"a": {"depth": 1}}, {"a": {"other": 2}, "b": 3})
    assert split_tables(5, Inner) == ({}, 5)


def test_numbers_are_read_as_decimals(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("price = 0.10\n")
    text = read_config_text(path)
    assert text.values == {"price": Decimal("0.10")}
    assert text.lines == {("price",): 1}


def test_faults_are_raised_in_the_order_of_the_file() -> None:
    faults = FaultList(ConfigText("c.toml", {}, {("late",): 9, ("early",): 2}))
    faults.raise_if_any()
    faults.add(("late",), "b")
    faults.add(("early",), "a")
    faults.add_elsewhere("environment", "X", "c")
    with pytest.raises(ConfigError) as caught:
        faults.raise_if_any()
    assert [fault.line for fault in caught.value.faults] == [None, 2, 9]
