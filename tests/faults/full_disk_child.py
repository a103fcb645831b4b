"""Fills the disk under a ledger, frees it again, and says `survived` if nothing was half done.

    python -m tests.faults.full_disk_child DIRECTORY

DIRECTORY is a file system of its own with about two megabytes.
"""

import asyncio
import errno
import sys
from pathlib import Path

from budgets.ledger import Account, LedgerError
from budgets.stores.in_sqlite import SqliteLedger
from budgets.stores.sqlite_books import open_books
from tests.contracts.ledger_backends import event, reservation, sent, shaper


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


async def one_request(ledger: SqliteLedger, hold_id: str) -> None:
    hold = await sent(ledger, reservation(hold_id, 10))
    await ledger.settle(hold, 7, event(hold_id))


async def main(directory: Path) -> None:
    path = directory / "ledger.sqlite3"
    ledger = SqliteLedger(path, shaper())
    await one_request(ledger, "before")
    fill(directory / "ballast")
    done, failed = 1, 0
    while failed < 20:
        try:
            await one_request(ledger, f"full-{done}-{failed}")
            done += 1
        except LedgerError:
            failed += 1
    (directory / "ballast").unlink()
    await one_request(ledger, "after")
    done += 1
    # A request whose settlement failed still holds its money, until its lease ends.
    before = (await ledger.survey(["org:o"]))["org:o"]
    await ledger.abandon_leases()
    charged = sum(ended.posted_nano for ended in await ledger.expire(0))
    after = (await ledger.survey(["org:o"]))["org:o"]
    assert before.posted_nano == 7 * done, (before, done)
    assert after == Account(7 * done + charged, 0, 0), (after, done, charged)
    ledger.close()
    with open_books(path) as books:
        assert list(books.faults()) == []
    print("survived")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
