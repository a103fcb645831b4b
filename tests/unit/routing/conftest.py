"""A small catalog, its policies, and requests to route."""

from collections.abc import Callable
from typing import Any

import pytest

from budgets.thresholds import Pressure
from routing.catalog import Auto, Capability, Catalog, ModelCard, Requested, Tier
from routing.classify import Classification
from routing.features import Features
from routing.health import Health
from routing.lexicon import Task
from routing.policies import RouteRequest

AbleTo = frozenset[Capability]


def card(name: str, **fields: Any) -> ModelCard:
    given: dict[str, Any] = {
        "provider": f"{name}-provider",
        "upstream_model": f"{name}-up",
        "price_model": name,
        "context_tokens": 8_000,
        "max_output_tokens": 1_000,
    }
    return ModelCard(name, **{**given, **fields})


def down(*models: str) -> Health:
    """The health where the providers of these models are not ready."""
    health = Health()
    for name in models:
        health = health.with_ready(f"{name}-provider", "loading")
    return health


@pytest.fixture
def make_card() -> Callable[..., ModelCard]:
    return card


@pytest.fixture
def catalog() -> Catalog:
    """Two small models, one medium, two large ones with every capability, and one in no tier."""
    every = frozenset(Capability)
    return Catalog(
        [
            card("ant", aliases=("tiny",)),
            card("bee", capabilities=frozenset({Capability.TOOLS})),
            card("cat", capabilities=frozenset({Capability.TOOLS, Capability.SCHEMA})),
            card("elk", capabilities=every, context_tokens=100_000),
            card("fox", capabilities=every, context_tokens=100_000),
            card("owl"),
        ],
        [
            Tier("large", 30, ("elk", "fox")),
            Tier("small", 10, ("ant", "bee")),
            Tier("medium", 20, ("cat",)),
        ],
    )


@pytest.fixture
def make_request() -> Callable[..., RouteRequest]:
    def make(
        requested: Requested | None = None,
        *,
        workflow: str = "mail-triage",
        team: str = "support",
        key_id: str = "k1",
        task: Task = Task.CHAT,
        difficulty: float = 0.3,
        pressure: Pressure | None = None,
        dialect: str = "",
        **features: Any,
    ) -> RouteRequest:
        return RouteRequest(
            requested=requested or Auto(),
            workflow=workflow,
            team=team,
            key_id=key_id,
            features=Features(**{"prompt_tokens": 100, **features}),
            classification=Classification(task, difficulty, ()),
            pressure=pressure,
            dialect=dialect,
        )

    return make
