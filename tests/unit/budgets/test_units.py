"""Amounts in words and in JSON."""

import pytest

from budgets.scopes import Budget, ScopeKind, Unit, Window
from budgets.units import as_json, in_words, unit_of


@pytest.mark.parametrize(
    ("amount", "unit", "words", "value"),
    [
        (500_000_000, Unit.USD, "$0.500000000", "0.500000000"),
        (1_200, Unit.TOKENS, "1200 tokens", 1_200),
        (1, Unit.TOKENS, "1 token", 1),
        (0, Unit.REQUESTS, "0 requests", 0),
        (1, Unit.REQUESTS, "1 request", 1),
    ],
)
def test_an_amount_names_its_unit(amount: int, unit: Unit, words: str, value: str | int) -> None:
    assert in_words(amount, unit) == words
    assert as_json(amount, unit) == value


@pytest.mark.parametrize("unit", [Unit.USD, Unit.TOKENS, Unit.REQUESTS])
def test_the_unit_of_a_budget_is_read_from_its_name(unit: Unit) -> None:
    budget = Budget(ScopeKind.WORKFLOW, "lab/tokens/requests", Window.DAY, 5, unit=unit)
    assert unit_of(budget.name) is unit
