"""A value is equal by its fields, hashable, and has room for nothing else."""

import pytest

from budgets.value import value


@value
class Point:
    x: int
    y: int = 0


def test_values_with_equal_fields_are_one_key() -> None:
    assert Point(1) == Point(1, 0) != Point(1, 2)
    assert {Point(1): "here"}[Point(1, 0)] == "here"


def test_a_value_has_no_other_fields() -> None:
    with pytest.raises(AttributeError):
        Point(1).z = 3  # type: ignore[attr-defined]
