"""Every store: a request that is asked twice, and a hold whose process died."""

from dataclasses import replace
from pathlib import Path

import pytest

from budgets.ledger import Account, Hold, HoldState, LedgerError
from tests.contracts.ledger_backends import (
    LEASE_MS,
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

OVER_MS = NOON_MS + LEASE_MS


@each_store
def test_the_same_reservation_again_is_the_same_hold(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        asked = reservation("h1", 70, charge("key:k", 100))
        first = await held(ledger.store, asked)
        later = reservation("h1", 70, charge("key:k", 100), now_ms=NOON_MS + 5)
        assert await ledger.store.reserve(later) == first
        assert await ledger.account("key:k") == Account(0, 70, 0)
        away = await ledger.store.dispatch(first, b"h1")
        assert await ledger.store.reserve(asked) == away

    play(backend, tmp_path, story)


@each_store
def test_a_repeated_reservation_is_not_refused_for_what_it_holds_itself(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        asked = reservation("h1", 100, charge("key:k", 100))
        first = await held(ledger.store, asked)
        await refused(ledger.store, reservation("h2", 1, charge("key:k", 100)))
        assert await ledger.store.reserve(asked) == first

    play(backend, tmp_path, story)


@each_store
def test_the_same_id_with_other_terms_is_an_error(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        await held(ledger.store, reservation("h1", 70, charge("key:k", 100)))
        for other in (
            reservation("h1", 20, charge("key:k", 100)),
            reservation("h1", 90, charge("key:k", 100)),
            reservation("h1", 70, charge("key:other", 100)),
        ):
            with pytest.raises(LedgerError, match="another amount or accounts"):
                await ledger.store.reserve(other)
        assert await ledger.account("key:k") == Account(0, 70, 0)

    play(backend, tmp_path, story)


@each_store
def test_the_id_of_an_ended_hold_is_never_used_again(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        limited = charge("key:k", 100)
        await spent(ledger.store, reservation("h1", 70, limited), 70)
        for amount in (10, 70):
            with pytest.raises(LedgerError, match="has ended before"):
                await ledger.store.reserve(reservation("h1", amount, limited))
        assert await ledger.account("key:k") == Account(70, 0, 0)

    play(backend, tmp_path, story)


@each_store
def test_a_lease_frees_what_was_only_held_and_charges_what_was_sent(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        await held(ledger.store, reservation("held", 30))
        await sent(ledger.store, reservation("sent", 70))
        await sent(ledger.store, reservation("alive", 11, now_ms=NOON_MS + 1))
        assert await ledger.store.expire(OVER_MS - 1) == []
        ended = {done.hold_id: done for done in await ledger.store.expire(OVER_MS)}
        assert set(ended) == {"held", "sent"}
        assert ended["held"].state is HoldState.EXPIRED_FREED
        assert (ended["sent"].state, ended["sent"].posted_nano) == (HoldState.EXPIRED_CHARGED, 70)
        assert await ledger.account("org:o") == Account(70, 11, 0)
        assert ledger.outbox_ids() == ["sent-assumed"]
        assert await ledger.store.expire(OVER_MS) == []

    play(backend, tmp_path, story)


@each_store
@pytest.mark.parametrize(("truth_nano", "overrun_nano"), [(25, 0), (0, 0), (70, 0), (95, 25)])
def test_the_truth_after_an_expiry_is_an_entry_of_its_own(
    backend: Backend, tmp_path: Path, truth_nano: int, overrun_nano: int
) -> None:
    async def story(ledger: Opened) -> None:
        hold = await sent(ledger.store, reservation("h1", 70))
        await ledger.store.expire(OVER_MS)
        late = await ledger.store.settle(hold, truth_nano, event("h1"))
        assert (late.correction, late.repeated) == (True, False)
        assert (late.posted_nano, late.overrun_nano) == (truth_nano - 70, overrun_nano)
        assert await ledger.account("org:o") == Account(truth_nano, 0, overrun_nano)
        again = await ledger.store.settle(hold, 3, event("h1-again"))
        assert (again.posted_nano, again.correction, again.repeated) == (
            late.posted_nano,
            True,
            True,
        )
        assert await ledger.account("org:o") == Account(truth_nano, 0, overrun_nano)
        assert ledger.outbox_ids() == ["h1-assumed", "h1-correction"]
        with ledger.books() as books:
            day = books.entries_of_day("2026-11-01")
        assert day == {"h1-assumed": 70, "h1-correction": truth_nano - 70}

    play(backend, tmp_path, story)


@each_store
def test_a_settlement_that_comes_again_a_day_later_has_the_first_answer(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        hold = await sent(ledger.store, reservation("h1", 70))
        first = await ledger.store.settle(hold, 45, event("h1"))
        day_later_ms = OVER_MS + 86_400_000
        assert await ledger.store.expire(day_later_ms) == []
        for number in range(3):
            again = await ledger.store.settle(hold, 45, event(f"again-{number}", day_later_ms))
            assert again == replace(first, repeated=True)
        assert await ledger.account("org:o") == Account(45, 0, 0)
        assert ledger.outbox_ids() == ["h1"]

    play(backend, tmp_path, story)


@each_store
def test_a_late_settlement_with_accounts_of_another_hold_is_an_error(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        hold = await sent(ledger.store, reservation("h1", 70))
        await ledger.store.expire(OVER_MS)
        forged = Hold("h1", hold.state, 70, ("key:k",), hold.admitted_ms, hold.lease_until_ms)
        with pytest.raises(LedgerError):
            await ledger.store.settle(forged, 95, event("h1"))
        assert await ledger.account("org:o") == Account(70, 0, 0)

    play(backend, tmp_path, story)


@each_store
def test_a_release_after_an_expiry_repeats_the_expiry(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        hold = await sent(ledger.store, reservation("h1", 70))
        await ledger.store.expire(OVER_MS)
        late = await ledger.store.release(hold, event("h1"))
        assert (late.state, late.posted_nano) == (HoldState.EXPIRED_CHARGED, 70)
        assert late.repeated
        assert ledger.outbox_ids() == ["h1-assumed"]

    play(backend, tmp_path, story)


@each_store
def test_a_hold_that_was_freed_can_no_longer_be_dispatched(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        hold = await held(ledger.store, reservation("h1", 70))
        await ledger.store.expire(OVER_MS)
        with pytest.raises(LedgerError, match="not there to dispatch"):
            await ledger.store.dispatch(hold, b"h1")
        assert await ledger.account("org:o") == Account(0, 0, 0)

    play(backend, tmp_path, story)


@each_store
def test_one_sweep_ends_every_lease_however_many_there_are(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        for number in range(1_203):
            await held(ledger.store, reservation(f"h{number}", 1))
        ended = await ledger.store.expire(OVER_MS)
        assert len({done.hold_id for done in ended}) == len(ended) == 1_203
        assert await ledger.account("org:o") == Account(0, 0, 0)

    play(backend, tmp_path, story)
