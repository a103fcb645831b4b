"""What a budget finds already spent when it is set in the middle of its window.

Every entry of the ledger knows who it was charged to (`Scopes`) and which accounts took it. What a
party spent in the window, on entries that its budget's account did not take, is the opening of that
account. It is derived afresh each time and is a total, so posting it twice changes nothing.
"""

from collections.abc import Collection, Iterable, Mapping

from budgets.rolling import RollingWindow
from budgets.scopes import Budget, Scopes, Unit, account_id, covers, stand_ins, window_starts
from budgets.value import value


@value
class PartySpend:
    """What one set of parties spent on one set of accounts: nano-USD, tokens and requests.

    `start_s` is the first second of the bucket in which it was reserved, where buckets were asked
    for. A run that one request had for itself has no name (`scopes.run` is empty).
    """

    scopes: Scopes
    accounts: tuple[str, ...]
    start_s: int
    posted_nano: int
    tokens: int = 0
    requests: int = 0

    def amount(self, unit: Unit) -> int:
        """What was spent, as an account of that unit counts it."""
        if unit is Unit.USD:
            return self.posted_nano
        return self.tokens if unit is Unit.TOKENS else self.requests


def first_counted_s(budget: Budget, now_s: int) -> int:
    """From when on spending counts against the budget."""
    return window_starts(budget.window, budget.timezone, now_s)[0]


def bucket_s(budget: Budget) -> int | None:
    """The seconds by which spending is told apart; None where the window is one account."""
    return budget.window.bucket_s if isinstance(budget.window, RollingWindow) else None


def openings(budget: Budget, spent: Iterable[PartySpend], now_s: int) -> Mapping[str, int]:
    """Account to what the budget's accounts missed, in their unit; nothing where that is nothing.

    `spent` is everything since `first_counted_s`, in buckets of `bucket_s`.
    """
    start_s = first_counted_s(budget, now_s)
    missed: dict[str, int] = {}
    for row in spent:
        begin_s = row.start_s if isinstance(budget.window, RollingWindow) else start_s
        for scope_id in row.scopes.ids_of(budget.kind):
            if not covers(budget, scope_id):
                continue
            account = account_id(budget.kind, scope_id, budget.window, begin_s, budget.unit)
            if account not in row.accounts:
                missed[account] = missed.get(account, 0) + row.amount(budget.unit)
    return missed


def counting_names(budgets: Iterable[Budget]) -> Mapping[str, Budget]:
    """What a ledger remembers each budget by once nothing is missing: whatever names its accounts.

    A wide budget charges nothing of scopes that a more specific budget in another time zone stands
    in for, so those scopes are part of its name.
    """
    known = list(budgets)
    names: dict[str, Budget] = {}
    for budget in known:
        apart = [
            other.scope_id
            for other in stand_ins(budget, known)
            if other.timezone != budget.timezone
        ]
        names[" -".join([f"{budget.name}@{budget.timezone}", *sorted(apart)])] = budget
    return names


def not_counting(budgets: Iterable[Budget], counting: Collection[str]) -> list[Budget]:
    """The budgets that may have missed something."""
    return [budget for name, budget in counting_names(budgets).items() if name not in counting]
