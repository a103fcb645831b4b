"""Ids that clients choose are bounded in number, and none is without a budget."""

import tracemalloc
from collections.abc import Iterable

import pytest

from budgets.admission import counted
from budgets.budget_book import BudgetBook
from budgets.ledger import Hold, Reservation
from budgets.scopes import Budget, ScopeKind, Scopes, Window
from gateway.known_ids import HOUR_S, KnownIds
from tests.unit.gateway.clocks import Clock
from tests.unit.gateway.desks import new_ledger, run

RUN, USER, TAG = ScopeKind.RUN, ScopeKind.USER, ScopeKind.TAG


def ids(new_per_hour: int, clock: Clock, budgets: Iterable[Budget] = ()) -> KnownIds:
    return KnownIds(BudgetBook(budgets), new_per_hour, clock)


def test_so_many_new_ids_of_a_kind_and_a_team_are_their_own() -> None:
    known = ids(2, Clock())
    assert [known.scope_id(RUN, "lab", name) for name in "abca"] == [
        "lab/a",
        "lab/b",
        "lab/~overflow",
        "lab/a",
    ]
    assert known.scope_id(USER, "lab", "c") == "lab/c"
    assert known.scope_id(RUN, "bar", "c") == "bar/c"
    assert known.overflowed == {"run": 1}


def test_an_hour_later_there_is_room_for_new_ids_and_those_in_use_are_not_new() -> None:
    clock = Clock()
    known = ids(2, clock)
    for name in "ab":
        known.scope_id(RUN, "lab", name)
    clock.now_s += HOUR_S
    found = [known.scope_id(RUN, "lab", name) for name in "cabde"]
    assert found == ["lab/c", "lab/a", "lab/b", "lab/d", "lab/~overflow"]
    clock.now_s += 2 * HOUR_S
    # Nobody used them for two hours, so they are new again.
    found = [known.scope_id(RUN, "lab", name) for name in "xya"]
    assert found == ["lab/x", "lab/y", "lab/~overflow"]


def test_an_id_with_a_budget_of_its_own_is_never_one_too_many() -> None:
    known = ids(1, Clock(), [Budget(USER, "lab/ceo", Window.DAY, 1)])
    assert [known.scope_id(USER, "lab", name) for name in ("a", "b", "ceo")] == [
        "lab/a",
        "lab/~overflow",
        "lab/ceo",
    ]


@pytest.mark.parametrize(
    ("kind", "name", "shared"),
    [
        (USER, "vip-7", "lab/vip-~overflow"),
        (USER, "ana", "lab/~overflow"),
        (TAG, "feature=x", "lab/feature=~overflow"),
        (TAG, "env=x", "lab/env~overflow=~overflow"),
        (TAG, "other=x", "lab/~overflow=~overflow"),
        (RUN, "r", "lab/~overflow"),
    ],
)
def test_the_shared_id_has_every_wide_budget_of_the_ids_it_stands_for(
    kind: ScopeKind, name: str, shared: str
) -> None:
    wide = ("*", "lab/*", "lab/vip-*")
    budgets = [Budget(USER, scope_id, Window.DAY, 1) for scope_id in wide]
    budgets += [Budget(TAG, name, Window.DAY, 1) for name in ("*", "lab/feature=*", "lab/env*")]
    book = BudgetBook(budgets)
    known = KnownIds(book, 1, Clock())
    known.scope_id(kind, "lab", "first=1")
    assert known.scope_id(kind, "lab", name) == shared

    def limits(scope_id: str) -> list[tuple[object, int | None]]:
        scopes = Scopes("o", "t", "k", "w", "", user=scope_id, tags=(scope_id,))
        return [(charge.window, charge.limit_nano) for charge in book.charges(scopes, 0)]

    assert limits(shared) == limits(f"lab/{name}")


def test_a_hundred_thousand_runs_leave_memory_and_ledger_bounded() -> None:
    """S7: each is charged all the same; the last ninety thousand share one budget."""
    limit, asked = 10_000, 100_000
    book = BudgetBook([Budget(RUN, "*", Window.TOTAL, 1_000)])
    tracemalloc.start()
    known = KnownIds(book, limit, Clock())
    places = {known.scope_id(RUN, "lab", f"run {n}") for n in range(asked)}
    del places
    remembered, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert remembered < 2_000_000
    assert known.overflowed["run"] == asked - limit
    ledger = new_ledger()

    async def spend() -> int:
        admitted = 0
        for n in range(asked):
            scope_id = known.scope_id(RUN, "lab", f"run {n}")
            charges = book.charges(Scopes("o", "lab", "k", "w", scope_id), 0)
            hold = await ledger.reserve(Reservation(f"h{n}", 1, charges, 0, 1_000))
            admitted += isinstance(hold, Hold)
        return admitted

    assert run(spend()) == limit + 1_000, "the shared id has one budget and it is spent"
    accounts = ledger._shelf.accounts
    assert len(accounts) == limit + 2
    assert len(book._remembered) <= 10_000
    [_, shared] = book.charges(Scopes("o", "lab", "k", "w", "lab/~overflow"), 0)
    assert counted(accounts, shared).held_nano == 1_000


def test_names_that_were_inferred_take_no_place_of_those_that_were_chosen() -> None:
    known = ids(1, Clock(), [Budget(RUN, "lab/budgeted", Window.TOTAL, 1)])
    assert [known.may_infer(RUN, "lab", name) for name in ("a", "b", "a")] == [True, False, True]
    assert known.may_infer(RUN, "lab", "budgeted")
    assert known.may_infer(RUN, "bar", "b")
    assert known.scope_id(RUN, "lab", "c") == "lab/c"
    assert not known.overflowed
