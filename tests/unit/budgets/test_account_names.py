"""Accounts found again by their names."""

from budgets.ledger import Account
from budgets.scopes import ScopeKind, Window
from budgets.stores.account_names import accounts_in, counts_money, open_runs_in

ACCOUNTS = [
    ("key:a|day|100", Account(1, 2, 3)),
    ("key:a|day|200", Account(10, 20, 30)),
    ("key:b|day|100", Account(7)),
    ("key:b|week|100", Account(8)),
    ("keys:c|day|100", Account(9)),
    ("workflow:lab/a|day|100", Account(4)),
]


def test_the_accounts_of_a_kind_and_window_are_given_by_scope() -> None:
    found = accounts_in(ACCOUNTS, ScopeKind.KEY, Window.DAY, [100])
    assert found == {"a": Account(1, 2, 3), "b": Account(7)}


def test_several_starts_of_one_scope_are_added_up() -> None:
    found = accounts_in(ACCOUNTS, ScopeKind.KEY, Window.DAY, [100, 200])
    assert found["a"] == Account(11, 22, 33)


def test_a_scope_id_may_hold_what_names_are_made_of() -> None:
    odd = [("workflow:lab/a|b:c|day|100", Account(4))]
    assert accounts_in(odd, ScopeKind.WORKFLOW, Window.DAY, [100]) == {"lab/a|b:c": Account(4)}


def test_runs_that_hold_money_are_found_by_their_accounts() -> None:
    runs = [("run:lab/a|b|total|0", Account(1, 2)), ("run:lab/done|total|0", Account(1))]
    assert open_runs_in([*ACCOUNTS, *runs]) == {"lab/a|b"}


def test_an_account_of_tokens_or_requests_says_so_in_its_window() -> None:
    assert counts_money("workflow:lab/a|24h|100")
    assert not counts_money("workflow:lab/a|24h/tokens|100")
    assert not counts_money("key:a|total/requests|0")
