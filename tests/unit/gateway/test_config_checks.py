"""References between sections, checked on the sections themselves."""

import pytest

from budgets.scopes import Budget, ScopeKind, Window
from gateway.config_checks import nobodys_budget, standing_aliases
from routing.config import ModelSection


def model(*aliases: str, stand_in: bool = False) -> ModelSection:
    return ModelSection(
        provider="here",
        context_tokens=10,
        max_output_tokens=10,
        aliases=aliases,
        stand_in=stand_in,
    )


def test_a_stand_in_gives_up_names_that_connected_models_have() -> None:
    models = {
        "stand-in": model("gpt-5", "gpt-4o", "free-name", stand_in=True),
        "gpt-5": model("gpt-4o"),
    }
    assert list(standing_aliases(models)) == [("stand-in", "free-name", 2), ("gpt-5", "gpt-4o", 0)]


def test_a_stand_in_alone_keeps_its_names() -> None:
    models = {"stand-in": model("gpt-5", stand_in=True), "other": model("x")}
    assert list(standing_aliases(models)) == [("stand-in", "gpt-5", 0), ("other", "x", 0)]


def test_two_connected_models_keep_a_shared_name_so_that_it_is_noticed() -> None:
    models = {"one": model("same"), "two": model("same")}
    assert list(standing_aliases(models)) == [("one", "same", 0), ("two", "same", 0)]


@pytest.mark.parametrize(
    ("kind", "scope_id", "counts"),
    [
        (ScopeKind.MODEL, "gpt-5", True),
        (ScopeKind.MODEL, "gpt-*", True),
        (ScopeKind.MODEL, "*", True),
        (ScopeKind.MODEL, "gpt", False),
        (ScopeKind.MODEL, "claude-*", False),
        (ScopeKind.KEY, "gpt", True),
    ],
)
def test_a_budget_for_a_model_needs_a_model(kind: ScopeKind, scope_id: str, counts: bool) -> None:
    why = nobodys_budget(Budget(kind, scope_id, Window.DAY, 1), ["gpt-5", "llama"])
    assert (why is None) is counts
    if why is not None:
        assert why == f"no model is called {scope_id!r}; defined: gpt-5, llama"
