"""Rolling windows against a list of everything that was ever admitted."""

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.budget_book import BudgetBook
from budgets.ledger import Hold, Refusal, Reservation
from budgets.port import EventShaper, OutboxEvent
from budgets.rolling import BUCKETS, RollingWindow, read_rolling
from budgets.scopes import Budget, Charge, ScopeKind, Scopes, Window
from budgets.stores.in_memory import InMemoryLedger

START_S = 1_793_491_200
SCOPES = Scopes(org="o", team="t", key="k", workflow="t/w", run="t/r")
LENGTHS = st.integers(60, 4_000)
SHAPER = EventShaper(lambda draft, _, now: OutboxEvent("a", draft, now), lambda event, _: event)


def rolling_charge(length_s: int, limit_nano: int, now_s: int) -> Charge:
    window = RollingWindow(length_s)
    book = BudgetBook([Budget(ScopeKind.KEY, "*", window, limit_nano)])
    [charge] = [found for found in book.charges(SCOPES, now_s) if found.window == window]
    return charge


async def ask(ledger: InMemoryLedger, hold_id: str, amount_nano: int, charge: Charge) -> bool:
    """Whether the amount was admitted; it is spent at once."""
    wish = Reservation(hold_id, amount_nano, (charge,), 0, 60_000)
    hold = await ledger.reserve(wish)
    if isinstance(hold, Refusal):
        return False
    assert isinstance(hold, Hold)
    event = OutboxEvent(hold_id, b"{}", 0)
    await ledger.settle(await ledger.dispatch(hold, b"{}"), amount_nano, event)
    return True


@given(
    length_s=LENGTHS,
    steps=st.lists(st.tuples(st.integers(0, 1_500), st.integers(0, 60)), max_size=80),
)
def test_no_interval_of_the_length_of_a_rolling_window_holds_more_than_its_limit(
    length_s: int, steps: list[tuple[int, int]]
) -> None:
    limit_nano, width_s = 100, RollingWindow(length_s).bucket_s

    async def story() -> None:
        ledger, spent, now_s = InMemoryLedger(SHAPER), list[tuple[int, int]](), START_S
        for number, (wait_s, amount) in enumerate(steps):
            now_s += wait_s
            charge = rolling_charge(length_s, limit_nano, now_s)
            if await ask(ledger, f"h{number}", amount, charge):
                spent.append((now_s, amount))
                within = sum(nano for at_s, nano in spent if now_s - length_s < at_s)
                assert within <= limit_nano
            else:
                # Refused only for money that a window longer by one bucket still holds.
                counted = sum(nano for at_s, nano in spent if now_s - length_s - width_s < at_s)
                assert counted + amount > limit_nano

    asyncio.run(story())


@given(length_s=LENGTHS, offset_s=st.integers(0, 4_000))
def test_a_burst_at_the_edge_of_a_rolling_window_cannot_spend_the_limit_twice(
    length_s: int, offset_s: int
) -> None:
    async def story() -> None:
        ledger, now_s = InMemoryLedger(SHAPER), START_S + offset_s
        width_s = RollingWindow(length_s).bucket_s
        assert await ask(ledger, "first", 100, rolling_charge(length_s, 100, now_s))
        soon = rolling_charge(length_s, 100, now_s + length_s - 1)
        assert not await ask(ledger, "soon", 1, soon)
        late = rolling_charge(length_s, 100, now_s + length_s + width_s)
        assert await ask(ledger, "late", 100, late)

    asyncio.run(story())


def test_a_request_overtaken_across_the_edge_of_a_bucket_counts_the_faster_one() -> None:
    async def story() -> None:
        ledger, window = InMemoryLedger(SHAPER), RollingWindow(86_400)
        edge_s = window.bucket_start(START_S) + window.bucket_s
        slow = rolling_charge(86_400, 100, edge_s - 1)
        assert await ask(ledger, "fast", 70, rolling_charge(86_400, 100, edge_s))
        assert not await ask(ledger, "slow", 70, slow)

    asyncio.run(story())


@given(
    length_s=LENGTHS,
    now_s=st.integers(START_S, START_S + 10_000),
    earlier=st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 40)), max_size=30),
    amount=st.integers(1, 130),
)
def test_a_refusal_says_when_a_rolling_window_bears_the_request_again(
    length_s: int, now_s: int, earlier: list[tuple[int, int]], amount: int
) -> None:
    async def story() -> None:
        ledger = InMemoryLedger(SHAPER)
        for number, (ago_s, nano) in enumerate(sorted(earlier, reverse=True)):
            charge = rolling_charge(length_s, 100, now_s - ago_s)
            await ask(ledger, f"h{number}", nano, charge)
        wish = Reservation("x", amount, (rolling_charge(length_s, 100, now_s),), 0, 1)
        refusal = await ledger.reserve(wish)
        if not isinstance(refusal, Refusal):
            return
        again_s = refusal.resets_at_s
        if amount > 100:
            assert again_s is None
            return
        assert again_s is not None and now_s < again_s
        before = rolling_charge(length_s, 100, again_s - 1)
        assert isinstance(await ledger.reserve(Reservation("y", amount, (before,), 0, 1)), Refusal)
        after = rolling_charge(length_s, 100, again_s)
        assert isinstance(await ledger.reserve(Reservation("z", amount, (after,), 0, 1)), Hold)

    asyncio.run(story())


@given(length_s=st.integers(60, 366 * 86_400), now_s=st.integers(0, 4_000_000_000))
def test_the_counted_buckets_cover_the_window_and_one_bucket_more_on_each_side(
    length_s: int, now_s: int
) -> None:
    window = RollingWindow(length_s)
    starts, width_s = window.counted_starts(now_s), window.bucket_s
    assert window.bucket_start(now_s) == starts[-2] <= now_s < starts[-1]
    assert starts[0] <= now_s - length_s < starts[1]
    assert len(starts) <= BUCKETS + 2 and width_s * BUCKETS < length_s + BUCKETS


@pytest.mark.parametrize(
    ("text", "length_s", "name"),
    [
        ("1m", 60, "1m"),
        ("90m", 5_400, "90m"),
        ("60m", 3_600, "1h"),
        ("24h", 86_400, "24h"),
        ("1d", 86_400, "24h"),
        ("36h", 129_600, "36h"),
        ("7d", 604_800, "7d"),
        ("168h", 604_800, "7d"),
        ("366d", 31_622_400, "366d"),
    ],
)
def test_a_rolling_window_has_one_name_for_each_length(text: str, length_s: int, name: str) -> None:
    window = read_rolling(text)
    assert window == RollingWindow(length_s)
    assert (str(window), read_rolling(name)) == (name, window)


@pytest.mark.parametrize("text", ["", "h", "24", "24 h", "0h", "-1h", "1.5h", "1w", "day", "24H"])
def test_a_text_that_is_no_length_of_time_is_no_rolling_window(text: str) -> None:
    assert read_rolling(text) is None


@pytest.mark.parametrize("text", ["367d", "999999d", "9000h"])
def test_a_rolling_window_has_a_longest_length(text: str) -> None:
    with pytest.raises(ValueError, match="366d"):
        read_rolling(text)


def test_the_accounts_of_a_rolling_window_are_remembered_no_longer_than_a_bucket() -> None:
    windows = [RollingWindow(60), RollingWindow(61 * 60), Window.HOUR]
    budgets = [Budget(ScopeKind.KEY, "*", window, 5) for window in windows]
    book = BudgetBook(budgets)
    noon_s = int(datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp())
    for now_s in range(noon_s, noon_s + 1_000):
        assert book.charges(SCOPES, now_s) == BudgetBook(budgets).charges(SCOPES, now_s)


def test_without_a_rolling_budget_no_further_account_is_looked_at() -> None:
    book = BudgetBook([Budget(ScopeKind.KEY, "*", Window.DAY, 5)])
    assert [charge.counted for charge in book.charges(SCOPES, START_S)] == [(), ()]
