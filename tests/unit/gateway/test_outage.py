"""A ledger that cannot be asked: who may do without it, and that each error is counted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from budgets.ledger import (
    Account,
    BudgetsChangedError,
    Hold,
    LedgerError,
    Reservation,
    open_hold,
)
from budgets.scopes import Budget, Charge, ScopeKind, Window
from budgets.stores.in_memory import InMemoryLedger
from gateway.desk import Allow, Desk
from gateway.outage import reserve, survey
from tests.contracts.ledger_backends import charge, reservation
from tests.unit.gateway.desks import SHAPER, make_desk, run, scripted


class AwayLedger(InMemoryLedger):
    """A store that answers nothing but an error."""

    def __init__(self, error: LedgerError) -> None:
        super().__init__(SHAPER)
        self._error = error

    async def survey(self, accounts: Sequence[str]) -> Mapping[str, Account]:
        raise self._error

    async def reserve(self, reservation: Reservation) -> Hold:
        raise self._error


def desk_without(error: LedgerError, allow: Allow | None) -> Desk:
    return replace(make_desk({"main": scripted()}, ledger=AwayLedger(error)), allow=allow)


def of_key(*, soft: bool) -> Charge:
    return replace(
        charge("key:k", 5), budget=Budget(ScopeKind.KEY, "k", Window.TOTAL, 5, soft=soft)
    )


def errors(desk: Desk) -> list[str]:
    return [outcome for outcome, _ in desk.tally.ledger_errors]


def test_without_an_allowance_nobody_does_without_the_ledger() -> None:
    desk = desk_without(LedgerError("away"), None)
    with pytest.raises(LedgerError):
        run(survey(desk, ["key:k"], (of_key(soft=True),)))
    with pytest.raises(LedgerError):
        run(reserve(desk, reservation("h1", 1, of_key(soft=True))))
    assert errors(desk) == []  # who asked counts what became of it


def test_a_request_with_a_hard_budget_is_not_surveyed_as_if_all_were_empty() -> None:
    desk = desk_without(LedgerError("away"), open_hold)
    assert run(survey(desk, ["key:k"], (charge("org:o"), of_key(soft=True)))) == {}
    with pytest.raises(LedgerError):
        run(survey(desk, ["key:k"], (of_key(soft=True), of_key(soft=False))))


def test_what_is_allowed_is_held_and_its_error_counted() -> None:
    desk = desk_without(LedgerError("away"), open_hold)
    wish = reservation("h1", 1, of_key(soft=True))
    assert run(reserve(desk, wish)) == open_hold(wish)
    assert errors(desk) == ["allowed"]


def test_what_the_allowance_does_not_bear_fails_as_the_ledger_did() -> None:
    desk = desk_without(LedgerError("away"), lambda _: None)
    with pytest.raises(LedgerError, match="away"):
        run(reserve(desk, reservation("h1", 1, of_key(soft=True))))


def test_budgets_that_changed_are_no_outage() -> None:
    desk = desk_without(BudgetsChangedError("others"), open_hold)
    with pytest.raises(BudgetsChangedError):
        run(reserve(desk, reservation("h1", 1, of_key(soft=True))))
