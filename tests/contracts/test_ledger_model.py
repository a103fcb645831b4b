"""Every store against the model, step by step: the invariants hold whatever happens when."""

import asyncio
import os
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from budgets.ledger import Account, Hold, HoldState
from budgets.stores.in_sqlite import SqliteLedger
from budgets.stores.sqlite_books import open_books
from tests.contracts.ledger_backends import (
    NOON_MS,
    Backend,
    Opened,
    in_memory,
    in_redis,
    in_sqlite,
    shaper,
)
from tests.contracts.ledger_model import (
    Answer,
    Dispatch,
    Extend,
    LedgerModel,
    Limits,
    Record,
    Release,
    Reserve,
    Settle,
    Step,
    take_step,
)
from tests.contracts.redis_server import shared_server

# So many stories are told to memory and SQLite side by side, and to Redis, where one takes longer.
EXAMPLES = int(os.environ.get("WEIR_LEDGER_EXAMPLES", "200"))
REDIS_EXAMPLES = int(os.environ.get("WEIR_LEDGER_EXAMPLES", "50"))
LIMITS: dict[str, int | None] = {
    "org:o": None,
    "team:t": 90,
    "key:a": 60,
    "key:b": 40,
    "run:r": 25,
    "key:a/tokens": 70,
    "team:t/requests": 4,
}
HOLD_IDS = st.integers(0, 11).map("h{}".format)
AMOUNTS = st.integers(0, 30)
PICKS = st.integers(0, 100)
ALL_STATES = tuple(state.value for state in HoldState)
SOME_ACCOUNTS = st.lists(st.sampled_from(list(LIMITS)[1:]), unique=True, max_size=4)
SCOPES = SOME_ACCOUNTS.map(lambda names: tuple((name, LIMITS[name]) for name in ["org:o", *names]))
GATED = st.sampled_from([(), (), (), ("run:r",), ("key:b", "run:r")])


def _wish(step: Reserve) -> Reserve:
    """No request is charged to an account that shuts its own gate."""
    charged = {name for name, _ in step.limits}
    return replace(step, gated=tuple(name for name in step.gated if name not in charged))


RESERVE = st.builds(
    Reserve, HOLD_IDS, AMOUNTS, SCOPES, st.sampled_from([50, 100]), AMOUNTS, GATED
).map(_wish)
SPARED = st.one_of(st.just(frozenset[str]()), SOME_ACCOUNTS.map(frozenset))
SETTLE = st.builds(Settle, HOLD_IDS, st.integers(0, 60), st.just(""), st.integers(0, 60), SPARED)
MOVE: st.SearchStrategy[Dispatch | Settle | Release] = st.one_of(
    st.builds(Dispatch, HOLD_IDS),
    SETTLE,
    st.builds(Release, HOLD_IDS, st.sampled_from([None, ""])),
)


class LedgerMachine(RuleBasedStateMachine):
    """The same steps on the model, the memory store and the SQLite store."""

    backends: Mapping[str, Backend] = {"memory": in_memory, "sqlite": in_sqlite}

    @initialize()
    def open_stores(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory()
        self.stack = AsyncExitStack()
        self.model = LedgerModel(NOON_MS)
        self.asked: dict[str, Reserve] = {}
        self.events = 0
        self.posted_before: dict[str, int] = {}
        self.corrected = False
        self.stores: dict[str, Opened] = {}
        self.known: dict[str, dict[str, Hold]] = {name: {} for name in self.backends}
        for name, backend in self.backends.items():
            opening = self.stack.enter_async_context(backend(Path(self.directory.name)))
            self.stores[name] = self.loop.run_until_complete(opening)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.stack.aclose())
            self.loop.close()
            self.directory.cleanup()

    def _named(self, step: Step) -> Step:
        """The step with an event id of its own where it carries one."""
        self.events += 1
        if isinstance(step, Settle):
            return replace(step, event_id=f"e{self.events}")
        if isinstance(step, Release) and step.event_id is not None:
            return replace(step, event_id=f"e{self.events}")
        return step

    def _take(self, steps: list[Step]) -> None:
        """All steps in one turn of the loop, on every store; each must answer as the model."""
        steps = [self._named(step) for step in steps]
        expected = [self.model.take(step) for step in steps]
        self.corrected = any(answer[-2:] == (False, True) for answer in expected)
        for name, opened in self.stores.items():

            async def together(opened: Opened = opened, name: str = name) -> list[Answer]:
                known, now_ms = self.known[name], self.model.now_ms
                return await asyncio.gather(
                    *(take_step(opened.store, step, known, now_ms) for step in steps)
                )

            answers = self.loop.run_until_complete(together())
            assert answers == expected, name

    @rule(step=RESERVE)
    def reserve(self, step: Reserve) -> None:
        self.asked[step.hold_id] = step
        self._take([step])

    @rule(hold_id=HOLD_IDS)
    def reserve_again(self, hold_id: str) -> None:
        if hold_id in self.asked:
            self._take([self.asked[hold_id]])

    @rule(hold_id=HOLD_IDS)
    def dispatch(self, hold_id: str) -> None:
        self._take([Dispatch(hold_id)])

    def _one_of(self, states: tuple[str, ...], pick: int) -> str | None:
        """The id of a hold in one of these states; None where there is none."""
        ids = [key for key, hold in self.model.holds.items() if hold.state in states]
        return ids[pick % len(ids)] if ids else None

    def _more(self, hold_id: str, amount: int, tokens: int) -> Extend:
        """What a caller asks who adds to what its hold has."""
        hold = self.model.holds[hold_id]
        return Extend(hold.wish, hold.amount_nano + amount, hold.tokens + tokens)

    @rule(pick=PICKS, amount=st.integers(-2, 20), tokens=st.integers(-2, 20))
    def extend_an_open_hold(self, pick: int, amount: int, tokens: int) -> None:
        hold_id = self._one_of(("held", "dispatched"), pick)
        if hold_id is not None:
            more = self._more(hold_id, amount, tokens)
            self._take([more])
            self._take([more])

    @rule(pick=PICKS, amount=AMOUNTS, tokens=AMOUNTS, limits=SCOPES)
    def extend_any_hold(self, pick: int, amount: int, tokens: int, limits: Limits) -> None:
        """One that has ended, or on accounts that are not its own."""
        hold_id = self._one_of(ALL_STATES, pick)
        if hold_id is not None:
            more = self._more(hold_id, amount, tokens)
            self._take([more, replace(more, wish=replace(more.wish, limits=limits))])

    @rule(amounts=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=6))
    def extend_at_once(self, amounts: list[tuple[int, int]]) -> None:
        ids = [key for key, hold in self.model.holds.items() if hold.is_open]
        self._take([self._more(key, *more) for key, more in zip(ids, amounts, strict=False)])

    @rule(
        wish=RESERVE,
        before=st.integers(0, 10),
        after=st.integers(0, 10),
        ending=st.sampled_from(["settle", "release", "expire", "none"]),
        settle=SETTLE,
    )
    def a_request_that_grows(
        self, wish: Reserve, before: int, after: int, ending: str, settle: Settle
    ) -> None:
        wish = replace(wish, hold_id=f"n{self.events}")
        self.reserve(wish)
        if wish.hold_id not in self.model.holds:
            return
        self._take([self._more(wish.hold_id, before, after)])
        self.dispatch(wish.hold_id)
        self._take([self._more(wish.hold_id, after, before)])
        if ending == "release":
            self.release(wish.hold_id, "")
        elif ending == "expire":
            self.expire(100)
        elif ending == "settle":
            self.settle(replace(settle, hold_id=wish.hold_id))

    @rule(pick=PICKS, settle=SETTLE)
    def the_truth_about_an_expired_hold(self, pick: int, settle: Settle) -> None:
        hold_id = self._one_of(("expired_charged",), pick)
        if hold_id is not None:
            self.settle(replace(settle, hold_id=hold_id))

    @rule(step=SETTLE)
    def settle(self, step: Settle) -> None:
        self._take([step])

    @rule(hold_id=HOLD_IDS, event_id=st.sampled_from([None, ""]))
    def release(self, hold_id: str, event_id: str | None) -> None:
        self._take([Release(hold_id, event_id)])

    @rule()
    def record(self) -> None:
        self._take([Record(f"note{self.events}")])

    @rule(wish=RESERVE, settle=SETTLE)
    def whole_request(self, wish: Reserve, settle: Settle) -> None:
        self.reserve(wish)
        self.dispatch(wish.hold_id)
        self.settle(replace(settle, hold_id=wish.hold_id))

    @rule(reserves=st.lists(RESERVE, min_size=2, max_size=4, unique_by=lambda step: step.hold_id))
    def reserve_at_once(self, reserves: list[Step]) -> None:
        self._take(reserves)

    @rule(moves=st.lists(MOVE, min_size=2, max_size=5, unique_by=lambda move: move.hold_id))
    def move_at_once(self, moves: list[Step]) -> None:
        """Of one hold each: a caller moves its own hold one step after the other."""
        self._take(moves)

    @rule(passing_ms=st.sampled_from([0, 1, 49, 50, 100]))
    def expire(self, passing_ms: int) -> None:
        self.model.now_ms += passing_ms
        expected = self.model.expire()
        for name, opened in self.stores.items():
            ended = self.loop.run_until_complete(opened.store.expire(self.model.now_ms))
            assert {(e.hold_id, e.state.value, e.posted_nano) for e in ended} == expected, name
            assert len(ended) == len(expected)

    @rule(keep=st.integers(0, 5))
    def trim(self, keep: int) -> None:
        for opened in self.stores.values():
            rows = opened.store.outbox_after(0, 10_000)
            cut = len(rows) - keep
            if cut > 0:
                self.loop.run_until_complete(opened.store.trim_outbox(rows[cut - 1].seq))
        if len(self.model.events) > keep:
            del self.model.events[: len(self.model.events) - keep]

    @rule()
    def restart(self) -> None:
        """What is on the file is all there is."""
        if "sqlite" not in self.stores:
            return
        self.stores["sqlite"].store.close()
        path = Path(self.directory.name) / "ledger.sqlite3"
        ledger = SqliteLedger(path, shaper())
        self.stores["sqlite"] = Opened(ledger, lambda: open_books(path))
        self.stack.callback(ledger.close)

    @invariant()
    def accounts_and_outbox_are_as_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        expected = self.model.accounts()
        for name, opened in self.stores.items():
            found = self.loop.run_until_complete(opened.store.survey(list(LIMITS)))
            assert dict(found) == expected, name
            rows = opened.store.outbox_after(0, 10_000)
            assert [row.event_id for row in rows] == self.model.events, name
            with opened.books() as books:
                assert list(books.faults()) == [], name
        self._check_invariants(expected)

    def _check_invariants(self, accounts: dict[str, Account]) -> None:
        for name, account in accounts.items():
            assert min(account.posted_nano, account.held_nano, account.overrun_nano) >= 0
            limit = LIMITS[name]
            assert limit is None or account.committed_nano - limit <= account.overrun_nano
            fell = account.posted_nano < self.posted_before.get(name, 0)
            assert self.corrected or not fell
            self.posted_before[name] = account.posted_nano


class RedisLedgerMachine(LedgerMachine):
    """The same steps on the model and on Redis, which forgets its scripts now and then."""

    backends: Mapping[str, Backend] = {"redis": in_redis}

    @rule()
    def forget_the_scripts(self) -> None:
        shared_server().client.script_flush()


TestLedgerMachine = pytest.mark.timeout(14_400)(pytest.mark.slow(LedgerMachine.TestCase))
TestLedgerMachine.settings = settings(max_examples=EXAMPLES)
TestRedisLedgerMachine = pytest.mark.timeout(14_400)(
    pytest.mark.redis(pytest.mark.slow(RedisLedgerMachine.TestCase))
)
TestRedisLedgerMachine.settings = settings(max_examples=REDIS_EXAMPLES)
