"""A request on its way while a window ends is counted once, in the window that admitted it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from budgets.ledger import Account
from budgets.scopes import Budget, ScopeKind, Window, account_id
from gateway.providers.port import UpstreamCall, UpstreamReply
from gateway.providers.script import Script
from gateway.providers.scripted import ScriptedProvider
from tests.unit.gateway.desks import (
    INPUT_NANO,
    OUTPUT_NANO,
    ask,
    assert_at_rest,
    chat,
    events,
    make_desk,
    run,
)


@dataclass(slots=True)
class Clock:
    """A clock that a test sets."""

    now: int

    def now_ms(self) -> int:
        return self.now


class Overnight(ScriptedProvider):
    """A provider whose first answer takes until a window has ended."""

    def __init__(self, name: str, clock: Clock, until_ms: int) -> None:
        super().__init__(name, Script(say="one two three"))
        self._clock = clock
        self._until_ms = until_ms

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        self._clock.now = max(self._clock.now, self._until_ms)
        return await super().open(call)


def provider(clock: Clock, until_ms: int) -> Callable[[str], Overnight]:
    return lambda name: Overnight(name, clock, until_ms)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("window", "zone", "begins", "ends"),
    [
        (Window.DAY, "Asia/Kathmandu", (2026, 11, 20), (2026, 11, 21)),
        (Window.DAY, "Pacific/Kiritimati", (2026, 12, 31), (2027, 1, 1)),
        (Window.DAY, "America/New_York", (2026, 11, 1), (2026, 11, 2)),  # 25 hours
        (Window.DAY, "America/New_York", (2026, 3, 8), (2026, 3, 9)),  # 23 hours
        (Window.DAY, "America/Havana", (2026, 11, 1), (2026, 11, 2)),  # with two midnights
        (Window.MONTH, "Pacific/Kiritimati", (2028, 2, 1), (2028, 3, 1)),  # 29 days
        (Window.MONTH, "America/New_York", (2026, 10, 1), (2026, 11, 1)),  # 31 days
        (Window.WEEK, "Asia/Kathmandu", (2026, 11, 16), (2026, 11, 23)),
    ],
)
def test_a_request_across_the_end_of_a_window_counts_where_it_was_admitted(
    window: Window,
    zone: str,
    begins: tuple[int, int, int],
    ends: tuple[int, int, int],
    stream: bool,
) -> None:
    start_s, end_s = (
        int(datetime(*day, tzinfo=ZoneInfo(zone)).timestamp()) for day in (begins, ends)
    )
    clock = Clock(end_s * 1_000 - 1)
    # Bears one request at a time, and pays for no second one.
    budget = Budget(ScopeKind.KEY, "key1", window, 60_000, zone)
    desk = make_desk({"main": provider(clock, end_s * 1_000 + 5)}, book=[budget])
    desk = replace(desk, now_ms=clock.now_ms)
    body = chat("a b", max_tokens=10, stream=stream)

    def status() -> int:
        return run(ask(desk, body)).status

    assert status() == 200
    [event] = events(desk)
    assert event.cost_nano == event.fresh_tokens * INPUT_NANO + 3 * OUTPUT_NANO > 0
    old, new = (account_id(ScopeKind.KEY, "key1", window, at_s) for at_s in (start_s, end_s))
    accounts = run(desk.ledger.survey([old, new]))
    assert accounts == {old: Account(event.cost_nano)}
    # Before midnight nothing more would have fitted; the new window is untouched.
    clock.now = end_s * 1_000 - 1
    needs_nano = event.reserved_nano
    tight = replace(budget, limit_nano=event.cost_nano + needs_nano - 1)
    desk.budgets.change([tight])
    assert status() == 402
    clock.now = end_s * 1_000
    assert status() == 200
    accounts = run(desk.ledger.survey([old, new]))
    assert accounts == {old: Account(event.cost_nano), new: Account(event.cost_nano)}
    assert_at_rest(desk)
