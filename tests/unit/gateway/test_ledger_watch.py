"""What is told of the ledger: what it says itself, and what requests met."""

from collections.abc import Mapping, Sequence

import pytest

from budgets.ledger import Account, LedgerError
from budgets.stores.in_memory import InMemoryLedger
from budgets.stores.redis_life import (
    LedgerEvictingError,
    LedgerFullError,
    LedgerLostError,
    LedgerReadOnlyError,
    LedgerUnreachableError,
)
from gateway.ledger_watch import REMEDIES, LedgerState, LedgerWatch, cause_of
from gateway.tally import LedgerOutcome, Tally
from tests.unit.gateway.clocks import Clock
from tests.unit.gateway.desks import SHAPER, run
from tests.unit.gateway.test_tally import PAID
from tests.unit.telemetry.events import make_event


class Ledger(InMemoryLedger):
    """One that fails as it is told, and counts how often it was asked."""

    error: LedgerError | None = None
    asked = 0

    async def survey(self, accounts: Sequence[str]) -> Mapping[str, Account]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return {name: Account(7) for name in accounts}


def watching() -> tuple[LedgerWatch, Ledger, Tally, Clock]:
    ledger, tally, clock = Ledger(SHAPER), Tally(), Clock()
    return LedgerWatch(ledger, tally, clock=clock), ledger, tally, clock


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (LedgerUnreachableError, LedgerState.UNREACHABLE),
        (LedgerLostError, LedgerState.LOST),
        (LedgerReadOnlyError, LedgerState.READ_ONLY),
        (LedgerEvictingError, LedgerState.EVICTING),
        (LedgerFullError, LedgerState.FULL),
        (LedgerError, LedgerState.FAILED),
    ],
)
def test_every_error_names_a_state_that_has_a_remedy(
    error: type[LedgerError], state: LedgerState
) -> None:
    watch, ledger, _, _ = watching()
    ledger.error = error("redis://:secret@host")
    look = run(watch.state())
    assert (look.state, look.error) == (state, "redis://:secret@host")
    assert cause_of(ledger.error) is state
    assert "secret" not in REMEDIES[state]


def test_the_ledger_is_asked_at_most_once_a_second_however_often_somebody_looks() -> None:
    watch, ledger, _, clock = watching()

    async def story() -> None:
        for _ in range(100):
            assert (await watch.state()).state is LedgerState.OK
        assert ledger.asked == 1
        ledger.error = LedgerLostError("gone")
        clock.now_s += 1
        assert (await watch.state()).state is LedgerState.LOST
        ledger.error = None
        assert (await watch.state()).state is LedgerState.LOST
        clock.now_s += 1
        assert (await watch.state()).state is LedgerState.OK
        assert (await watch.look(["org:o"])).accounts == {"org:o": Account(7)}

    run(story())


def test_what_reading_cannot_see_is_told_by_requests_until_one_succeeds_or_time_passes() -> None:
    watch, _, tally, clock = watching()

    async def state() -> LedgerState:
        return (await watch.state()).state

    async def story() -> None:
        watch.failed(LedgerOutcome.RETRIED, LedgerFullError("full"))
        watch.failed(LedgerOutcome.DENIED, LedgerUnreachableError("a moment"))
        assert await state() is LedgerState.OK
        watch.failed(LedgerOutcome.DENIED, LedgerFullError("full"))
        assert await state() is LedgerState.FULL
        tally.settled(make_event(1), PAID)
        assert await state() is LedgerState.OK
        watch.failed(LedgerOutcome.LEFT_TO_LEASE, LedgerError("the disk is full"))
        assert await state() is LedgerState.FAILED
        clock.now_s += 11
        assert await state() is LedgerState.OK

    run(story())
    assert tally.ledger_errors == {
        (LedgerOutcome.RETRIED, "full"): 1,
        (LedgerOutcome.DENIED, "unreachable"): 1,
        (LedgerOutcome.DENIED, "full"): 1,
        (LedgerOutcome.LEFT_TO_LEASE, "failed"): 1,
    }


def test_what_is_owed_is_told_with_the_state_and_left_out_where_it_cannot_be_read() -> None:
    debts: list[tuple[int, int]] = [(3, 1)]

    def owed() -> tuple[int, int]:
        if not debts:
            raise LedgerError("no such directory")
        return debts.pop()

    watch = LedgerWatch(Ledger(SHAPER), Tally(), owed)
    assert run(watch.look([])).owed == (3, 1)
    assert run(watch.state()).owed == (3, 1)
    assert run(watch.look([])).owed is None
    assert run(LedgerWatch(Ledger(SHAPER), Tally()).state()).owed == (0, 0)
