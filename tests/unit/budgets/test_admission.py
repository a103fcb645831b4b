"""Whether a request is admitted, and what its budgets have left."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.admission import Headroom, admit, counted, headroom, surveyed
from budgets.ledger import Account, Refusal, Reservation, dispatched, open_hold
from budgets.scopes import Charge, Unit, Window


def charge(account: str, limit_nano: int | None) -> Charge:
    return Charge(account, account, Window.TOTAL, limit_nano, None)


def asked(amount_nano: int, *charges: Charge) -> Reservation:
    return Reservation("h", amount_nano, charges, 1_000, 60)


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
        failing = [row for row, fit in zip(rows, fits, strict=True) if not fit]
        spent = [row for row in failing if row[0] + amount > row[2]]
        first = (spent or failing)[0]
        assert (refusal.spent_nano, refusal.held_nano, refusal.limit_nano) == first
        assert refusal.only_held == (not spent)
    left = headroom(accounts, charges).nano
    assert (left is None) == (not rows)
    if left is not None:
        assert (amount <= left) == all(fits) or left == 0


def test_an_account_nobody_used_has_its_whole_limit_left() -> None:
    assert headroom({}, [charge("new", 40), charge("other", None)]) == Headroom(40)
    assert admit({}, asked(40, charge("new", 40))) is None
    assert isinstance(admit({}, asked(41, charge("new", 40))), Refusal)


def test_a_lone_charge_limits_the_hold_and_is_not_held() -> None:
    lone = Charge("run:t/r|total|0", "run:t/r", Window.TOTAL, 10, None, lone=True)
    kept = Charge("org:o|total|0", "org:o", Window.TOTAL, None, None)
    assert admit({}, Reservation("h", 11, (kept, lone), 0, 1)) is not None
    asked = Reservation("h", 10, (kept, lone), 0, 1)
    assert admit({}, asked) is None
    assert open_hold(asked).accounts == (kept.account,)


def test_a_lone_charge_counts_nothing_whatever_its_account_holds() -> None:
    lone = replace(charge("run:r", 10), lone=True)
    assert counted({"run:r": Account(10, 10)}, lone) == Account()
    assert counted({"run:r": Account(10, 10)}, charge("run:r", 10)) == Account(10, 10)
    assert surveyed([lone, charge("a", 1)]) == ["a"]


def test_a_refusal_tells_everything_of_the_account_that_is_full() -> None:
    full = Charge("k|day|9", "key:k", Window.DAY, 100, 99, unit=Unit.TOKENS)
    wish = Reservation("h", 5, (charge("org", None), full), 1_000, 60, tokens=7)
    assert admit({"k|day|9": Account(60, 34, 1)}, wish) == Refusal(
        scope="key:k",
        window=Window.DAY,
        limit_nano=100,
        spent_nano=60,
        held_nano=34,
        needed_nano=7,
        resets_at_s=99,
        account="k|day|9",
        unit=Unit.TOKENS,
    )


BUCKETS = ("k|1", "k|2", "k|3")


@pytest.mark.parametrize(
    ("held", "amount", "again_s"),
    [
        ((40, 30, 20), 11, 50),  # the first bucket alone is more than enough
        ((40, 30, 20), 50, 50),  # it is just enough
        ((40, 30, 20), 51, 57),
        ((40, 30, 20), 80, 57),
        ((40, 30, 20), 81, 64),
        ((40, 30, 20), 100, 64),
        ((40, 30, 20), 101, None),
        ((0, 0, 95), 6, 64),
        ((95, 0, 0), 6, 50),
    ],
)
def test_a_rolling_window_bears_a_request_again_once_enough_buckets_are_free(
    held: tuple[int, int, int], amount: int, again_s: int | None
) -> None:
    accounts = {name: Account(0, nano) for name, nano in zip(BUCKETS, held, strict=True) if nano}
    rolling = replace(charge("k|3", 100), counted=BUCKETS, resets_at_s=50, step_s=7)
    refusal = admit(accounts, asked(amount, rolling))
    assert refusal is not None
    assert refusal.resets_at_s == again_s
    # A calendar window is free all at once; one that never ends is never free.
    for resets_at_s in (50, None):
        calendar = replace(charge("k|1", 10), resets_at_s=resets_at_s, step_s=7)
        refusal = admit({"k|1": Account(10)}, asked(5, calendar))
        assert refusal is not None
        assert refusal.resets_at_s == resets_at_s


def test_when_a_request_can_have_more_does_not_depend_on_what_it_has() -> None:
    rolling = replace(charge("k|2", 100), counted=BUCKETS, resets_at_s=50, step_s=7)
    before = dispatched(open_hold(asked(40, rolling)))
    accounts = {"k|1": Account(30), "k|2": Account(0, 40)}
    refusal = admit(accounts, asked(71, rolling), before)
    assert refusal is not None
    assert (refusal.held_nano, refusal.needed_nano, refusal.resets_at_s) == (0, 71, 50)


def test_a_hold_whose_amounts_are_not_those_of_its_accounts_is_not_extended() -> None:
    before = replace(open_hold(asked(6, charge("a", 10))), amounts=(6, 6))
    with pytest.raises(ValueError, match="is longer than"):
        admit({"a": Account(0, 6)}, asked(8, charge("a", 10)), before)


def test_what_is_spent_is_named_before_what_is_only_held() -> None:
    accounts = {"held": Account(0, 10), "spent": Account(10, 0)}
    refusal = admit(accounts, asked(1, charge("held", 10), charge("spent", 10)))
    assert refusal is not None
    assert (refusal.account, refusal.only_held) == ("spent", False)
    waiting = admit(accounts, asked(1, charge("held", 10)))
    assert waiting is not None
    assert (waiting.account, waiting.only_held) == ("held", True)


def test_a_request_that_asks_for_more_does_not_stand_in_its_own_way() -> None:
    before = dispatched(open_hold(asked(6, charge("a", 10))))
    accounts = {"a": Account(0, 8)}
    assert admit(accounts, asked(8, charge("a", 10)), before) is None
    refusal = admit(accounts, asked(9, charge("a", 10)), before)
    assert isinstance(refusal, Refusal)
    assert (refusal.held_nano, refusal.needed_nano, refusal.only_held) == (2, 9, True)


def test_tokens_and_requests_have_limits_of_their_own() -> None:
    tokens = Charge("t", "team:a", Window.DAY, 100, 9, unit=Unit.TOKENS)
    requests = Charge("r", "team:a", Window.DAY, 3, 9, unit=Unit.REQUESTS)
    wish = Reservation("h", 10**9, (tokens, requests), 1_000, 60, tokens=40)
    assert admit({"t": Account(60), "r": Account(2)}, wish) is None
    too_many = admit({"t": Account(61)}, wish)
    assert too_many is not None
    assert (too_many.unit, too_many.needed_nano) == (Unit.TOKENS, 40)
    one_more = admit({"r": Account(1, 2)}, wish)
    assert one_more is not None
    assert (one_more.unit, one_more.needed_nano, one_more.only_held) == (Unit.REQUESTS, 1, True)
    money = charge("a", 70)
    left = headroom({"t": Account(61, 9), "r": Account(5)}, [tokens, requests, money])
    assert left == Headroom(70, 30, 0)
    assert left.within(Headroom(None, 12, 4)) == Headroom(70, 12, 0)
    assert Headroom().within(left) == left


def test_a_charge_with_an_amount_of_its_own_takes_that_and_no_more() -> None:
    model = Charge("m", "model:x", Window.TOTAL, 30, None, amount=20)
    wish = asked(50, charge("a", 50), model)
    assert admit({"m": Account(10)}, wish) is None
    assert open_hold(wish).amounts == (50, 20)
    refusal = admit({"m": Account(11)}, wish)
    assert refusal is not None
    assert (refusal.scope, refusal.needed_nano) == ("model:x", 20)


def test_a_gate_is_shut_by_whatever_is_in_its_account_and_nothing_is_kept_for_it() -> None:
    gate = Charge("", "run:r", Window.TOTAL, 0, None, lone=True, counted=("k",), unit=Unit.GATE)
    wish = asked(5, gate)
    assert surveyed(wish.charges) == ["k"]
    assert counted({}, gate) == Account()
    assert admit({}, wish) is None
    assert open_hold(wish).accounts == ()
    shut = admit({"k": Account(1)}, wish)
    assert shut is not None
    assert not shut.only_held


def test_of_several_accounts_the_tightest_of_each_unit_says_what_is_left() -> None:
    limits = [("a", None), ("b", 30), ("c", 10), ("d", 20)]
    for unit, expected in (
        (Unit.USD, Headroom(10)),
        (Unit.TOKENS, Headroom(None, 10)),
        (Unit.REQUESTS, Headroom(None, None, 10)),
    ):
        for order in (limits, limits[::-1]):
            charges = [replace(charge(name, limit), unit=unit) for name, limit in order]
            assert headroom({}, charges) == expected
    wide, tight = Headroom(9, 9, 9), Headroom(5, 5, 5)
    assert wide.within(tight) == tight.within(wide) == tight


@pytest.mark.parametrize(
    ("left", "nano", "tokens", "bears"),
    [
        (Headroom(), 1 << 60, 1 << 60, True),
        (Headroom(nano=10), 10, 1 << 60, True),
        (Headroom(nano=10), 11, 0, False),
        (Headroom(tokens=10), 1 << 60, 10, True),
        (Headroom(tokens=10), 0, 11, False),
        (Headroom(requests=1), 1 << 60, 1 << 60, True),
        (Headroom(requests=0), 0, 0, False),
        (Headroom(10, 10, 0), 1, 1, False),
        (Headroom(10, 10, 1), 10, 10, True),
    ],
)
def test_what_is_left_bears_a_request_to_the_last_unit(
    left: Headroom, nano: int, tokens: int, bears: bool
) -> None:
    assert left.bears(nano, tokens) is bears
