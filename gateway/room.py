"""What a request's budgets have left, as a survey found them, now and if nothing were held."""

from collections.abc import Mapping, Sequence
from dataclasses import field

from budgets.admission import Headroom, headroom
from budgets.ledger import Account
from budgets.scopes import Charge
from budgets.value import value

OfModels = Mapping[str, tuple[Charge, ...]]
NO_MODELS: OfModels = {}
_NOTHING_LEFT_OUT: Mapping[str, Headroom] = {}


@value
class Room:
    """What the tightest budgets of a request have left by its survey.

    `of_models` is what a request is charged to for each model that has budgets of its own, and
    `models` what those have left.
    """

    left: Headroom
    accounts: Mapping[str, Account]
    charges: tuple[Charge, ...]
    of_models: OfModels = field(default_factory=lambda: NO_MODELS)
    models: Mapping[str, Headroom] = field(default_factory=lambda: _NOTHING_LEFT_OUT)

    @property
    def left_nano(self) -> int | None:
        """The money that is left, whatever model is chosen; None without a limit."""
        return self.left.nano

    def left_with(self, model: str) -> Headroom:
        """What is left where that model answers."""
        own = self.models.get(model)
        return self.left if own is None else self.left.within(own)

    def unheld(self, model: str = "") -> Headroom:
        """What would be left, with that model or any, if the requests in flight took nothing."""
        spent = {name: Account(account.posted_nano) for name, account in self.accounts.items()}
        left = headroom(spent, self.charges)
        own = self.of_models.get(model)
        return left if own is None else left.within(headroom(spent, own))


def room_of(
    accounts: Mapping[str, Account], charges: Sequence[Charge], of_models: OfModels
) -> Room:
    """What a survey says of a request's budgets, and of those of the models it could use."""
    left = headroom(accounts, charges)
    if not of_models:
        return Room(left, accounts, tuple(charges))
    models = {name: headroom(accounts, own) for name, own in of_models.items()}
    return Room(left, accounts, tuple(charges), of_models, models)
