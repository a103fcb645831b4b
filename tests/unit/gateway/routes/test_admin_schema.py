"""The description of the admin API names what there is."""

import re
from dataclasses import fields

import pytest

from budgets.config import TEAM_NAME, BudgetSection
from budgets.scopes import Window
from gateway.budget_registry import read_budget
from gateway.registries.port import BudgetChange, KeyRecord
from gateway.routes import admin_schema
from gateway.routes.admin_schema import BUDGET_TERMS, answers, name_of
from telemetry.audit import AuditReport


def test_every_term_of_a_budget_is_described() -> None:
    assert set(BUDGET_TERMS["properties"]) == set(BudgetSection.model_fields)


@pytest.mark.parametrize("window", [*Window, "24h", "7d"])
@pytest.mark.parametrize(
    "scope", ["org", "team:lab", "key:*", "workflow:lab/x", "tag:lab/customer=acme", "model:tiny"]
)
def test_what_the_description_allows_is_a_budget(scope: str, window: str) -> None:
    described = BUDGET_TERMS["properties"]
    assert re.search(described["scope"]["pattern"], scope)
    assert re.search(described["window"]["pattern"], window)
    assert read_budget({"scope": scope, "window": window, "limit_tokens": 5}).scope == scope


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        (admin_schema.Key, KeyRecord),
        (admin_schema.Change, BudgetChange),
        (admin_schema.AuditAnswer, AuditReport),
    ],
)
def test_answers_are_described_field_by_field(shape: type, told: type) -> None:
    assert set(shape.model_fields) == {field.name for field in fields(told)}  # type: ignore[attr-defined]


def test_a_pattern_matches_whole_names() -> None:
    pattern = name_of(TEAM_NAME)["pattern"]
    assert re.search(pattern, "lab")
    assert not re.search(pattern, "lab/x")


def test_what_a_route_may_answer_is_put_together() -> None:
    told = answers(admin_schema.Key, admin_schema.NOT_FOUND, admin_schema.BAD_REQUEST, status=201)
    assert set(told) == {201, 400, 404}
