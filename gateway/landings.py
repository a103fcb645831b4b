"""How near a run is to the strip it keeps for its landing, and what its agent is told of that."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from budgets.landing import landing_account
from budgets.ledger import NOTHING, Account, Refusal
from budgets.scopes import Charge, Unit
from budgets.units import as_json, in_words
from budgets.value import value
from gateway.errors import ApiError, bad_request

HEADER = "x-weir-landing"
USE = b"use"


def wants_landing(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request is to use its run's strip; raise ApiError (400) for another word."""
    word = headers.get(HEADER.encode())
    if word is None:
        return False
    if word != USE:
        raise bad_request(f"The header {HEADER} must be `use`, or not be there.", HEADER)
    return True


@value
class Approach:
    """What the run of a request has left above its strip and of it, by what is counted.

    `accounts` are those that keep a strip, `account` the one of the landing; `is_free` where no
    request has used that yet.
    """

    accounts: tuple[str, ...]
    account: str
    above: Mapping[Unit, int]
    strip: Mapping[Unit, int]
    left: Mapping[Unit, int]
    is_free: bool

    def headers(self, nano: int, tokens: int, requests: int) -> list[tuple[bytes, bytes]]:
        """What a request that took so much leaves above the strip, if that is less than the strip.

        A stream takes what it holds, because its cost is not known when it begins.
        """
        taken = {Unit.USD: nano, Unit.TOKENS: tokens, Unit.REQUESTS: requests}
        told = []
        for unit, above in self.above.items():
            left = max(0, above - taken[unit])
            if left < self.strip[unit]:
                amount = str(as_json(left, unit)).encode()
                told.append((f"x-weir-run-left-{unit.value}".encode(), amount))
        return told

    def told(self, error: ApiError, refusal: Refusal) -> ApiError:
        """The error of a refusal, with the way to land where the run's own limit refused."""
        if refusal.account == self.account:
            return _used(error, refusal)
        if refusal.account not in self.accounts:
            return error
        if not self.is_free or not self.left[refusal.unit]:
            return _with(error, {"available": False}, b"used", "")
        left = {unit.value: as_json(amount, unit) for unit, amount in self.left.items()}
        words = in_words(self.left[refusal.unit], refusal.unit)
        return _with(
            error,
            {"available": True, **left},
            b"available",
            f" The run keeps {words} for its landing: send one last request with the header "
            f"`{HEADER}: use`.",
        )


def approach_of(accounts: Mapping[str, Account], strips: Sequence[Charge], run: str) -> Approach:
    """How a survey finds a run whose charges keep `strips`."""
    above: dict[Unit, int] = {}
    strip: dict[Unit, int] = {}
    left: dict[Unit, int] = {}
    for charge in strips:
        if charge.budget is not None:
            bound, kept = charge.budget.refuse_nano, charge.budget.strip_nano
            committed = accounts.get(charge.account, NOTHING).committed_nano
            above[charge.unit], strip[charge.unit] = max(0, bound - committed), kept
            left[charge.unit] = max(0, min(kept, bound + kept - committed))
    account = landing_account(run)
    is_free = not accounts.get(account, NOTHING).committed_nano
    names = tuple([charge.account for charge in strips])
    return Approach(names, account, above, strip, left, is_free)


def _with(error: ApiError, landing: Mapping[str, object], header: bytes, words: str) -> ApiError:
    return replace(
        error,
        message=error.message + words,
        details={**error.details, "landing": landing},
        extra=(*error.extra, (HEADER.encode(), header)),
    )


def _used(error: ApiError, refusal: Refusal) -> ApiError:
    """One request has landed, or does so now."""
    plain = replace(
        error,
        message=f"Budget exceeded: the landing of {refusal.scope} has been used; it is for one "
        "request.",
    )
    return _with(plain, {"available": False}, b"used", "")
