"""Amounts of every unit as people and programs read them."""

from budgets.money import format_usd
from budgets.scopes import Unit


def in_words(amount: int, unit: Unit) -> str:
    """`$0.500000000`, `1200 tokens` or `1 request`."""
    if unit is Unit.USD:
        return f"${format_usd(amount)}"
    return f"{amount} {unit.value if amount != 1 else unit.value.removesuffix('s')}"


def as_json(amount: int, unit: Unit) -> str | int:
    """Dollars as text with nine decimals, everything else as a whole number."""
    return format_usd(amount) if unit is Unit.USD else amount


def unit_of(budget_name: str) -> Unit:
    """What a budget of this name counts."""
    last = budget_name.rpartition("/")[2]
    return Unit(last) if last in (Unit.TOKENS, Unit.REQUESTS) else Unit.USD
