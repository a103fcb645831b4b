"""Every store: a hold that grows while its request runs."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from budgets.ledger import Account, Hold, HoldState, LedgerError, Refusal
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
    reservation,
    sent,
)

OVER_MS = NOON_MS + LEASE_MS
TOKENS, REQUESTS = "team:t|day/tokens|0", "team:t|day/requests|0"


async def grown(ledger: Opened, hold: Hold, amount_nano: int, limit: int = 100) -> Hold | Refusal:
    """What comes of asking for more on `key:k`."""
    wish = reservation(hold.hold_id, amount_nano, charge("org:o"), charge("key:k", limit))
    return await ledger.store.extend(hold, wish)


async def running(ledger: Opened, hold_id: str, amount_nano: int, limit: int = 100) -> Hold:
    """A dispatched hold on the organisation and `key:k`."""
    asked = reservation(hold_id, amount_nano, charge("org:o"), charge("key:k", limit))
    return await sent(ledger.store, asked)


@each_store
def test_a_hold_grows_before_and_after_its_dispatch(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        first = await held(ledger.store, reservation("h1", 10, charge("org:o"), charge("key:k")))
        larger = await grown(ledger, first, 25)
        assert larger == replace(first, amount_nano=25)
        away = await ledger.store.dispatch(larger, b"h1")
        largest = await grown(ledger, away, 60)
        assert largest == replace(away, amount_nano=60)
        assert largest.lease_until_ms == first.lease_until_ms
        for name in ("org:o", "key:k"):
            assert await ledger.account(name) == Account(0, 60, 0)
        done = await ledger.store.settle(largest, 60, event("h1"))
        assert (done.posted_nano, done.overrun_nano) == (60, 0)
        assert await ledger.account("key:k") == Account(60, 0, 0)

    play(backend, tmp_path, story)


@each_store
def test_asking_twice_for_the_same_changes_nothing(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        away = await running(ledger, "h1", 10)
        larger = await grown(ledger, away, 100)
        for stale in (away, larger):
            assert isinstance(stale, Hold)
            assert await grown(ledger, stale, 100) == larger
        assert await ledger.account("key:k") == Account(0, 100, 0)

    play(backend, tmp_path, story)


@each_store
def test_what_the_hold_has_already_does_not_stand_in_its_own_way(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        away = await running(ledger, "h1", 60)
        await running(ledger, "h2", 10)
        refusal = await grown(ledger, away, 91)
        assert isinstance(refusal, Refusal)
        assert (refusal.held_nano, refusal.needed_nano, refusal.only_held) == (10, 91, True)
        assert isinstance(await grown(ledger, away, 90), Hold)
        assert await ledger.account("key:k") == Account(0, 100, 0)

    play(backend, tmp_path, story)


@each_store
def test_an_extension_that_is_refused_leaves_everything_as_it_was(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        asked = reservation("h1", 60, charge("org:o"), charge("key:k", 100))
        away = await sent(ledger.store, asked)
        before = await ledger.store.survey(["org:o", "key:k"])
        refusal = await grown(ledger, away, 101)
        assert isinstance(refusal, Refusal)
        assert (refusal.scope, refusal.spent_nano, refusal.only_held) == ("key:k", 0, False)
        assert await ledger.store.survey(["org:o", "key:k"]) == before
        assert await ledger.store.reserve(asked) == away
        assert ledger.outbox_ids() == []
        [expired] = await ledger.store.expire(OVER_MS)
        assert expired.posted_nano == 60

    play(backend, tmp_path, story)


@each_store
@pytest.mark.parametrize("ending", ["settled", "released", "expired", "freed"])
def test_a_hold_that_has_ended_never_grows_again(
    backend: Backend, tmp_path: Path, ending: str
) -> None:
    async def story(ledger: Opened) -> None:
        asked = reservation("h1", 10, charge("org:o"), charge("key:k", 100))
        hold = await held(ledger.store, asked)
        if ending != "freed":
            hold = await ledger.store.dispatch(hold, b"h1")
        if ending == "settled":
            await ledger.store.settle(hold, 7, event("h1"))
        elif ending == "released":
            await ledger.store.release(hold, event("h1"))
        else:
            await ledger.store.expire(OVER_MS)
        before = await ledger.store.survey(["org:o", "key:k"])
        with pytest.raises(LedgerError, match="not there to extend"):
            await grown(ledger, hold, 20)
        assert await ledger.store.survey(["org:o", "key:k"]) == before

    play(backend, tmp_path, story)


@each_store
def test_a_hold_never_shrinks_and_never_moves_to_other_accounts(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        away = await running(ledger, "h1", 10)
        both = (charge("org:o"), charge("key:k"))
        for wrong in (
            reservation("h1", 9, *both),
            reservation("h1", 20, charge("org:o")),
            reservation("h1", 20, charge("org:o"), charge("key:other")),
            reservation("h1", 20, *both, charge("run:r")),
        ):
            with pytest.raises(LedgerError, match="less, or on other accounts"):
                await ledger.store.extend(away, wrong)
        for stranger in (replace(away, hold_id="nobody"), away):
            with pytest.raises(LedgerError, match="not there to extend"):
                await ledger.store.extend(stranger, reservation("another", 20, *both))
        with pytest.raises(LedgerError, match="outside 0 to"):
            await ledger.store.extend(away, reservation("h1", -1, *both))
        for name in ("org:o", "key:k"):
            assert await ledger.account(name) == Account(0, 10, 0)

    play(backend, tmp_path, story)


@each_store
def test_less_than_the_ledger_holds_is_an_error_whatever_the_caller_remembers(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        away = await running(ledger, "h1", 10)
        assert isinstance(await grown(ledger, away, 60), Hold)
        with pytest.raises(LedgerError, match="extended to less, or on other accounts"):
            await grown(ledger, away, 59)
        forged = replace(away, accounts=("org:o", "key:b"))
        wish = reservation("h1", 70, charge("org:o"), charge("key:b", 100))
        with pytest.raises(LedgerError, match="extended to less, or on other accounts"):
            await ledger.store.extend(forged, wish)
        mixed = reservation("h2", 10, charge("org:o"), charge(TOKENS), tokens=30)
        first = await sent(ledger.store, mixed)
        await ledger.store.extend(first, replace(mixed, tokens=50))
        with pytest.raises(LedgerError, match="extended to less, or on other accounts"):
            await ledger.store.extend(first, replace(mixed, amount_nano=20, tokens=49))
        found = await ledger.store.survey(["org:o", "key:k", "key:b", TOKENS])
        assert found == {
            "org:o": Account(0, 70),
            "key:k": Account(0, 60),
            TOKENS: Account(0, 50),
        }

    play(backend, tmp_path, story)


@each_store
def test_who_settles_need_not_know_that_the_hold_has_grown(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        away = await running(ledger, "h1", 10)
        await grown(ledger, away, 80)
        done = await ledger.store.settle(away, 70, event("h1"))
        assert (done.posted_nano, done.overrun_nano) == (70, 0)
        assert await ledger.account("key:k") == Account(70, 0, 0)
        late = await running(ledger, "h2", 10)
        await grown(ledger, late, 20)
        [expired] = await ledger.store.expire(OVER_MS)
        assert expired.posted_nano == 20
        # What an expiry charged is told by its event, from the draft of the dispatch.
        assumed = ledger.store.outbox_after(0, 10)[-1]
        assert (assumed.event_id, assumed.payload) == ("h2-assumed", b"20")
        corrected = await ledger.store.settle(late, 15, event("h2"))
        assert (corrected.posted_nano, corrected.correction) == (-5, True)
        assert await ledger.account("key:k") == Account(85, 0, 0)

    play(backend, tmp_path, story)


@each_store
def test_each_unit_grows_by_what_is_asked_of_it(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        charges = (charge("org:o"), charge(TOKENS, 50), charge(REQUESTS, 1))
        away = await sent(ledger.store, reservation("h1", 10, *charges, tokens=20))
        wish = reservation("h1", 30, *charges, tokens=50)
        larger = await ledger.store.extend(away, wish)
        assert isinstance(larger, Hold)
        assert larger.amounts == (30, 50, 1)
        names = ["org:o", TOKENS, REQUESTS]
        after = {"org:o": Account(0, 30), TOKENS: Account(0, 50), REQUESTS: Account(0, 1)}
        assert await ledger.store.survey(names) == after
        refusal = await ledger.store.extend(larger, reservation("h1", 31, *charges, tokens=51))
        assert isinstance(refusal, Refusal)
        assert (refusal.account, refusal.unit, refusal.needed_nano) == (TOKENS, Unit.TOKENS, 51)
        with pytest.raises(LedgerError, match="less, or on other accounts"):
            await ledger.store.extend(larger, reservation("h1", 31, *charges, tokens=49))
        assert await ledger.store.survey(names) == after
        await ledger.store.settle(away, 29, event("h1"), bill(wish, 29, 48))
        after = {"org:o": Account(29), TOKENS: Account(48), REQUESTS: Account(1)}
        assert await ledger.store.survey(names) == after

    play(backend, tmp_path, story)


@each_store
def test_an_extension_counts_the_other_buckets_of_a_rolling_window(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        buckets = ("key:k|24h|1", "key:k|24h|2")
        await held(ledger.store, reservation("h1", 30, charge(buckets[0])))
        rolling = replace(charge(buckets[1], 100), counted=buckets, resets_at_s=9, step_s=2)
        away = await sent(ledger.store, reservation("h2", 40, rolling))
        refusal = await ledger.store.extend(away, reservation("h2", 71, rolling))
        assert isinstance(refusal, Refusal)
        assert (refusal.held_nano, refusal.needed_nano, refusal.resets_at_s) == (30, 71, 9)
        assert isinstance(await ledger.store.extend(away, reservation("h2", 70, rolling)), Hold)
        assert await ledger.account(buckets[1]) == Account(0, 70, 0)

    play(backend, tmp_path, story)


@each_store
def test_a_gate_that_was_shut_meanwhile_refuses_the_extension(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        charges = (charge("org:o"), gate("run:r"))
        away = await sent(ledger.store, reservation("h1", 10, *charges))
        larger = await ledger.store.extend(away, reservation("h1", 20, *charges))
        assert isinstance(larger, Hold)
        await held(ledger.store, reservation("mark", 1, charge("run:r")))
        refusal = await ledger.store.extend(larger, reservation("h1", 30, *charges))
        assert isinstance(refusal, Refusal)
        assert refusal.unit is Unit.GATE
        assert await ledger.account("org:o") == Account(0, 20, 0)

    play(backend, tmp_path, story)


@each_store
@pytest.mark.parametrize("fitting", [0, 1, 20, 50])
def test_of_fifty_extensions_at_once_exactly_those_that_fit_are_granted(
    backend: Backend, tmp_path: Path, fitting: int
) -> None:
    async def story(ledger: Opened) -> None:
        limit = 50 * 10 + fitting * 7 + 6
        for repeat in range(5):
            account = f"run:{repeat}"
            charges = (charge("org:o"), charge(account, limit))
            holds = [
                await sent(ledger.store, reservation(f"{repeat}-{n}", 10, *charges))
                for n in range(50)
            ]
            wishes = [reservation(hold.hold_id, 17, *charges) for hold in holds]
            answers = await asyncio.gather(*map(ledger.store.extend, holds, wishes))
            larger = [answer for answer in answers if isinstance(answer, Hold)]
            assert len(larger) == fitting
            assert await ledger.account(account) == Account(0, 500 + 7 * fitting, 0)
            await asyncio.gather(*(ledger.store.release(hold, None) for hold in holds))
            assert await ledger.account(account) == Account(0, 0, 0)

    play(backend, tmp_path, story)


@each_store
def test_an_extension_and_an_ending_at_once_leave_nothing_held(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        for number in range(30):
            away = await running(ledger, f"h{number}", 10, 10_000)
            moves = [
                grown(ledger, away, 20, 10_000),
                ledger.store.settle(away, 15, event(f"h{number}")),
            ]
            moves = moves[:: 1 if number % 2 else -1]
            answers = await asyncio.gather(*moves, return_exceptions=True)
            extension, settlement = answers[:: 1 if number % 2 else -1]
            assert not isinstance(settlement, BaseException)
            assert settlement.state is HoldState.SETTLED  # type: ignore[union-attr]
            if number % 2:
                assert isinstance(extension, Hold)
                assert settlement.overrun_nano == 0  # type: ignore[union-attr]
            else:
                assert isinstance(extension, LedgerError)
                assert settlement.overrun_nano == 5  # type: ignore[union-attr]
            await ledger.store.expire(OVER_MS)
        assert await ledger.account("key:k") == Account(30 * 15, 0, 15 * 5)

    play(backend, tmp_path, story)
