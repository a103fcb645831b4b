"""A million small charges through the ledger are worth what decimal arithmetic says."""

from decimal import Decimal

from budgets.ledger import Account, Hold, Reservation
from budgets.money import NANO_PER_USD
from budgets.port import OutboxEvent
from budgets.prices import cost, make_price
from budgets.stores.engine import Entry, LedgerEngine
from budgets.stores.in_memory import MemoryShelf
from budgets.usage import TokenUsage
from tests.contracts.ledger_backends import NOON_MS, charge, shaper

CHARGES = 1_000_000
# Fifteen tokens at $1.37 a million.
PRICE = make_price("m", {"fresh": 1_370_000, "output": 0}, version="v1")
EACH_USD = Decimal("0.00002055")


class Adding(MemoryShelf):
    """A shelf that adds entries up by itself, instead of keeping a million of them."""

    def __init__(self) -> None:
        super().__init__()
        self.posted_nano = 0

    def add_entry(self, entry: Entry) -> None:
        self.posted_nano += entry.settlement.posted_nano

    def add_event(self, event: OutboxEvent) -> None:
        """Nothing: events are not what is looked at here."""


def test_a_million_charges_are_exactly_what_they_are_worth() -> None:
    each_nano = cost(PRICE, TokenUsage(fresh=15)).total_nano
    shelf = Adding()
    engine = LedgerEngine(shelf, shaper())
    charges = (charge("org:o"), charge("key:k", int(EACH_USD * CHARGES * NANO_PER_USD)))
    told = OutboxEvent("e", b"{}", NOON_MS)
    for number in range(CHARGES):
        asked = Reservation(f"h{number}", each_nano, charges, NOON_MS, 60_000)
        hold = engine.reserve(asked)
        assert isinstance(hold, Hold)
        engine.settle(engine.dispatch(hold, b"h"), each_nano, told)
    # The limit is what they are worth together, so the last one just fits, and no other does.
    assert not isinstance(engine.reserve(Reservation("over", 1, charges, NOON_MS, 1)), Hold)
    expected_nano = sum((EACH_USD for _ in range(CHARGES)), Decimal(0)) * NANO_PER_USD
    assert shelf.posted_nano == expected_nano == 20_550_000_000
    assert shelf.accounts == {name: Account(20_550_000_000) for name in ("org:o", "key:k")}
    # What is avoided by counting so: the same in floats is off, and ten dimes are not a dollar.
    assert sum([float(EACH_USD)] * CHARGES) != 20.55
    assert sum([0.1] * 10) != 1.0
