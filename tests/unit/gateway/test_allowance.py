"""An allowance grows while the budget bears it, in smaller steps near its end, and then no more."""

from budgets.ledger import Account, Hold, LedgerError, Refusal, Reservation
from budgets.scopes import Charge, Window
from budgets.stores.in_memory import InMemoryLedger
from gateway.allowance import LEAST_STEP_TOKENS, Allowance
from tests.unit.gateway.desks import SHAPER, run

INPUT_TOKENS = 10


def price_of(output_tokens: int) -> tuple[int, int]:
    """A nano-dollar for a token, whichever way it goes."""
    return INPUT_TOKENS + output_tokens, INPUT_TOKENS + output_tokens


def charge(limit: int) -> Charge:
    return Charge("key:k", "key:k", Window.TOTAL, limit, None)


async def begun(ledger: InMemoryLedger, tokens: int, most: int, limit: int) -> Allowance:
    wish = Reservation("h", INPUT_TOKENS + tokens, (charge(limit),), 0, 60_000)
    hold = await ledger.reserve(wish)
    assert isinstance(hold, Hold)
    hold = await ledger.dispatch(hold, b"draft")
    return Allowance(ledger, wish, hold, tokens, most, price_of)


async def held(ledger: InMemoryLedger) -> int:
    return (await ledger.survey(["key:k"])).get("key:k", Account()).held_nano


def test_it_grows_by_half_until_it_has_all_it_can_use() -> None:
    async def grow() -> None:
        ledger = InMemoryLedger(SHAPER)
        allowance = await begun(ledger, 400, 1_000, limit=10_000)
        assert allowance.watermark_tokens == 300
        assert await allowance.more()
        assert (allowance.tokens, await held(ledger)) == (600, 610)
        assert allowance.hold.amount_nano == 610
        assert await allowance.more()
        assert await allowance.more()
        assert (allowance.tokens, allowance.watermark_tokens) == (1_000, None)
        assert not await allowance.more()
        assert await held(ledger) == 1_010

    run(grow())


def test_near_the_end_of_a_budget_it_takes_what_is_left_and_no_nano_more() -> None:
    async def grow() -> None:
        ledger = InMemoryLedger(SHAPER)
        allowance = await begun(ledger, 400, 10_000, limit=600)
        while await allowance.more():
            assert await held(ledger) <= 600
        assert 600 - LEAST_STEP_TOKENS <= await held(ledger) <= 600
        assert await held(ledger) == allowance.hold.amount_nano == INPUT_TOKENS + allowance.tokens

    run(grow())


def test_what_others_hold_is_not_taken_and_comes_back_when_they_end() -> None:
    async def grow() -> None:
        ledger = InMemoryLedger(SHAPER)
        other = await ledger.reserve(Reservation("other", 500, (charge(1_000),), 0, 60_000))
        assert isinstance(other, Hold)
        allowance = await begun(ledger, 480, 2_000, limit=1_000)
        assert not await allowance.more()
        assert allowance.tokens == 480
        await ledger.release(other, None)
        assert await allowance.more()
        assert allowance.tokens == 480 + 240

    run(grow())


def test_a_ledger_that_does_not_answer_gives_nothing_more() -> None:
    class Gone(InMemoryLedger):
        async def extend(self, hold: Hold, reservation: Reservation) -> Hold | Refusal:
            raise LedgerError("gone")

    async def grow() -> None:
        ledger = Gone(SHAPER)
        allowance = await begun(ledger, 400, 1_000, limit=10_000)
        assert not await allowance.more()
        assert (allowance.tokens, allowance.hold.amount_nano) == (400, 410)

    run(grow())
