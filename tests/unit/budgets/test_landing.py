"""The strip a run keeps for its end: who is bounded by what, and that one request may use it."""

from hypothesis import given
from hypothesis import strategies as st

from budgets.admission import admit
from budgets.budget_book import BudgetBook
from budgets.landing import landing, landing_account, strips
from budgets.ledger import Account, Reservation
from budgets.runs import RunTerms, run_charges
from budgets.scopes import Budget, ScopeKind, Scopes, Unit, Window

RUN = "lab/r~1"
TERMS = RunTerms("r~1", 1_000, 101, 3, landing_permille=100)
ABOVE = RunTerms("top~2", 1_000, landing_permille=500)
USD, TOKENS, REQUESTS = (f"run:{RUN}|total{unit}|0" for unit in ("", "/tokens", "/requests"))


@given(limit=st.integers(0, 10**15), permille=st.integers(0, 999))
def test_the_strip_is_never_less_than_its_share_and_the_limit_is_never_exceeded(
    limit: int, permille: int
) -> None:
    budget = Budget(ScopeKind.RUN, "*", Window.TOTAL, limit, landing_permille=permille)
    assert limit * permille <= budget.strip_nano * 1_000 < limit * permille + 1_000
    assert budget.refuse_nano + budget.strip_nano == limit


def test_ordinary_requests_leave_the_strip_and_the_landing_may_use_it() -> None:
    charges = run_charges("lab", (TERMS, ABOVE))
    limits = {charge.account: charge.limit_nano for charge in charges}
    assert (limits[USD], limits[TOKENS], limits[REQUESTS]) == (900, 90, 2)
    assert limits["run:lab/top~2|total|0"] == 500
    assert [charge.account for charge in strips(charges, RUN)] == [USD, TOKENS, REQUESTS]
    landed = {charge.account: charge.limit_nano for charge in landing(charges, RUN)}
    assert (landed[USD], landed[TOKENS], landed[REQUESTS]) == (1_000, 101, 3)
    # The strip of the run above is for that run's own landing.
    assert landed["run:lab/top~2|total|0"] == 500
    assert landed[landing_account(RUN)] == 1
    assert landing_account(RUN) == "run:lab/r~1|total/landing|0"


def test_a_second_landing_is_refused() -> None:
    charges = landing(run_charges("lab", (TERMS,)), RUN)
    wish = Reservation("h", 100, charges, 0, 1, tokens=10)
    assert admit({USD: Account(900)}, wish) is None
    for used in (Account(1), Account(0, 1)):
        refusal = admit({USD: Account(0), landing_account(RUN): used}, wish)
        assert refusal is not None
        assert (refusal.account, refusal.only_held) == (landing_account(RUN), bool(used.held_nano))


def test_where_a_run_keeps_no_strip_a_landing_is_a_request_like_any_other() -> None:
    charges = run_charges("lab", (RunTerms("r~1", 1_000), ABOVE))
    assert landing(charges, RUN) == charges


def test_a_configured_budget_of_runs_keeps_a_strip_as_well() -> None:
    budget = Budget(ScopeKind.RUN, "*", Window.TOTAL, 1_000, landing_permille=250)
    book = BudgetBook([budget])
    assert book.lands and not BudgetBook([]).lands
    charges = book.charges(Scopes("o", "lab", "k", "w", "lab/r1"), 0)
    assert [charge.limit_nano for charge in charges] == [None, 750]
    landed = landing(charges, "lab/r1")
    assert [charge.limit_nano for charge in landed] == [None, 1_000, 1]
    assert landed[-1].unit is Unit.REQUESTS
