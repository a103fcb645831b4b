"""What a request is charged to, and the error of the budget that refuses it."""

import pytest

from budgets.actions import Action, Threshold
from budgets.budget_book import BudgetBook
from budgets.ledger import Refusal
from budgets.scopes import Budget, ScopeKind, Scopes, Unit, Window
from gateway.charging import charges_of, refused
from gateway.identity import OWN_RUN, Identity

SCOPES = Scopes("acme", "lab", "k1", "lab/notes", "lab/r1", user="lab/ann")
KILLS = (Threshold(500, Action.KILL_RUN),)


def identity(source: str = "x-weir-run") -> Identity:
    return Identity(SCOPES, "notes", "r1", source, "ann", {})


def book(*at: Threshold) -> BudgetBook:
    return BudgetBook([Budget(ScopeKind.RUN, "*", Window.TOTAL, 100, at=at)])


def test_a_request_is_charged_to_the_organisation_and_each_budget() -> None:
    charges = charges_of(book(), identity(), 1_000)
    assert [charge.scope for charge in charges] == ["org:acme", "run:lab/r1"]
    assert [charge.lone for charge in charges_of(book(), identity(OWN_RUN), 1_000)] == [False, True]


def test_where_budgets_kill_every_request_carries_their_gates() -> None:
    *_, gate = charges_of(book(*KILLS), identity(), 1_000)
    assert gate.unit is Unit.GATE


@pytest.mark.parametrize(("place", "code"), [(1, "budget_exceeded"), (2, "run_killed")])
def test_the_error_is_that_of_the_charge_that_refuses(place: int, code: str) -> None:
    charges = charges_of(book(*KILLS), identity(), 1_000)
    charge = charges[place]
    refusal = Refusal(charge.scope, Window.TOTAL, 100, 100, 0, 1, None, charge.account)
    assert refused(refusal, charges).code == code
