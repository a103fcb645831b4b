"""Every store: accounts that count tokens or requests, gates, and accounts that are spared."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from budgets.ledger import Account, Bill, Hold, HoldState, LedgerError, Reservation
from budgets.money import MAX_LIMIT_NANO
from budgets.scopes import Unit
from tests.contracts.ledger_backends import (
    LEASE_MS,
    NOON_MS,
    Backend,
    Opened,
    bill,
    charge,
    each_store,
    event,
    gate,
    held,
    play,
    refused,
    reservation,
    sent,
    spent,
)

TOKENS, REQUESTS = "team:t|day/tokens|0", "team:t|day/requests|0"
NAMES = ["org:o", TOKENS, REQUESTS]
OVER_MS = NOON_MS + LEASE_MS


def mixed(
    hold_id: str, amount_nano: int, tokens: int, *, most_tokens: int = 1_000, most_requests: int = 9
) -> Reservation:
    """A wish that is charged in money, in tokens and as a request."""
    charges = (charge("org:o"), charge(TOKENS, most_tokens), charge(REQUESTS, most_requests))
    return reservation(hold_id, amount_nano, *charges, tokens=tokens)


async def standing(ledger: Opened, names: Sequence[str] = NAMES) -> list[Account]:
    found = await ledger.store.survey(names)
    return [found.get(name, Account()) for name in names]


@each_store
def test_each_account_takes_a_request_in_its_own_unit(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        asked = mixed("h1", 70, 30)
        hold = await held(ledger.store, asked)
        assert (hold.amount_nano, hold.amounts) == (70, (70, 30, 1))
        assert await standing(ledger) == [Account(0, 70), Account(0, 30), Account(0, 1)]
        assert await ledger.store.reserve(asked) == hold
        away = await ledger.store.dispatch(hold, b"h1")
        assert away.amounts == hold.amounts
        done = await ledger.store.settle(away, 45, event("h1"), bill(asked, 45, 22))
        assert (done.state, done.posted_nano, done.overrun_nano) == (HoldState.SETTLED, 45, 0)
        assert await standing(ledger) == [Account(45), Account(22), Account(1)]

    play(backend, tmp_path, story)


@each_store
def test_tokens_are_used_to_the_last_one_and_not_beyond(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        await spent(ledger.store, mixed("h1", 1, 40, most_tokens=100), 1, 30)
        await held(ledger.store, mixed("h2", 1, 50, most_tokens=100))
        refusal = await refused(ledger.store, mixed("h3", 1, 21, most_tokens=100))
        assert (refusal.account, refusal.unit) == (TOKENS, Unit.TOKENS)
        assert (refusal.spent_nano, refusal.held_nano, refusal.needed_nano) == (30, 50, 21)
        assert (refusal.limit_nano, refusal.only_held) == (100, True)
        await held(ledger.store, mixed("h4", 1, 20, most_tokens=100))
        assert await standing(ledger) == [Account(1, 2), Account(30, 70), Account(1, 2)]

    play(backend, tmp_path, story)


@each_store
def test_requests_are_counted_however_little_they_cost(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        await spent(ledger.store, mixed("h1", 0, 0, most_requests=2), 0)
        running = await held(ledger.store, mixed("h2", 0, 0, most_requests=2))
        refusal = await refused(ledger.store, mixed("h3", 0, 0, most_requests=2))
        assert (refusal.unit, refusal.needed_nano, refusal.only_held) == (Unit.REQUESTS, 1, True)
        await ledger.store.release(running, None)
        await spent(ledger.store, mixed("h4", 0, 0, most_requests=2), 0)
        refusal = await refused(ledger.store, mixed("h5", 0, 0, most_requests=2))
        assert (refusal.spent_nano, refusal.held_nano, refusal.only_held) == (2, 0, False)

    play(backend, tmp_path, story)


@each_store
def test_of_several_full_accounts_one_that_is_spent_is_named_first(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        await held(ledger.store, reservation("h1", 10, charge("key:held", 10)))
        await spent(ledger.store, reservation("h2", 10, charge("run:spent", 10)), 10)
        wish = reservation("h3", 1, charge("key:held", 10), charge("run:spent", 10))
        refusal = await refused(ledger.store, wish)
        assert (refusal.account, refusal.only_held) == ("run:spent", False)
        refusal = await refused(ledger.store, reservation("h3", 1, charge("key:held", 10)))
        assert (refusal.account, refusal.only_held) == ("key:held", True)

    play(backend, tmp_path, story)


@each_store
def test_a_release_and_a_lease_that_ran_out_give_every_unit_back(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        await ledger.store.release(await held(ledger.store, mixed("h1", 70, 30)), None)
        away = await sent(ledger.store, mixed("h2", 71, 31))
        await ledger.store.release(away, event("h2"))
        await held(ledger.store, mixed("h3", 72, 32))
        [freed] = await ledger.store.expire(OVER_MS)
        assert (freed.state, freed.posted_nano) == (HoldState.EXPIRED_FREED, 0)
        assert await standing(ledger) == [Account(), Account(), Account()]

    play(backend, tmp_path, story)


@each_store
@pytest.mark.parametrize(
    ("truth", "after"),
    [
        ((45, 22), [Account(45), Account(22), Account(1)]),
        ((95, 22), [Account(95, 0, 25), Account(22), Account(1)]),
        ((70, 44), [Account(70), Account(44, 0, 14), Account(1)]),
        ((0, 0), [Account(0), Account(0), Account(1)]),
    ],
)
def test_the_late_truth_brings_every_account_to_what_it_counts(
    backend: Backend, tmp_path: Path, truth: tuple[int, int], after: list[Account]
) -> None:
    async def story(ledger: Opened) -> None:
        asked, (cost, tokens) = mixed("h1", 70, 30), truth
        away = await sent(ledger.store, asked)
        [expired] = await ledger.store.expire(OVER_MS)
        assert (expired.state, expired.posted_nano) == (HoldState.EXPIRED_CHARGED, 70)
        assert await standing(ledger) == [Account(70), Account(30), Account(1)]
        late = await ledger.store.settle(away, cost, event("h1"), bill(asked, cost, tokens))
        assert (late.correction, late.posted_nano) == (True, cost - 70)
        assert await standing(ledger) == after
        again = await ledger.store.settle(away, 1, event("h1-again"), bill(asked, 1, 1))
        assert (again.repeated, again.posted_nano) == (True, cost - 70)
        assert await standing(ledger) == after
        with ledger.books() as books:
            assert sum(books.entries_of_day("2026-11-01").values()) == cost

    play(backend, tmp_path, story)


@each_store
def test_an_account_that_is_spared_takes_nothing_and_its_hold_ends(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        names = ["org:o", "model:a", "model:b"]
        asked = reservation("h1", 70, *[charge(name, 100) for name in names])
        settlement = await spent(ledger.store, asked, 80, 0, "model:a")
        assert (settlement.posted_nano, settlement.overrun_nano) == (80, 10)
        expected = [Account(80, 0, 10), Account(), Account(80, 0, 10)]
        assert await standing(ledger, names) == expected
        late = replace(asked, hold_id="h2", amount_nano=20)
        away = await sent(ledger.store, late)
        await ledger.store.expire(OVER_MS)
        assert await standing(ledger, names) == [
            Account(100, 0, 10),
            Account(20),
            Account(100, 0, 10),
        ]
        truth = bill(late, 25, 0, "model:b")
        await ledger.store.settle(away, 25, event("h2"), truth)
        assert await standing(ledger, names) == [
            Account(105, 0, 15),
            Account(25, 0, 5),
            Account(80, 0, 10),
        ]

    play(backend, tmp_path, story)


@each_store
def test_tokens_beyond_the_hold_are_posted_and_are_the_overrun_of_their_account(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        settlement = await spent(ledger.store, mixed("h1", 70, 30, most_tokens=30), 60, 35)
        assert (settlement.posted_nano, settlement.overrun_nano) == (60, 0)
        assert await standing(ledger) == [Account(60), Account(35, 0, 5), Account(1)]
        assert not (await refused(ledger.store, mixed("h2", 0, 0, most_tokens=30))).only_held

    play(backend, tmp_path, story)


@each_store
@pytest.mark.parametrize(
    "posted", [(), (45, 22), (45, 22, 1, 0), (45, -1, 1), (45, MAX_LIMIT_NANO + 1, 1)]
)
def test_a_bill_that_does_not_fit_the_accounts_is_an_error_and_moves_nothing(
    backend: Backend, tmp_path: Path, posted: tuple[int, ...]
) -> None:
    async def story(ledger: Opened) -> None:
        asked = mixed("h1", 70, 30)
        away = await sent(ledger.store, asked)
        with pytest.raises(LedgerError, match=r"what each account takes|outside 0 to"):
            await ledger.store.settle(away, 45, event("h1"), Bill(22, posted=posted))
        assert await standing(ledger) == [Account(0, 70), Account(0, 30), Account(0, 1)]
        assert ledger.outbox_ids() == []
        await ledger.store.expire(OVER_MS)
        with pytest.raises(LedgerError, match=r"what each account takes|outside 0 to"):
            await ledger.store.settle(away, 45, event("h1"), Bill(22, posted=posted))
        assert await standing(ledger) == [Account(70), Account(30), Account(1)]
        await ledger.store.settle(away, 45, event("h1"), bill(asked, 45, 22))
        assert await standing(ledger) == [Account(45), Account(22), Account(1)]

    play(backend, tmp_path, story)


@each_store
def test_tokens_are_a_term_of_a_hold_where_an_account_counts_them(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        await held(ledger.store, mixed("h1", 70, 30))
        with pytest.raises(LedgerError, match="another amount or accounts"):
            await ledger.store.reserve(mixed("h1", 70, 31))
        first = await held(ledger.store, reservation("h2", 70, charge("org:o"), tokens=30))
        assert first.amounts == ()
        again = reservation("h2", 70, charge("org:o"), tokens=31)
        assert await ledger.store.reserve(again) == first
        for tokens in (-1, MAX_LIMIT_NANO + 1):
            with pytest.raises(LedgerError, match="outside 0 to"):
                await ledger.store.reserve(mixed("h3", 70, tokens))
        assert await standing(ledger) == [Account(0, 140), Account(0, 30), Account(0, 1)]

    play(backend, tmp_path, story)


@each_store
def test_a_gate_is_shut_by_whatever_is_in_its_accounts_and_is_never_written(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        closed = gate("run:other", "run:r")
        asked = reservation("h1", 5, charge("org:o"), closed)
        assert (await held(ledger.store, asked)).accounts == ("org:o",)
        assert await ledger.store.survey(["", "run:other", "run:r"]) == {}
        mark = await held(ledger.store, reservation("h2", 1, charge("run:r")))
        refusal = await refused(ledger.store, replace(asked, hold_id="h3"))
        assert (refusal.scope, refusal.unit, refusal.only_held) == ("gate", Unit.GATE, True)
        mark = await ledger.store.dispatch(mark, b"h2")
        await ledger.store.settle(mark, 1, event("h2"))
        refusal = await refused(ledger.store, replace(asked, hold_id="h3"))
        assert (refusal.spent_nano, refusal.only_held) == (1, False)
        assert await ledger.account("org:o") == Account(0, 5, 0)
        assert await ledger.store.survey(["", "run:other"]) == {}

    play(backend, tmp_path, story)


@each_store
def test_an_account_that_was_opened_shuts_the_gates_that_count_it(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        running = await sent(ledger.store, reservation("h1", 5, charge("org:o"), gate("run:r")))
        await ledger.store.carry_over({"run:r": 1}, NOON_MS)
        wish = reservation("h2", 0, charge("org:o"), gate("run:r"))
        assert not (await refused(ledger.store, wish)).only_held
        await ledger.store.settle(running, 5, event("h1"))
        await ledger.store.carry_over({"run:r": 0}, NOON_MS)
        await held(ledger.store, wish)
        assert await ledger.account("org:o") == Account(5, 0, 0)

    play(backend, tmp_path, story)


@each_store
@pytest.mark.parametrize(("tokens", "requests"), [(37, 200), (200, 37), (37, 37), (0, 5)])
def test_of_two_hundred_at_once_those_that_fit_every_unit_are_admitted(
    backend: Backend, tmp_path: Path, tokens: int, requests: int
) -> None:
    async def story(ledger: Opened) -> None:
        limits = {"most_tokens": 10 * tokens + 9, "most_requests": requests}
        fitting = min(tokens, requests)
        for repeat in range(5):
            asked = [mixed(f"{repeat}-{n}", 3, 10, **limits) for n in range(200)]
            answers = await asyncio.gather(*map(ledger.store.reserve, asked))
            holds = [answer for answer in answers if isinstance(answer, Hold)]
            assert len(holds) == fitting
            assert await standing(ledger) == [
                Account(0, 3 * fitting),
                Account(0, 10 * fitting),
                Account(0, fitting),
            ]
            await asyncio.gather(*(ledger.store.release(hold, None) for hold in holds))
        assert await standing(ledger) == [Account(), Account(), Account()]

    play(backend, tmp_path, story)
