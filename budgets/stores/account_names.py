"""Accounts found again by their names: those of one kind of scope in one window."""

from collections.abc import Collection, Iterable, Mapping

from budgets.ledger import NOTHING, Account, joined
from budgets.scopes import AnyWindow, ScopeKind, Unit, window_label


def accounts_in(
    accounts: Iterable[tuple[str, Account]],
    kind: ScopeKind,
    window: AnyWindow,
    starts: Collection[int],
    unit: Unit = Unit.USD,
) -> Mapping[str, Account]:
    """What is in the accounts of a kind that begin at any of `starts`, by scope id."""
    prefix = f"{kind.value}:"
    suffixes = {f"|{window_label(window, unit)}|{start_s}" for start_s in starts}
    found: dict[str, Account] = {}
    for name, account in accounts:
        party, bar, start = name.rpartition("|")
        party, own_bar, own_window = party.rpartition("|")
        if party.startswith(prefix) and f"{own_bar}{own_window}{bar}{start}" in suffixes:
            scope_id = party.removeprefix(prefix)
            found[scope_id] = joined(found.get(scope_id, NOTHING), account)
    return found


def counts_money(account: str) -> bool:
    """Whether an account is one of money, not of tokens or requests."""
    return "/" not in account.rpartition("|")[0].rpartition("|")[2]
