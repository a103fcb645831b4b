"""Runs with budgets of their own: what they are charged to, and what they may hand out."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from budgets.admission import all_soft, headroom
from budgets.budget_book import BudgetBook, tightest
from budgets.ledger import Hold, Refusal, Reservation
from budgets.runs import RunTerms, beyond, run_account, run_charges
from budgets.scopes import Budget, ScopeKind, Scopes, Unit, Window
from tests.unit.gateway.desks import new_ledger

TOP = RunTerms("top~1", 100, None, 10)
MID = RunTerms("mid~2", 60, 500, None)
LOW = RunTerms("low~3", 50)
LIMITS = st.none() | st.integers(0, 40)
TERMS = st.builds(RunTerms, st.just("r"), LIMITS, LIMITS, LIMITS)


def test_a_run_has_an_account_of_every_unit_and_so_have_those_above_it() -> None:
    charges = run_charges("lab", (MID, TOP))
    assert {charge.account: charge.limit_nano for charge in charges} == {
        "run:lab/mid~2|total|0": 60,
        "run:lab/mid~2|total/tokens|0": 500,
        "run:lab/mid~2|total/requests|0": None,
        "run:lab/top~1|total|0": 100,
        "run:lab/top~1|total/tokens|0": None,
        "run:lab/top~1|total/requests|0": 10,
    }
    accounts = [run_account("lab", run, unit) for run in ("mid~2", "top~1") for unit in Unit][:3]
    assert [charge.account for charge in charges][:3] == accounts
    assert headroom({}, charges).nano == 60


def test_of_a_configured_budget_and_the_runs_own_the_tighter_decides() -> None:
    scopes = Scopes("o", "lab", "k", "lab/w", "lab/mid~2", parents=("lab/top~1",))
    for configured, expected in ((40, 40), (80, 60)):
        book = BudgetBook([Budget(ScopeKind.RUN, "*", Window.TOTAL, configured)])
        charges = tightest((*book.charges(scopes, 0), *run_charges("lab", (MID, TOP))))
        limits = {charge.account: charge.limit_nano for charge in charges}
        assert limits["run:lab/mid~2|total|0"] == expected
        assert limits["run:lab/top~1|total|0"] == min(configured, 100)
        assert len(charges) == len(limits) == 7


def test_a_run_may_get_as_much_as_the_runs_above_it_may_spend() -> None:
    assert beyond(LOW, (MID, TOP)) is None
    assert beyond(RunTerms("x", 61), (MID, TOP)) == (Unit.USD, 60)
    assert beyond(RunTerms("x", 60, 501), (MID, TOP)) == (Unit.TOKENS, 500)
    assert beyond(RunTerms("x", 60, 500, 11), (MID, TOP)) == (Unit.REQUESTS, 10)
    assert beyond(RunTerms("x", 10**9), ()) is None


@given(terms=TERMS, above=st.lists(TERMS, max_size=3))
def test_what_is_not_beyond_is_within_every_limit_above(
    terms: RunTerms, above: list[RunTerms]
) -> None:
    for unit, limit in terms.limits().items():
        bounds = [one.limits()[unit] for one in above]
        too_much = limit is not None and any(
            bound is not None and limit > bound for bound in bounds
        )
        if too_much:
            assert beyond(terms, above) is not None
            return
    assert beyond(terms, above) is None


def test_children_together_never_spend_more_than_the_run_above() -> None:
    """B2: each may spend as much as the one above, at once with the others and with that one."""
    chains = [(RunTerms(f"child~{n}", 50), RunTerms("top~1", 50)) for n in range(8)]
    chains.append((RunTerms("top~1", 50),))
    ledger = new_ledger()

    async def spend(number: int) -> bool:
        chain = chains[number % len(chains)]
        wish = Reservation(f"h{number}", 7, run_charges("lab", chain), 0, 1_000)
        await asyncio.sleep(0)
        hold = await ledger.reserve(wish)
        assert isinstance(hold, Hold | Refusal)
        return isinstance(hold, Hold)

    async def crowd() -> list[bool]:
        return await asyncio.gather(*(spend(number) for number in range(90)))

    assert asyncio.run(crowd()).count(True) == 7
    assert (
        asyncio.run(ledger.survey(["run:lab/top~1|total|0"]))["run:lab/top~1|total|0"].held_nano
        == 49
    )


def test_the_limits_of_a_run_are_hard_even_where_a_tighter_budget_of_runs_is_soft() -> None:
    soft = Budget(ScopeKind.RUN, "*", Window.TOTAL, 10, soft=True)
    book = BudgetBook([soft])
    counted = book.charges(Scopes("o", "lab", "k", "w", "lab/top~1"), 0)
    granted = run_charges("lab", (RunTerms("top~1", 100),))
    assert all_soft(counted) and not all_soft(granted)
    for order in ((*counted, *granted), (*granted, *counted)):
        charges = tightest(order)
        [own] = [charge for charge in charges if charge.account == "run:lab/top~1|total|0"]
        assert (own.limit_nano, own.budget) == (10, Budget(ScopeKind.RUN, "*", Window.TOTAL, 10))
        assert not all_soft(charges)
