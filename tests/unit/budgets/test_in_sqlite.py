"""What only the SQLite store promises: restart, one writer's clean end, a file that stays small.

What every store promises is in `tests/contracts/`; what it survives is in `tests/faults/`.
"""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from budgets.ledger import Account, HoldState, LedgerError, Refusal
from budgets.stores import sqlite_shelf
from budgets.stores.in_sqlite import SqliteLedger
from budgets.stores.sqlite_books import open_books
from tests.contracts.ledger_backends import (
    charge,
    event,
    held,
    reservation,
    sent,
    shaper,
    spent,
)


def test_a_new_process_takes_over_the_holds_of_a_dead_one_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def first_life() -> None:
        ledger = SqliteLedger(path, shaper())
        await held(ledger, reservation("held", 30))
        await sent(ledger, reservation("sent", 70))
        ledger.close()

    async def second_life() -> None:
        ledger = SqliteLedger(path, shaper())
        assert await ledger.survey(["org:o"]) == {"org:o": Account(0, 100, 0)}
        await ledger.abandon_leases()
        ended = {done.hold_id: done.state for done in await ledger.expire(1)}
        assert ended == {"held": HoldState.EXPIRED_FREED, "sent": HoldState.EXPIRED_CHARGED}
        assert await ledger.survey(["org:o"]) == {"org:o": Account(70, 0, 0)}
        ledger.close()

    asyncio.run(first_life())
    asyncio.run(second_life())


def test_closing_commits_what_is_pending_and_leaves_no_log(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        await held(ledger, reservation("h1", 30))
        ledger.close()
        ledger.close()
        with pytest.raises(LedgerError):
            await ledger.reserve(reservation("h2", 30))
        with pytest.raises(LedgerError):
            await ledger.survey(["org:o"])
        with pytest.raises(LedgerError):
            ledger.outbox_after(0, 1)

    asyncio.run(story())
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.sqlite3"]
    with sqlite3.connect(path) as rows:
        assert rows.execute("SELECT hold_id FROM hold").fetchall() == [("h1",)]


def test_books_that_are_open_do_not_see_what_is_written_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        await spent(ledger, reservation("h1", 10), 7)
        with open_books(path) as books:
            await spent(ledger, reservation("h2", 10), 7)
            assert [row.event_id for row in books.outbox()] == ["h1"]
            assert [total.entries for total in books.totals_by_day()] == [1]
        with open_books(path) as books:
            assert [row.event_id for row in books.outbox()] == ["h1", "h2"]
        ledger.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE account SET posted_nano = posted_nano + 1 WHERE account = 'key:k'", "posted 8"),
        ("UPDATE account SET held_nano = 1 WHERE account = 'key:k'", "held 1"),
        ("UPDATE account SET overrun_nano = 2 WHERE account = 'key:k'", "overrun 2"),
        ("DELETE FROM entry", "entries say 0"),
        ("DELETE FROM account WHERE account = 'key:k'", "posted 0 but entries say 7"),
    ],
)
def test_books_that_do_not_add_up_say_where(tmp_path: Path, damage: str, found: str) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        await spent(ledger, reservation("h1", 10, charge("key:k", 50)), 7)
        ledger.close()

    asyncio.run(story())
    with open_books(path) as books:
        assert list(books.faults()) == []
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    with open_books(path) as books:
        (fault,) = books.faults()
    assert fault.startswith("account key:k:") and found in fault


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE entry SET postings = '[[7,0],[4,0]]'", "posted 5 but entries say 4"),
        ("UPDATE entry SET postings = '[[7,0],[5,2]]'", "overrun 0 but entries say 2"),
        ("UPDATE entry SET postings = NULL", "posted 5 but entries say 7"),
        ("UPDATE entry SET postings = '[[7,0]]'", "posted 5 but entries say 0"),
        ("UPDATE hold SET amounts = '[20,31]'", "held 30 but open holds say 31"),
        ("UPDATE hold SET amounts = NULL", "held 30 but open holds say 20"),
    ],
)
def test_books_add_up_every_account_in_its_own_unit(
    tmp_path: Path, damage: str, found: str
) -> None:
    path, tokens = tmp_path / "ledger.sqlite3", "team:t|day/tokens|0"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        both = (charge("org:o"), charge(tokens))
        await spent(ledger, reservation("h1", 10, *both, tokens=9), 7, 5)
        await held(ledger, reservation("h2", 20, *both, tokens=30))
        ledger.close()

    asyncio.run(story())
    with open_books(path) as books:
        assert list(books.faults()) == []
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(damage)
    with open_books(path) as books:
        (fault,) = books.faults()
    assert fault.startswith(f"account {tokens}:") and found in fault


def test_an_extension_is_in_the_file_before_it_returns(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        tokens = charge("team:t|day/tokens|0")
        asked = reservation("h1", 30, charge("org:o"), tokens, tokens=40)
        hold = await sent(ledger, asked)
        await ledger.extend(hold, replace(asked, amount_nano=70, tokens=90))
        with closing(sqlite3.connect(path)) as file:
            rows = file.execute("SELECT amount_nano, amounts, draft FROM hold").fetchall()
            held_nano = file.execute("SELECT held_nano FROM account ORDER BY account").fetchall()
        assert rows == [(70, "[70,90]", b"h1")]
        assert held_nano == [(70,), (90,)]
        # Whoever takes over after a death charges what the provider may have spent.
        heir = SqliteLedger(path, shaper())
        await heir.abandon_leases()
        assert [done.posted_nano for done in await heir.expire(1)] == [70]
        names = ["org:o", tokens.account]
        assert list((await heir.survey(names)).values()) == [Account(70), Account(90)]
        heir.close()
        ledger.close()

    asyncio.run(story())


def test_an_extension_that_cannot_be_written_is_an_error_and_nothing_grows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        hold = await sent(ledger, reservation("h1", 30))
        with closing(sqlite3.connect(path)) as file:
            file.execute(
                "CREATE TRIGGER full BEFORE INSERT ON hold WHEN NEW.amount_nano = 70 "
                "BEGIN SELECT RAISE(ABORT, 'no space'); END"
            )
        with pytest.raises(LedgerError, match="no space"):
            await ledger.extend(hold, reservation("h1", 70))
        assert await ledger.survey(["org:o"]) == {"org:o": Account(0, 30)}
        larger = await ledger.extend(hold, reservation("h1", 69))
        assert larger == replace(hold, amount_nano=69)
        assert (await ledger.settle(hold, 69, event("h1"))).overrun_nano == 0
        ledger.close()

    asyncio.run(story())


def test_a_sum_that_leaves_the_integers_is_an_error_and_not_a_float(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        hold = await sent(ledger, reservation("h1", 10))
        outside = sqlite3.connect(path)
        outside.execute(f"UPDATE account SET posted_nano = {(1 << 63) - 3}")
        outside.commit()
        outside.close()
        with pytest.raises(LedgerError, match="64-bit integers"):
            await ledger.settle(hold, 5, event("h1"))
        account = (await ledger.survey(["org:o"]))["org:o"]
        assert account == Account((1 << 63) - 3, 10, 0)
        ledger.close()

    asyncio.run(story())


def test_a_survey_takes_as_many_accounts_as_there_are(tmp_path: Path) -> None:
    async def story() -> None:
        ledger = SqliteLedger(tmp_path / "ledger.sqlite3", shaper())
        names = [f"key:{number}" for number in range(2_000)]
        await held(ledger, reservation("h1", 3, *map(charge, names)))
        assert await ledger.survey(names) == dict.fromkeys(names, Account(0, 3, 0))
        assert await ledger.survey([]) == {}
        ledger.close()

    asyncio.run(story())


def test_two_processes_on_one_file_share_its_limits(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        one, two = SqliteLedger(path, shaper()), SqliteLedger(path, shaper())
        limited = charge("key:k", 100)
        for number in range(10):
            await sent((one, two)[number % 2], reservation(f"h{number}", 10, limited))
        for ledger in (one, two):
            assert await ledger.survey(["key:k"]) == {"key:k": Account(0, 100, 0)}
        one.close()
        two.close()

    asyncio.run(story())


def test_leases_can_be_ended_while_requests_run(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())

        async def worker(number: int) -> None:
            for count in range(20):
                await spent(ledger, reservation(f"h{number}-{count}", 10), 7)

        async def sweeper() -> None:
            for _ in range(20):
                await ledger.abandon_leases()

        await asyncio.gather(*map(worker, range(8)), sweeper(), worker(8))
        assert await ledger.survey(["org:o"]) == {"org:o": Account(9 * 20 * 7, 0, 0)}
        ledger.close()

    asyncio.run(story())
    with open_books(path) as books:
        assert list(books.faults()) == []
        assert [total.entries for total in books.totals_by_day()] == [9 * 20]


def test_leases_that_were_ended_stay_ended_after_another_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        await sent(ledger, reservation("h1", 30))
        await ledger.abandon_leases()
        ledger.close()
        ledger = SqliteLedger(path, shaper())
        assert [done.hold_id for done in await ledger.expire(1)] == ["h1"]
        ledger.close()

    asyncio.run(story())


def test_a_settlement_that_comes_again_in_another_process_has_the_first_answer(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.sqlite3"

    async def story() -> None:
        ledger = SqliteLedger(path, shaper())
        hold = await sent(ledger, reservation("h1", 70))
        first = await ledger.settle(hold, 45, event("h1"))
        ledger.close()
        ledger = SqliteLedger(path, shaper())
        again = [ledger.settle(hold, 45, event(f"again-{n}")) for n in range(10)]
        assert set(await asyncio.gather(*again)) == {replace(first, repeated=True)}
        assert (await ledger.survey(["org:o"]))["org:o"].posted_nano == 45
        assert [row.event_id for row in ledger.outbox_after(0, 99)] == ["h1"]
        ledger.close()

    asyncio.run(story())


def test_accounts_that_no_longer_fit_in_memory_are_read_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_shelf, "MAX_ACCOUNTS", 3)

    async def story() -> None:
        ledger = SqliteLedger(tmp_path / "ledger.sqlite3", shaper())
        for number in range(40):
            await spent(ledger, reservation(f"h{number}", 10, charge(f"key:{number % 8}", 50)), 10)
        for number in range(8):
            refusal = await ledger.reserve(
                reservation(f"x{number}", 1, charge(f"key:{number}", 50))
            )
            assert isinstance(refusal, Refusal)
        ledger.close()

    asyncio.run(story())
