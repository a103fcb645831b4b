"""Opening an account with what was spent before its budget was there, in every store."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from budgets.ledger import Account, Bill
from budgets.openings import PartySpend, openings
from budgets.scopes import Budget, ScopeKind, Scopes, Unit, Window, account_id
from tests.contracts.ledger_backends import (
    NOON_MS,
    Backend,
    Opened,
    charge,
    each_store,
    event,
    held,
    play,
    refused,
    reservation,
    sent,
    spent,
)

ANA = Scopes(org="o", team="t", key="k", workflow="t/w", run="")
NOON_S = NOON_MS // 1_000
KEY = "key:k|month|0"


def sums(rows: list[PartySpend]) -> dict[tuple[Scopes, tuple[str, ...], int], int]:
    found: dict[tuple[Scopes, tuple[str, ...], int], int] = {}
    for row in rows:
        name = (row.scopes, row.accounts, row.start_s)
        found[name] = found.get(name, 0) + row.posted_nano
    return found


def counted(rows: Iterable[PartySpend]) -> tuple[int, int, int]:
    """Nano-USD, tokens and requests of all rows together."""
    units = (Unit.USD, Unit.TOKENS, Unit.REQUESTS)
    amounts = [[row.amount(unit) for unit in units] for row in rows]
    nano, tokens, requests = map(sum, zip(*amounts, strict=True))
    return nano, tokens, requests


@each_store
def test_the_books_say_who_spent_what_and_in_which_bucket(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        for number, after_s in enumerate((0, 10, 70)):
            asked = reservation(f"h{number}", 50, now_ms=NOON_MS + after_s * 1_000)
            await spent(ledger.store, replace(asked, scopes=ANA), 5 + number)
        await spent(ledger.store, reservation("of nobody", 50), 9)
        with ledger.books() as books:
            all_rows = sums(list(books.spent_by_party(0, None)))
            buckets = sums(list(books.spent_by_party(NOON_MS + 1_000, 60)))
        assert all_rows == {(ANA, ("org:o",), 0): 18}
        assert buckets == {(ANA, ("org:o",), NOON_S): 6, (ANA, ("org:o",), NOON_S + 60): 7}

    play(backend, tmp_path, story)


@each_store
def test_an_expiry_and_its_correction_know_who_spent(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        hold = await sent(ledger.store, replace(reservation("h1", 70), scopes=ANA))
        await ledger.store.expire(NOON_MS + 100_000)
        await ledger.store.settle(hold, 30, event("h1"))
        with ledger.books() as books:
            assert sums(list(books.spent_by_party(NOON_MS, None))) == {(ANA, ("org:o",), 0): 30}

    play(backend, tmp_path, story)


@each_store
def test_an_account_is_opened_with_a_total_once(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        for total in (60, 60, 75, 75, 40):
            await ledger.store.carry_over({KEY: total, f"{KEY}0": 1}, NOON_MS)
            assert await ledger.account(KEY) == Account(total, 0, 0)
        assert await ledger.account(f"{KEY}0") == Account(1, 0, 0)
        await ledger.store.carry_over({KEY: 40, f"{KEY}0": 2}, NOON_MS)
        assert await ledger.account(f"{KEY}0") == Account(2, 0, 0)
        refusal = await refused(ledger.store, reservation("h1", 61, charge(KEY, 100)))
        assert refusal.spent_nano == 40
        await spent(ledger.store, reservation("h2", 60, charge(KEY, 100)), 60)
        await ledger.store.carry_over({KEY: 40}, NOON_MS)
        assert await ledger.account(KEY) == Account(100, 0, 0)
        with ledger.books() as books:
            # An opening moves no money of its own, so it is no entry of the day.
            assert [total.posted_nano for total in books.totals_by_day()] == [60]

    play(backend, tmp_path, story)


@each_store
def test_the_ledger_says_what_is_open_and_which_budgets_missed_nothing(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        hold = await held(ledger.store, reservation("h1", 5))
        assert await ledger.store.oldest_hold_ms() == NOON_MS
        await ledger.store.release(hold, None)
        assert await ledger.store.oldest_hold_ms() is None
        await ledger.store.note_counting(["a", "b"])
        await ledger.store.note_counting(["b", "c"])
        assert set(await ledger.store.counting()) == {"b", "c"}

    play(backend, tmp_path, story)


@each_store
def test_the_books_say_how_many_tokens_and_requests_were_spent(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        asked = [replace(reservation(f"h{n}", 70), scopes=ANA) for n in range(6)]
        for wish in asked[:2]:
            away = await sent(ledger.store, wish)
            await ledger.store.settle(away, 30, event(wish.hold_id), Bill(400))
        await ledger.store.release(await held(ledger.store, asked[2]), None)
        await ledger.store.release(await sent(ledger.store, asked[3]), event("h3"))
        late = await sent(ledger.store, asked[4])
        await held(ledger.store, asked[5])
        await ledger.store.expire(NOON_MS + 100_000)
        with ledger.books() as books:
            assert counted(books.spent_by_party(0, None)) == (130, 800, 3)
        await ledger.store.settle(late, 40, event("h4"), Bill(55))
        with ledger.books() as books:
            assert counted(books.spent_by_party(0, None)) == (100, 855, 3)

    play(backend, tmp_path, story)


@each_store
def test_the_books_know_every_party_of_a_request_and_the_model_that_answered(
    backend: Backend, tmp_path: Path
) -> None:
    runs = replace(ANA, run="t/r", parents=("t/q", "t/p"))
    tagged = replace(ANA, user="t/u é", tags=("t/a=1", 't/b=|,"'))

    async def story(ledger: Opened) -> None:
        for number, scopes in enumerate((ANA, runs, tagged, replace(runs, user="t/u"))):
            asked = replace(reservation(f"h{number}", 50), scopes=scopes)
            away = await sent(ledger.store, asked)
            answered = Bill(9, "gpt-4o" if number % 2 else "")
            await ledger.store.settle(away, 10 + number, event(asked.hold_id), answered)
        nobody = await sent(ledger.store, reservation("of nobody", 50))
        await ledger.store.settle(nobody, 5, event("of nobody"), Bill(9, "gpt-4o"))
        with ledger.books() as books:
            found = {row.scopes: row.posted_nano for row in books.spent_by_party(0, None)}
        assert found == {
            ANA: 10,
            runs.with_model("gpt-4o"): 11,
            tagged: 12,
            replace(runs, user="t/u").with_model("gpt-4o"): 13,
        }

    play(backend, tmp_path, story)


@each_store
@pytest.mark.parametrize(("unit", "total"), [(Unit.USD, 20), (Unit.TOKENS, 90), (Unit.REQUESTS, 2)])
def test_a_budget_in_any_unit_counts_what_was_spent_before_it(
    backend: Backend, tmp_path: Path, unit: Unit, total: int
) -> None:
    budget = Budget(ScopeKind.KEY, "*", Window.TOTAL, total + 1, unit=unit)
    account = account_id(ScopeKind.KEY, "k", Window.TOTAL, 0, unit)

    async def story(ledger: Opened) -> None:
        for number in range(2):
            away = await sent(ledger.store, replace(reservation(f"h{number}", 50), scopes=ANA))
            await ledger.store.settle(away, 10, event(f"h{number}"), Bill(45))
        asked = reservation("h2", 50, charge("org:o"), charge(account), tokens=50)
        await spent(
            ledger.store, replace(asked, scopes=ANA), 3, 4
        )  # counted where it was, so it is not missed
        for _ in range(2):
            with ledger.books() as books:
                missed = openings(budget, books.spent_by_party(0, None), NOON_S)
            assert missed == {account: total}
            await ledger.store.carry_over(missed, NOON_MS)
        own = {Unit.USD: 3, Unit.TOKENS: 4, Unit.REQUESTS: 1}[unit]
        assert await ledger.account(account) == Account(total + own)
        wish = reservation("h3", 2, charge(account, total + own + 1), tokens=2)
        await (held if unit is Unit.REQUESTS else refused)(ledger.store, wish)

    play(backend, tmp_path, story)
