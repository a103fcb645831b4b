"""What admin API and dashboard ask of the gateway."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.auth import Role
from gateway.budget_advice import AdviceQuestion
from gateway.budget_board import BudgetBoard
from gateway.key_registry import KeyRegistry

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ControlServices:
    """The gateway as its control plane sees it."""

    registry: KeyRegistry
    policies: frozenset[str]
    tiers: tuple[str, ...]
    stand_ins: tuple[str, ...]
    base_url: str
    run_query: Callable[[str, dict[str, Any]], Awaitable[list[dict[str, Any]]]]
    find_request: Callable[[str], Awaitable[JsonObject | None]]
    audit: Callable[[], Awaitable[JsonObject]]
    advise: Callable[[AdviceQuestion], Awaitable[JsonObject]]
    budgets: BudgetBoard
    status: Callable[[], Awaitable[JsonObject]]
    freshness: Callable[[], JsonObject]
    now_ms: Callable[[], int]

    def is_admin(self, key: str) -> bool:
        """Whether a text is an admin key; compared in constant time."""
        principal = self.registry.find(key.encode())
        return principal is not None and principal.role is Role.ADMIN
