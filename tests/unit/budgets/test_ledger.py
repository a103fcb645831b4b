"""The life of a hold, move by move, without any store."""

import itertools
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.ledger import (
    MAX_TOTAL_NANO,
    OPEN_STATES,
    TRANSITIONS,
    Account,
    Closing,
    Hold,
    HoldState,
    LedgerError,
    Move,
    Reservation,
    Settlement,
    apply,
    close,
    correct,
    correction_of,
    dispatched,
    extended,
    open_hold,
    postings,
    repeated_hold,
)
from budgets.money import MAX_LIMIT_NANO
from budgets.scopes import Charge, Scopes, Unit, Window

SCOPES = Scopes("o", "t", "k", "t/w", "t/r")
AMOUNTS = st.integers(0, MAX_LIMIT_NANO)


def charge(account: str, limit_nano: int | None) -> Charge:
    return Charge(account, account, Window.TOTAL, limit_nano, None)


def hold(state: HoldState, amount_nano: int = 10) -> Hold:
    return Hold("h", state, amount_nano, ("a",), 0, 60)


def ended(state: HoldState, posted_nano: int) -> Settlement:
    return Settlement("h", state, posted_nano, 0)


def asked(amount_nano: int, *charges: Charge) -> Reservation:
    return Reservation("h", amount_nano, charges, 1_000, 60)


@pytest.mark.parametrize(("state", "move"), list(itertools.product(HoldState, Move)))
def test_a_hold_makes_the_moves_of_the_table_and_no_other(state: HoldState, move: Move) -> None:
    def make() -> HoldState:
        if move is Move.EXTEND:
            return extended(hold(state), asked(11, charge("a", None))).state
        if move is Move.DISPATCH:
            return dispatched(hold(state)).state
        return close(hold(state), move).state

    if (state, move) in TRANSITIONS:
        assert make() is TRANSITIONS[state, move]
    else:
        with pytest.raises(LedgerError, match=f"{state} cannot {move}"):
            make()


def test_no_move_leads_out_of_an_ended_hold() -> None:
    assert {state for state, _ in TRANSITIONS} == OPEN_STATES
    endings = {Move.SETTLE, Move.RELEASE, Move.EXPIRE}
    ends = {after for (_, move), after in TRANSITIONS.items() if move in endings}
    assert ends == set(HoldState) - OPEN_STATES
    stays = {after for (_, move), after in TRANSITIONS.items() if move not in endings}
    assert stays == OPEN_STATES


def test_a_reservation_becomes_a_hold_with_a_lease() -> None:
    found = open_hold(asked(5, charge("a", 1), charge("b", None)))
    assert found == Hold("h", HoldState.HELD, 5, ("a", "b"), 1_000, 1_060)


@pytest.mark.parametrize("amount", [-1, MAX_LIMIT_NANO + 1])
def test_an_amount_no_ledger_counts_is_an_error(amount: int) -> None:
    with pytest.raises(LedgerError, match=f"a hold of nano-USD is {amount}, which is outside"):
        open_hold(asked(amount, charge("a", 1)))
    with pytest.raises(LedgerError, match=f"a hold of tokens is {amount}, which is outside"):
        open_hold(mixed(5, amount))
    with pytest.raises(LedgerError, match=f"a cost in nano-USD is {amount}, which is outside"):
        close(hold(HoldState.DISPATCHED), Move.SETTLE, amount)
    with pytest.raises(LedgerError, match=f"what an account takes is {amount}, which is outside"):
        close(hold(HoldState.DISPATCHED), Move.SETTLE, 5, (amount,))
    with pytest.raises(LedgerError, match=f"a cost in nano-USD is {amount}, which is outside"):
        correct(ended(HoldState.EXPIRED_CHARGED, 5), amount)


def test_the_largest_and_the_smallest_amount_are_no_errors() -> None:
    assert open_hold(mixed(MAX_LIMIT_NANO, MAX_LIMIT_NANO)).amount_nano == MAX_LIMIT_NANO
    assert close(hold(HoldState.DISPATCHED), Move.SETTLE).posted_nano == 0


def test_a_hold_whose_amounts_are_not_those_of_its_accounts_makes_no_move() -> None:
    broken = replace(dispatched(open_hold(mixed(7, 30))), amounts=(7, 30))
    with pytest.raises(LedgerError, match="without saying what each account takes"):
        close(broken, Move.EXPIRE)
    for move in (Move.SETTLE, Move.RELEASE):
        with pytest.raises(ValueError, match="is shorter than"):
            close(broken, move, 7, (7, 30, 1))
    with pytest.raises(ValueError, match="is longer than"):
        extended(broken, mixed(8, 31))


def test_a_repeated_reservation_must_keep_its_terms() -> None:
    first = open_hold(asked(5, charge("a", 9)))
    assert repeated_hold(first, asked(5, charge("a", 8))) is first
    for other in (asked(6, charge("a", 9)), asked(5, charge("b", 9)), asked(5)):
        with pytest.raises(LedgerError, match="another amount or accounts"):
            repeated_hold(first, other)


@given(AMOUNTS, AMOUNTS, st.sampled_from([Move.SETTLE, Move.RELEASE, Move.EXPIRE]))
def test_an_ending_gives_back_the_whole_hold_and_posts_what_its_state_says(
    amount: int, cost: int, move: Move
) -> None:
    closing = close(hold(HoldState.DISPATCHED, amount), move, cost if move is Move.SETTLE else 0)
    assert closing.held_nano == -amount
    posted = {Move.SETTLE: cost, Move.RELEASE: 0, Move.EXPIRE: amount}[move]
    assert closing.posted_nano == posted
    assert closing.overrun_nano == max(0, posted - amount)


@given(AMOUNTS, AMOUNTS)
def test_an_expiry_and_its_correction_post_the_truth_together(ceiling: int, truth: int) -> None:
    first = ended(HoldState.EXPIRED_CHARGED, ceiling)
    correction = correct(first, truth)
    assert first.posted_nano + correction.posted_nano == truth
    assert correction.overrun_nano == max(0, truth - ceiling)
    assert correction.correction and not correction.repeated
    assert (correction.hold_id, correction.state) == (first.hold_id, first.state)


def test_what_was_freed_was_held_by_nobody_so_all_of_its_late_cost_is_overrun() -> None:
    assert correct(ended(HoldState.EXPIRED_FREED, 0), 7).overrun_nano == 7


@pytest.mark.parametrize("state", [HoldState.SETTLED, HoldState.RELEASED])
def test_what_ended_by_itself_takes_no_correction(state: HoldState) -> None:
    with pytest.raises(LedgerError, match="takes no correction"):
        correct(ended(state, 5), 6)


def test_an_account_never_falls_below_zero() -> None:
    account = Account(posted_nano=5, held_nano=5, overrun_nano=5)
    assert account.committed_nano == 10
    assert apply(account, 3, -5, 1) == Account(8, 0, 6)
    for change in ((-6, 0, 0), (0, -6, 0), (0, 0, -6)):
        message = re.escape(f"{account} cannot take {change}")
        with pytest.raises(LedgerError, match=message):
            apply(account, *change)
    assert apply(account, -5, -5, -5) == Account()


@pytest.mark.parametrize(
    ("account", "change"),
    [
        (Account(MAX_TOTAL_NANO - 5, 3), (3, 0, 0)),
        (Account(MAX_TOTAL_NANO - 5, 3), (0, 3, 0)),
        (Account(0, 0, MAX_TOTAL_NANO - 2), (0, 0, 3)),
    ],
)
def test_an_account_never_leaves_the_integers_of_a_store(
    account: Account, change: tuple[int, int, int]
) -> None:
    less = tuple(max(0, amount - 1) for amount in change)
    apply(account, *less)
    message = re.escape(f"{account} cannot take {change}: the sum leaves the 64-bit integers")
    with pytest.raises(LedgerError, match=message):
        apply(account, *change)


def charged(unit: Unit, account: str = "") -> Charge:
    return Charge(account or f"team:t|total/{unit}|0", "team:t", Window.TOTAL, 50, None, unit=unit)


def mixed(amount_nano: int, tokens: int) -> Reservation:
    charges = (charge("org", None), charged(Unit.TOKENS), charged(Unit.REQUESTS))
    return Reservation("h", amount_nano, charges, 1_000, 60, tokens=tokens)


def test_each_account_of_a_hold_has_its_own_unit() -> None:
    assert open_hold(asked(7, charge("org", None))).amounts == ()
    mixed_hold = open_hold(mixed(7, 30))
    assert mixed_hold.amounts == tuple(mixed_hold.on_each()) == (7, 30, 1)
    assert open_hold(asked(7, charge("org", None))).on_each() == (7,)


def test_a_settlement_posts_to_each_account_what_it_counts() -> None:
    taken = postings(mixed(0, 0).charges, 9, 12)
    assert taken == (9, 12, 1)
    closing = close(dispatched(open_hold(mixed(7, 30))), Move.SETTLE, 9, taken)
    assert (closing.posted_nano, closing.held_nano, closing.overrun_nano) == (9, -7, 2)
    assert closing.each == ((9, -7, 2), (12, -30, 0), (1, -1, 0))
    with pytest.raises(LedgerError, match="what each account takes"):
        close(dispatched(open_hold(mixed(7, 30))), Move.SETTLE, 9)
    with pytest.raises(LedgerError, match="outside"):
        close(dispatched(open_hold(mixed(7, 30))), Move.SETTLE, 9, (9, -1, 1))


def test_what_was_kept_ready_and_not_asked_takes_nothing() -> None:
    charges = (charge("org", None), charge("model:a", 10), charge("model:b", 10))
    assert postings(charges, 9, 12) == ()
    assert postings(charges, 9, 12, {"model:b"}) == (9, 9, 0)
    shut = replace(charged(Unit.GATE, "stop"), lone=False)
    assert postings((*charges, shut), 9, 12) == (9, 9, 9, 0)
    assert postings((*charges, replace(shut, lone=True)), 9, 12) == ()


def test_a_release_gives_back_every_unit_and_an_expiry_charges_every_unit() -> None:
    held = open_hold(mixed(7, 30))
    assert close(held, Move.RELEASE).each == ((0, -7, 0), (0, -30, 0), (0, -1, 0))
    assert close(held, Move.EXPIRE).each == ((0, -7, 0), (0, -30, 0), (0, -1, 0))
    charged_whole = close(dispatched(held), Move.EXPIRE)
    assert charged_whole.each == ((7, -7, 0), (30, -30, 0), (1, -1, 0))


def test_a_correction_brings_every_account_to_the_truth() -> None:
    first = ended(HoldState.EXPIRED_CHARGED, 7)
    correction = correct(first, 9)
    closing = correction_of(first, (7, 30, 1), correction, (9, 12, 1))
    each = ((2, 0, 2), (-18, 0, 0), (0, 0, 0))
    assert closing == Closing(HoldState.EXPIRED_CHARGED, 2, 0, 2, each)
    alike = correction_of(first, (), correction, ())
    assert alike == Closing(HoldState.EXPIRED_CHARGED, 2, 0, 2)
    spared = correction_of(first, (), correction, (9, 0))
    assert spared.each == ((2, 0, 2), (-7, 0, 0))
    charged_otherwise = correction_of(first, (7, 0), correction, ())
    assert charged_otherwise.each == ((2, 0, 2), (9, 0, 9))
    with pytest.raises(LedgerError, match="other accounts"):
        correction_of(first, (7, 7), correction, (9,))


@pytest.mark.parametrize("state", [HoldState.HELD, HoldState.DISPATCHED])
def test_a_hold_grows_to_what_is_asked_and_keeps_its_state_and_lease(state: HoldState) -> None:
    before = open_hold(replace(mixed(7, 30), scopes=SCOPES))
    if state is HoldState.DISPATCHED:
        before = dispatched(before)
    after = extended(before, mixed(9, 31))
    assert (after.state, after.amount_nano, after.amounts) == (state, 9, (9, 31, 1))
    assert (after.admitted_ms, after.lease_until_ms) == (1_000, 1_060)
    assert after.scopes == before.scopes == SCOPES
    assert extended(after, mixed(9, 31)) == after


@pytest.mark.parametrize(
    "wrong",
    [mixed(6, 30), mixed(8, 29), Reservation("h", 9, (charge("org", None),), 1_000, 60)],
)
def test_a_hold_is_never_extended_to_less_or_on_other_accounts(wrong: Reservation) -> None:
    with pytest.raises(LedgerError, match="less, or on other accounts"):
        extended(open_hold(mixed(7, 30)), wrong)
