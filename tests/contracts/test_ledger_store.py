"""One suite for every ledger store: what a hold does to money, whatever keeps it."""

from dataclasses import replace
from pathlib import Path

import pytest

from budgets.ledger import Account, Hold, HoldState, LedgerError
from budgets.money import MAX_LIMIT_NANO
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


@each_store
def test_a_hold_is_set_aside_on_every_account(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        asked = reservation("h1", 70, charge("org:o"), charge("key:k", 100))
        hold = await held(ledger.store, asked)
        assert hold == Hold("h1", HoldState.HELD, 70, ("org:o", "key:k"), NOON_MS, NOON_MS + 60_000)
        accounts = await ledger.store.survey(["org:o", "key:k", "key:unseen"])
        assert accounts == {"org:o": Account(0, 70, 0), "key:k": Account(0, 70, 0)}

    play(backend, tmp_path, story)


@each_store
def test_a_limit_counts_the_buckets_before_the_one_that_is_charged(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        buckets = ("key:k|24h|1", "key:k|24h|2", "key:k|24h|3")
        await spent(ledger.store, reservation("h1", 40, charge(buckets[0])), 30)
        await held(ledger.store, reservation("h2", 50, charge(buckets[1])))
        rolling = replace(charge(buckets[2], 100), counted=buckets, resets_at_s=9, step_s=2)
        refusal = await refused(ledger.store, reservation("h3", 21, rolling))
        assert (refusal.spent_nano, refusal.held_nano, refusal.resets_at_s) == (30, 50, 9)
        hold = await held(ledger.store, reservation("h4", 20, rolling))
        assert hold.accounts == (buckets[2],)
        assert await ledger.account(buckets[2]) == Account(0, 20, 0)
        assert await ledger.account(buckets[0]) == Account(30, 0, 0)

    play(backend, tmp_path, story)


@each_store
def test_a_limit_is_used_to_the_last_nano_dollar_and_not_beyond(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        limited = charge("key:k", 100)
        await spent(ledger.store, reservation("h1", 40, limited), 30)
        await held(ledger.store, reservation("h2", 50, limited))
        await refused(ledger.store, reservation("h3", 21, limited))
        await held(ledger.store, reservation("h4", 20, limited))
        await refused(ledger.store, reservation("h5", 1, limited))
        await held(ledger.store, reservation("h6", 0, limited))
        assert await ledger.account("key:k") == Account(30, 70, 0)

    play(backend, tmp_path, story)


@each_store
def test_a_refusal_names_the_account_and_what_it_has_left(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        limited = charge("key:k|month|0", 100)
        await spent(ledger.store, reservation("h1", 40, limited), 40)
        await held(ledger.store, reservation("h2", 50, limited))
        refusal = await refused(ledger.store, reservation("h3", 30, charge("org:o"), limited))
        assert (refusal.scope, refusal.limit_nano) == ("key:k", 100)
        assert (refusal.spent_nano, refusal.held_nano, refusal.needed_nano) == (40, 50, 30)
        assert refusal.only_held
        assert not (await refused(ledger.store, reservation("h4", 61, limited))).only_held

    play(backend, tmp_path, story)


@each_store
def test_a_refusal_in_the_last_scope_leaves_the_others_as_they_were(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        names = ["org:o", "team:t", "key:k", "workflow:w", "run:r"]
        charges = [charge(name, 1_000) for name in names[:4]] + [charge("run:r", 100)]
        await spent(ledger.store, reservation("h1", 60, *charges), 60)
        before = await ledger.store.survey(names)
        refusal = await refused(ledger.store, reservation("h2", 41, *charges))
        assert refusal.scope == "run:r"
        assert await ledger.store.survey(names) == before

    play(backend, tmp_path, story)


@each_store
def test_settling_posts_the_cost_and_gives_back_the_rest(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        asked = reservation("h1", 70, charge("org:o"), charge("key:k", 100))
        settlement = await spent(ledger.store, asked, 45)
        assert (settlement.state, settlement.posted_nano) == (HoldState.SETTLED, 45)
        assert (settlement.overrun_nano, settlement.repeated) == (0, False)
        accounts = await ledger.store.survey(["org:o", "key:k"])
        assert accounts == {"org:o": Account(45, 0, 0), "key:k": Account(45, 0, 0)}

    play(backend, tmp_path, story)


@each_store
def test_a_cost_above_its_hold_is_posted_and_counted_as_overrun(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        limited = charge("key:k", 100)
        settlement = await spent(ledger.store, reservation("h1", 100, limited), 130)
        assert (settlement.posted_nano, settlement.overrun_nano) == (130, 30)
        account = await ledger.account("key:k")
        assert account == Account(130, 0, 30)
        assert account.posted_nano - 100 <= account.overrun_nano
        assert not (await refused(ledger.store, reservation("h2", 0, limited))).only_held

    play(backend, tmp_path, story)


@each_store
def test_a_settlement_that_is_repeated_changes_nothing(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        hold = await sent(ledger.store, reservation("h1", 70))
        first = await ledger.store.settle(hold, 45, event("h1"))
        again = await ledger.store.settle(hold, 60, event("h1-again"))
        assert (again.posted_nano, again.repeated, first.repeated) == (45, True, False)
        assert await ledger.account("org:o") == Account(45, 0, 0)
        assert ledger.outbox_ids() == ["h1"]

    play(backend, tmp_path, story)


@each_store
def test_what_was_never_dispatched_is_given_back_without_an_event(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        hold = await held(ledger.store, reservation("h1", 70))
        released = await ledger.store.release(hold, None)
        assert (released.state, released.posted_nano) == (HoldState.RELEASED, 0)
        assert await ledger.account("org:o") == Account(0, 0, 0)
        assert ledger.outbox_ids() == []

    play(backend, tmp_path, story)


@each_store
def test_a_dispatched_hold_is_released_with_the_event_that_explains_it(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        hold = await sent(ledger.store, reservation("h1", 70))
        await ledger.store.release(hold, event("h1"))
        again = await ledger.store.release(hold, event("h1-again"))
        assert (again.state, again.repeated) == (HoldState.RELEASED, True)
        assert await ledger.account("org:o") == Account(0, 0, 0)
        assert ledger.outbox_ids() == ["h1"]

    play(backend, tmp_path, story)


@each_store
def test_the_first_ending_wins(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        one = await sent(ledger.store, reservation("h1", 70))
        two = await sent(ledger.store, reservation("h2", 70))
        await ledger.store.settle(one, 45, event("h1"))
        await ledger.store.release(two, event("h2"))
        late_release = await ledger.store.release(one, event("h1-late"))
        late_settle = await ledger.store.settle(two, 45, event("h2-late"))
        assert (late_release.state, late_release.posted_nano) == (HoldState.SETTLED, 45)
        assert (late_settle.state, late_settle.posted_nano) == (HoldState.RELEASED, 0)
        assert late_release.repeated and late_settle.repeated
        assert await ledger.account("org:o") == Account(45, 0, 0)
        assert ledger.outbox_ids() == ["h1", "h2"]

    play(backend, tmp_path, story)


@each_store
def test_a_hold_nobody_knows_takes_no_move(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        stranger = Hold("stranger", HoldState.HELD, 5, ("org:o",), NOON_MS, NOON_MS + 1)
        away = Hold("stranger", HoldState.DISPATCHED, 5, ("org:o",), NOON_MS, NOON_MS + 1)
        with pytest.raises(LedgerError):
            await ledger.store.dispatch(stranger, b"stranger")
        with pytest.raises(LedgerError):
            await ledger.store.settle(away, 5, event("stranger"))
        with pytest.raises(LedgerError):
            await ledger.store.release(away, event("stranger"))
        assert ledger.outbox_ids() == []
        assert await ledger.store.survey(["org:o"]) == {}

    play(backend, tmp_path, story)


@each_store
def test_moves_that_a_hold_does_not_have_are_errors(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        hold = await held(ledger.store, reservation("h1", 70))
        with pytest.raises(LedgerError, match="held cannot settle"):
            await ledger.store.settle(hold, 5, event("h1"))
        away = await ledger.store.dispatch(hold, b"h1")
        for stale in (hold, away):
            with pytest.raises(LedgerError):
                await ledger.store.dispatch(stale, b"h1")
        await ledger.store.settle(away, 5, event("h1"))
        with pytest.raises(LedgerError):
            await ledger.store.dispatch(hold, b"h1")
        assert await ledger.account("org:o") == Account(5, 0, 0)

    play(backend, tmp_path, story)


@each_store
@pytest.mark.parametrize("amount_nano", [-1, MAX_LIMIT_NANO + 1, 1 << 63, 1 << 80])
def test_an_amount_that_cannot_be_counted_is_an_error_and_moves_nothing(
    backend: Backend, tmp_path: Path, amount_nano: int
) -> None:
    async def story(ledger: Opened) -> None:
        with pytest.raises(LedgerError, match="outside 0 to"):
            await ledger.store.reserve(reservation("h0", amount_nano))
        hold = await sent(ledger.store, reservation("h1", 70))
        with pytest.raises(LedgerError, match="outside 0 to"):
            await ledger.store.settle(hold, amount_nano, event("h1"))
        assert await ledger.account("org:o") == Account(0, 70, 0)
        await ledger.store.settle(hold, 70, event("h1"))
        with pytest.raises(LedgerError, match="outside 0 to"):
            await ledger.store.settle(hold, amount_nano, event("h1"))

    play(backend, tmp_path, story)


@each_store
def test_a_lone_charge_keeps_its_limit_and_leaves_no_account(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        lone = replace(charge("run:r", 50), lone=True)
        assert (await refused(ledger.store, reservation("h1", 51, charge("org:o"), lone))).scope
        settlement = await spent(ledger.store, reservation("h2", 50, charge("org:o"), lone), 40)
        assert settlement.posted_nano == 40
        accounts = await ledger.store.survey(["org:o", "run:r"])
        assert accounts == {"org:o": Account(40, 0, 0)}

    play(backend, tmp_path, story)


@each_store
def test_an_account_named_twice_is_an_error(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        with pytest.raises(LedgerError, match="twice"):
            await ledger.store.reserve(reservation("h1", 5, charge("key:k"), charge("key:k", 9)))

    play(backend, tmp_path, story)


@each_store
def test_a_settlement_with_accounts_of_another_hold_is_an_error(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        hold = await sent(ledger.store, reservation("h1", 70))
        for names in (("key:k",), ("org:o", "key:k"), ()):
            forged = replace(hold, accounts=names)
            with pytest.raises(LedgerError, match="unknown or was never dispatched"):
                await ledger.store.settle(forged, 5, event("h1"))
        assert await ledger.account("org:o") == Account(0, 70, 0)
        assert await ledger.account("key:k") == Account(0, 0, 0)

    play(backend, tmp_path, story)


@each_store
@pytest.mark.parametrize("told_nano", [0, 69, 71, 10_000])
def test_what_a_settlement_gives_back_is_what_the_ledger_holds_whatever_the_caller_says(
    backend: Backend, tmp_path: Path, told_nano: int
) -> None:
    async def story(ledger: Opened) -> None:
        hold = await sent(ledger.store, reservation("h1", 70, charge("org:o"), charge("key:k", 90)))
        await held(ledger.store, reservation("h2", 20, charge("key:k", 90)))
        done = await ledger.store.settle(replace(hold, amount_nano=told_nano), 75, event("h1"))
        assert (done.posted_nano, done.overrun_nano) == (75, 5)
        assert await ledger.account("org:o") == Account(75, 0, 5)
        assert await ledger.account("key:k") == Account(75, 20, 5)

    play(backend, tmp_path, story)


@each_store
def test_a_lowered_limit_refuses_the_next_request_and_lets_the_running_one_end(
    backend: Backend, tmp_path: Path
) -> None:
    async def story(ledger: Opened) -> None:
        running = await sent(ledger.store, reservation("h1", 70, charge("key:k", 100)))
        refusal = await refused(ledger.store, reservation("h2", 1, charge("key:k", 50)))
        assert (refusal.limit_nano, refusal.held_nano) == (50, 70)
        await ledger.store.settle(running, 60, event("h1"))
        await refused(ledger.store, reservation("h3", 1, charge("key:k", 50)))
        await held(ledger.store, reservation("h4", 40, charge("key:k", 100)))
        assert await ledger.account("key:k") == Account(60, 40, 0)

    play(backend, tmp_path, story)


@each_store
def test_many_small_costs_add_up_exactly(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        for number in range(1_000):
            await spent(ledger.store, reservation(f"h{number}", 20_551), 20_550 + number % 2)
        assert await ledger.account("org:o") == Account(1_000 * 20_550 + 500, 0, 0)

    play(backend, tmp_path, story)


@each_store
def test_the_books_tell_each_days_entries_apart(backend: Backend, tmp_path: Path) -> None:
    async def story(ledger: Opened) -> None:
        next_day_ms = NOON_MS + 86_400_000
        one = await sent(ledger.store, reservation("h1", 70))
        two = await sent(ledger.store, reservation("h2", 70))
        three = await held(ledger.store, reservation("h3", 70))
        four = await sent(ledger.store, reservation("h4", 70))
        await ledger.store.settle(one, 45, event("e1"))
        await ledger.store.settle(two, 46, event("e2", next_day_ms))
        await ledger.store.release(three, None)
        await ledger.store.release(four, event("e4", next_day_ms))
        with ledger.books() as books:
            totals = {
                total.day: (total.entries, total.posted_nano) for total in books.totals_by_day()
            }
            assert totals == {"2026-11-01": (1, 45), "2026-11-02": (2, 46)}
            assert books.entries_of_day("2026-11-02") == {"e2": 46, "e4": 0}
            assert [row.event_id for row in books.outbox()] == ["e1", "e2", "e4"]

    play(backend, tmp_path, story)
