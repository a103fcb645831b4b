"""The line for held money: who may try when, how many wait how long, and that all have a turn."""

import asyncio
import time
from collections import Counter
from contextlib import ExitStack
from random import Random

import pytest

from budgets.budget_book import BudgetBook
from budgets.rolling import RollingWindow
from budgets.scopes import Budget, Charge, ScopeKind, Scopes, Window
from gateway.waiting import BUDGETS_A_LOOK, LOOK_S, Line, Place, Turn, budget_key
from tests.unit.gateway.desks import run

LONG_S = 60.0
NO_LOOK_S = 3_600.0


def charges(*names: str) -> tuple[Charge, ...]:
    """One charge to a total budget for each name."""
    return tuple(Charge(account(name), f"key:{name}", Window.TOTAL, 100, None) for name in names)


def account(name: str) -> str:
    return f"key:{name}|total|0"


def key(name: str) -> str:
    return budget_key(account(name))


def new_line(places: int = 1_000, wait_s: float = LONG_S, look_s: float = NO_LOOK_S) -> Line:
    return Line(places, wait_s, look_s)


async def settle_down() -> None:
    """Let every task run as far as it gets."""
    for _ in range(20):
        await asyncio.sleep(0)


class Waiter:
    """A place in a task of its own; `turns` are those it was given so far."""

    def __init__(self, line: Line, names: str, at: str = "") -> None:
        self.place: Place = line.join(charges(*names), key(at or names[0]))
        self.turns: list[Turn] = []
        self.task = asyncio.ensure_future(self._next())

    async def _next(self) -> None:
        self.turns.append(await self.place.turn())

    def again(self) -> None:
        """It tried in vain."""
        self.task = asyncio.ensure_future(self._next())

    def leave(self) -> None:
        with self.place:
            self.task.cancel()


def test_the_first_in_line_tries_first_and_the_next_when_it_has_left() -> None:
    async def story() -> None:
        line = new_line()
        first, second, third = waiters = [Waiter(line, "a") for _ in range(3)]
        await settle_down()
        assert [w.turns for w in waiters] == [[], [], []]
        line.freed([account("a")])
        await settle_down()
        assert [w.turns for w in waiters] == [[Turn.TRY], [], []]
        first.leave()
        await settle_down()
        assert [w.turns for w in waiters] == [[Turn.TRY], [Turn.TRY], []]
        third.leave()
        second.leave()
        assert line.waiting == 0

    run(story())


def test_one_who_tried_in_vain_stays_first() -> None:
    async def story() -> None:
        line = new_line()
        first, second = Waiter(line, "a"), Waiter(line, "a")
        line.freed([account("a")])
        await settle_down()
        first.again()
        await settle_down()
        assert (first.turns, second.turns) == ([Turn.TRY], [])
        line.freed([account("a")])
        await settle_down()
        assert (first.turns, second.turns) == ([Turn.TRY, Turn.TRY], [])

    run(story())


def test_money_that_comes_back_while_one_tries_gives_it_another_turn() -> None:
    async def story() -> None:
        line = new_line()
        waiter = Waiter(line, "a")
        line.freed([account("a")])
        await settle_down()
        line.freed([account("a")])
        waiter.again()
        await settle_down()
        assert waiter.turns == [Turn.TRY, Turn.TRY]

    run(story())


def test_who_waits_for_another_budget_is_not_in_the_way() -> None:
    async def story() -> None:
        line = new_line()
        one, other = Waiter(line, "a"), Waiter(line, "b")
        line.freed([account("b"), account("c")])
        await settle_down()
        assert (one.turns, other.turns) == ([], [Turn.TRY])

    run(story())


def test_nobody_overtakes_on_a_second_budget() -> None:
    """Both are charged to `b`; the younger waits for `a`, where money comes back first."""

    async def story() -> None:
        line = new_line()
        older = Waiter(line, "b")
        younger = Waiter(line, "ab", at="a")
        line.freed([account("a")])
        await settle_down()
        assert (younger.turns, younger.place.at) == ([], key("b"))
        line.freed([account("b")])
        await settle_down()
        assert (older.turns, younger.turns) == ([Turn.TRY], [])
        older.leave()
        await settle_down()
        assert younger.turns == [Turn.TRY]

    run(story())


def test_one_refused_by_another_budget_keeps_its_age_and_lets_the_next_try() -> None:
    async def story() -> None:
        line = new_line()
        first, second = Waiter(line, "ab", at="a"), Waiter(line, "a")
        third = Waiter(line, "b")
        line.freed([account("a")])
        await settle_down()
        assert first.turns == [Turn.TRY]
        first.place.stand_at(key("b"))
        first.again()
        await settle_down()
        assert second.turns == [Turn.TRY]
        line.freed([account("b")])
        await settle_down()
        assert (first.turns, third.turns) == ([Turn.TRY, Turn.TRY], [])

    run(story())


def test_a_newcomer_learns_which_of_its_budgets_others_wait_for() -> None:
    async def story() -> None:
        line = new_line()
        asked = charges("a", "b", "c")
        assert line.waited_for(asked) is None
        waiter = Waiter(line, "b")
        assert line.waited_for(asked) == asked[1]
        assert line.waited_for(charges("a", "c")) is None
        waiter.leave()
        assert line.waited_for(asked) is None

    run(story())


@pytest.mark.parametrize("window", [Window.MONTH, RollingWindow(86_400)])
def test_every_beginning_and_bucket_of_a_budgets_window_is_one_line(
    window: Window | RollingWindow,
) -> None:
    scopes = Scopes("o", "t", "k", "t/w", "t/r")
    book = BudgetBook([Budget(ScopeKind.KEY, "*", window, 10)])
    accounts = []
    for now_s in (1_790_000_000, 1_793_000_000):
        charges = book.charges(scopes, now_s)
        accounts.append(charges[-1].account)
    assert (len(set(accounts)), len({budget_key(name) for name in accounts})) == (2, 1)

    async def story(freed: str) -> None:
        line = new_line()
        with line.join(charges, budget_key(accounts[1])) as place:
            line.freed([freed])
            assert await place.turn() is Turn.TRY

    run(story(accounts[0]))


def test_without_a_call_the_first_in_line_looks_by_itself_soon() -> None:
    async def story() -> float:
        line = Line(10, LONG_S)
        started_s = time.perf_counter()
        with line.join(charges("a"), key("a")) as place:
            assert await place.turn() is Turn.TRY
            assert await place.turn() is Turn.TRY
        return time.perf_counter() - started_s

    assert LOOK_S < run(story()) < 20 * LOOK_S


def test_each_look_is_at_a_few_budgets_and_all_get_theirs() -> None:
    budgets = 3 * BUDGETS_A_LOOK

    async def story() -> None:
        line = new_line(look_s=0.005)
        waiters = [Waiter(line, chr(300 + number)) for number in range(budgets)]

        def looked() -> int:
            return sum(bool(w.turns) for w in waiters)

        seen = {0}
        while looked() < budgets:
            await asyncio.sleep(0.0005)
            seen.add(looked())
        assert seen <= {0, BUDGETS_A_LOOK, 2 * BUDGETS_A_LOOK, budgets}
        with ExitStack() as all_of_them:
            for waiter in waiters:
                all_of_them.enter_context(waiter.place)

    run(story())


def test_nothing_is_left_to_do_when_nobody_waits() -> None:
    async def story() -> None:
        line = new_line(look_s=0.001)
        with line.join(charges("a"), key("a")) as place, line.join(charges("b"), key("b")):
            assert line.waiting == 2
            await place.turn()
        assert (line.waiting, line._look, line._standing) == (0, None, {})

    run(story())


def test_time_that_is_over_gives_a_last_turn_and_no_other() -> None:
    async def story() -> float:
        line = new_line(wait_s=0.05)
        first, second = Waiter(line, "a"), Waiter(line, "a")
        await asyncio.wait([first.task, second.task])
        assert (first.turns, second.turns) == ([Turn.LAST_TRY], [Turn.LAST_TRY])
        first.again()
        await first.task
        assert first.turns == [Turn.LAST_TRY, Turn.LAST_TRY]
        return first.place.waited_ms

    assert 45 <= run(story()) < 1_000  # a timer of the loop may be a millisecond early


def test_one_who_gives_up_leaves_even_when_its_time_is_over() -> None:
    async def story() -> None:
        line = new_line(wait_s=0.01)
        with line.join(charges("a"), key("a")) as place:
            place.give_up()
            assert await place.turn() is Turn.LEAVE
            assert not line.retry_after_s > 1
            await asyncio.sleep(0.02)
            assert await place.turn() is Turn.LEAVE

    run(story())


def test_so_many_may_wait_and_no_more() -> None:
    async def story() -> None:
        line = new_line(places=2, wait_s=2.5)
        assert line.is_open
        waiters = [Waiter(line, "a"), Waiter(line, "b")]
        assert (line.is_open, line.waiting, line.retry_after_s) == (False, 2, 3)
        waiters[0].leave()
        assert (line.is_open, line.waiting, line.retry_after_s) == (True, 1, 1)

    run(story())


@pytest.mark.parametrize("line", [new_line(places=0), new_line(wait_s=0)])
def test_a_line_without_places_or_time_is_never_open(line: Line) -> None:
    assert not line.is_open
    assert line.retry_after_s >= 1


def test_a_closing_gateway_ends_every_wait_at_once() -> None:
    async def story() -> None:
        line = new_line()
        waiters = [Waiter(line, name) for name in "aab"]
        line.close()
        await asyncio.wait([w.task for w in waiters], timeout=1)
        assert [w.turns for w in waiters] == [[Turn.LEAVE]] * 3
        assert not line.is_open

    run(story())


def test_a_wait_that_is_cancelled_leaves_no_trace() -> None:
    async def story() -> None:
        line = new_line()

        async def wait() -> None:
            with line.join(charges("a"), key("a")) as place:
                await place.turn()

        tasks = [asyncio.create_task(wait()) for _ in range(3)]
        await settle_down()
        assert line.waiting == 3
        tasks[1].cancel()
        await settle_down()
        assert (line.waiting, [task.done() for task in tasks]) == (2, [False, True, False])
        tasks[0].cancel()  # the first: whoever is left has the next turn
        await settle_down()
        assert (line.waiting, line._standing) == (0, {})
        assert (tasks[0].cancelled(), tasks[2].cancelled()) == (True, False)

    run(story())


class Store:
    """Money in budgets that can be set aside and comes back; it never holds more than there is."""

    def __init__(self, limits: dict[str, int]) -> None:
        self.limits = limits
        self.held = Counter[str]()

    def take(self, names: str, amount: int) -> str | None:
        """None where it is set aside, else the first budget that cannot bear it."""
        for name in names:
            if self.held[name] + amount > self.limits[name]:
                return name
        self.held.update(dict.fromkeys(names, amount))
        return None

    def give_back(self, names: str, amount: int) -> None:
        self.held.subtract(dict.fromkeys(names, amount))


async def ask(line: Line, store: Store, served: list[int], number: int, random: Random) -> None:
    """One request as the gateway carries it: try, wait in line, hold for a few turns, give back."""
    names = "".join(random.sample("abc", random.randint(1, 3)))
    amount = random.randint(1, 10)
    turns = random.randint(1, 5)
    older = line.waited_for(charges(*names))
    missing = older.scope.removeprefix("key:") if older else store.take(names, amount)
    if missing is not None:
        with line.join(charges(*names), key(missing)) as place:
            while missing is not None:
                place.stand_at(key(missing))
                assert await place.turn() is Turn.TRY
                before = [line._standing.get(key(name), [place])[0].ticket for name in names]
                assert min(before) >= place.ticket, "an older one stands at one of its budgets"
                await asyncio.sleep(0)
                missing = store.take(names, amount)
    served.append(number)
    for _ in range(turns):
        await asyncio.sleep(0)
    store.give_back(names, amount)
    line.freed(account(name) for name in names)


@pytest.mark.parametrize("seed", range(30))
def test_however_they_come_everybody_is_served_and_nobody_overtakes(seed: int) -> None:
    async def story() -> None:
        random = Random(seed)
        line, store, served = new_line(), Store({"a": 20, "b": 12, "c": 10}), list[int]()
        tasks = []
        for number in range(60):
            tasks.append(asyncio.create_task(ask(line, store, served, number, random)))
            for _ in range(random.randint(0, 2)):
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        assert sorted(served) == list(range(60))
        assert (line.waiting, +store.held) == (0, Counter())

    run(story())
