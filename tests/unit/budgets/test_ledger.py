"""The life of a hold, move by move, without any store."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.ledger import (
    OPEN_STATES,
    TRANSITIONS,
    Account,
    Closing,
    Hold,
    HoldState,
    LedgerError,
    Move,
    Refusal,
    Reservation,
    Settlement,
    admit,
    apply,
    close,
    correct,
    dispatched,
    headroom_nano,
    open_hold,
    repeated_hold,
)
from budgets.money import MAX_LIMIT_NANO
from budgets.scopes import Charge, Window

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
    ends = {after for (_, move), after in TRANSITIONS.items() if move is not Move.DISPATCH}
    assert ends == set(HoldState) - OPEN_STATES


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 200)), max_size=5),
    st.integers(0, 100),
)
def test_a_request_is_admitted_exactly_where_every_account_bears_it(
    rows: list[tuple[int, int, int]], amount: int
) -> None:
    accounts = {f"a{n}": Account(row[0], row[1]) for n, row in enumerate(rows)}
    charges = [charge(f"a{n}", row[2]) for n, row in enumerate(rows)]
    refusal = admit(accounts, asked(amount, charge("unlimited", None), *charges))
    fits = [posted + held + amount <= limit for posted, held, limit in rows]
    assert (refusal is None) == all(fits)
    if refusal is not None:
        first = rows[fits.index(False)]
        assert (refusal.spent_nano, refusal.held_nano, refusal.limit_nano) == first
        assert refusal.only_held == (first[0] + amount <= first[2])
    left = headroom_nano(accounts, charges)
    assert (left is None) == (not rows)
    if left is not None:
        assert (amount <= left) == all(fits) or left == 0


def test_an_account_nobody_used_has_its_whole_limit_left() -> None:
    assert headroom_nano({}, [charge("new", 40), charge("other", None)]) == 40
    assert admit({}, asked(40, charge("new", 40))) is None
    assert isinstance(admit({}, asked(41, charge("new", 40))), Refusal)


def test_a_reservation_becomes_a_hold_with_a_lease() -> None:
    found = open_hold(asked(5, charge("a", 1), charge("b", None)))
    assert found == Hold("h", HoldState.HELD, 5, ("a", "b"), 1_000, 1_060)


@pytest.mark.parametrize("amount", [-1, MAX_LIMIT_NANO + 1])
def test_an_amount_no_ledger_counts_is_an_error(amount: int) -> None:
    with pytest.raises(LedgerError, match="a hold of"):
        open_hold(asked(amount, charge("a", 1)))
    with pytest.raises(LedgerError, match="a cost of"):
        close(hold(HoldState.DISPATCHED), Move.SETTLE, amount)
    with pytest.raises(LedgerError, match="a cost of"):
        correct(ended(HoldState.EXPIRED_CHARGED, 5), amount)


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


def test_what_was_freed_was_held_by_nobody_so_all_of_its_late_cost_is_overrun() -> None:
    assert correct(ended(HoldState.EXPIRED_FREED, 0), 7).overrun_nano == 7


@pytest.mark.parametrize("state", [HoldState.SETTLED, HoldState.RELEASED])
def test_what_ended_by_itself_takes_no_correction(state: HoldState) -> None:
    with pytest.raises(LedgerError, match="takes no correction"):
        correct(ended(state, 5), 6)


def test_an_account_never_falls_below_zero() -> None:
    account = Account(posted_nano=5, held_nano=5, overrun_nano=5)
    assert account.committed_nano == 10
    assert apply(account, Closing(HoldState.SETTLED, 3, -5, 1)) == Account(8, 0, 6)
    for closing in (
        Closing(HoldState.SETTLED, -6, 0, 0),
        Closing(HoldState.SETTLED, 0, -6, 0),
        Closing(HoldState.SETTLED, 0, 0, -6),
    ):
        with pytest.raises(LedgerError, match="cannot take"):
            apply(account, closing)


def test_a_lone_charge_limits_the_hold_and_is_not_held() -> None:
    lone = Charge("run:t/r|total|0", "run:t/r", Window.TOTAL, 10, None, lone=True)
    kept = Charge("org:o|total|0", "org:o", Window.TOTAL, None, None)
    assert admit({}, Reservation("h", 11, (kept, lone), 0, 1)) is not None
    asked = Reservation("h", 10, (kept, lone), 0, 1)
    assert admit({}, asked) is None
    assert open_hold(asked).accounts == (kept.account,)
