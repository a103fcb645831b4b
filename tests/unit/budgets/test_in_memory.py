"""What only the memory store is: its own books. What it shares is in `tests/contracts/`."""

import asyncio

from budgets.ledger import Account
from budgets.stores.in_memory import InMemoryLedger
from tests.contracts.ledger_backends import charge, reservation, sent, shaper, spent


def test_the_books_of_a_memory_ledger_find_an_account_that_does_not_add_up() -> None:
    async def story() -> None:
        ledger = InMemoryLedger(shaper())
        await spent(ledger, reservation("h1", 10, charge("key:k")), 7)
        await sent(ledger, reservation("h2", 10, charge("key:k")))
        assert ledger.faults() == []
        ledger._shelf.accounts["key:k"] = Account(8, 10, 0)
        (fault,) = ledger.faults()
        assert fault.startswith("account key:k:")
        ledger.close()

    asyncio.run(story())
