"""Budgets that were set while the gateway runs, and who changed what.

A budget of the same scope, window and unit in the configuration gives way to one that is set here,
and comes back when that one is deleted. Every change is on record; nobody can edit or delete it.
"""

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from budgets.config import BudgetSection
from budgets.scopes import FULL_PERMILLE, Budget
from budgets.units import as_json
from gateway.config_reading import ConfigText, FaultList, Shape, read_section
from gateway.registries.port import BudgetChange, BudgetStore, RegistryError

MAX_BODY_BYTES = 65_536
_SHAPE: Shape[BudgetSection] = Shape(BudgetSection)


class BudgetFault(ValueError):
    """Terms that are no budget; `key` is the field at fault."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(f"{key}: {message}" if key else message)


def read_budget(terms: object) -> BudgetSection:
    """Check a budget as the configuration would; raise BudgetFault with the same words."""
    faults = FaultList(ConfigText("", {}, {}))
    section = read_section(faults, (), terms, _SHAPE)
    if section is None:
        fault = faults.faults[0]
        hint = f' (did you mean "{fault.suggestion}"?)' if fault.suggestion else ""
        raise BudgetFault(fault.key, fault.message + hint)
    return section


def read_budget_json(text: bytes) -> BudgetSection:
    """The same for a JSON text; its numbers are exact."""
    if len(text) > MAX_BODY_BYTES:
        raise BudgetFault("", f"expected at most {MAX_BODY_BYTES} bytes")
    try:
        terms = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise BudgetFault("", f"not valid JSON: {error}") from error
    return read_budget(terms)


def terms_of(section: BudgetSection) -> dict[str, Any]:
    """A budget as a person would write it."""
    unit, limit = section.limit()
    terms: dict[str, Any] = {
        "scope": section.scope,
        "window": section.window.value,
        f"limit_{unit.value}": as_json(limit, unit),
        "timezone": section.timezone,
        "alert_at": [_share(permille) for permille in section.alert_at],
    }
    if section.when_unreachable != "deny":
        terms["when_unreachable"] = section.when_unreachable
    if section.landing:
        terms["landing"] = _share(section.landing)
    if section.at:
        terms["at"] = [
            {"share": _share(entry.share), "action": entry.action.value} for entry in section.at
        ]
    return terms


def _share(permille: int) -> str:
    return f"{permille / FULL_PERMILLE:g}"


def in_effect(configured: Iterable[Budget], stored: Iterable[Budget]) -> tuple[Budget, ...]:
    """The budgets that count: what is set replaces what is configured under the same name."""
    stored = list(stored)
    names = {budget.name for budget in stored}
    return (*[budget for budget in configured if budget.name not in names], *stored)


class BudgetRegistry:
    """The budgets that were set. Where the store fails, every method raises RegistryError."""

    def __init__(self, store: BudgetStore) -> None:
        self._store = store

    async def version(self) -> str:
        """A text that is another one after every change, whoever made it."""
        return await self._store.version()

    async def budgets(self) -> Sequence[Budget]:
        """Every budget that is set, by name; raise RegistryError for one that is damaged."""
        return (await self.load())[1]

    async def load(self) -> tuple[str, Sequence[Budget]]:
        """The same with the version it is of."""
        version, stored = await self._store.load()
        try:
            budgets = [BudgetSection(**json.loads(terms)).to_budget() for terms in stored.values()]
        except (ValidationError, ValueError, TypeError) as error:
            raise RegistryError(f"a budget that was set cannot be read: {error}") from error
        return version, budgets

    async def put(self, section: BudgetSection, who: str, now_ms: int) -> str:
        """Set a budget, in place of one with the same scope, window and unit; its name."""
        name = section.to_budget().name
        terms = json.dumps(terms_of(section), sort_keys=True)
        await self._store.change(name, terms, who, now_ms)
        return name

    async def remove(self, name: str, who: str, now_ms: int) -> bool:
        """Delete a budget that was set; whether there was one."""
        return await self._store.change(name, None, who, now_ms)

    async def changes(self, limit: int = 1_000) -> Sequence[BudgetChange]:
        """The latest changes, the newest first."""
        return await self._store.changes(limit)

    async def aclose(self) -> None:
        """Let go of the store."""
        await self._store.aclose()
