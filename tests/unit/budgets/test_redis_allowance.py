"""What a gateway may hold without Redis: so much in all, whatever becomes of its process."""

from dataclasses import replace
from pathlib import Path

from budgets.ledger import Hold, HoldState, Refusal, Reservation, dispatched, extended
from budgets.scopes import Budget, Charge, ScopeKind, Window
from budgets.stores.redis_allowance import ALLOWED, Allowance
from budgets.stores.redis_journal import EndingJournal, Pending
from tests.contracts.ledger_backends import charge, event, reservation, shaper

LIMIT_NANO = 100


def budgeted(account: str, *, soft: bool) -> Charge:
    budget = Budget(ScopeKind.KEY, "k", Window.TOTAL, 5, soft=soft)
    return replace(charge(account, 5), budget=budget)


def asked(name: str, amount_nano: int) -> Reservation:
    return reservation(name, amount_nano, charge("org:o"), budgeted("key:k", soft=True))


def opened(directory: Path, limit_nano: int = LIMIT_NANO) -> Allowance:
    allowance = Allowance(EndingJournal(directory), shaper())
    allowance.limit_nano = limit_nano
    return allowance


def admitted(allowance: Allowance, name: str, amount_nano: int) -> Hold:
    hold = allowance.reserve(asked(name, amount_nano))
    assert hold is not None
    return hold


def ended(hold: Hold, cost_nano: int | None) -> Pending:
    return Pending(hold, cost_nano, event(hold.hold_id), ALLOWED)


def test_all_holds_together_keep_the_allowance(tmp_path: Path) -> None:
    allowance = opened(tmp_path)
    hold = admitted(allowance, "h1", 60)
    assert (hold.state, hold.amount_nano) == (HoldState.HELD, 60)
    assert allowance.reserve(asked("h2", 41)) is None
    admitted(allowance, "h3", 40)
    assert allowance.left_nano == 0
    assert allowance.holds("h1")
    assert not allowance.holds("h2")


def test_one_hard_budget_among_soft_ones_denies(tmp_path: Path) -> None:
    allowance = opened(tmp_path)
    charges = (budgeted("key:k", soft=True), budgeted("team:t", soft=False))
    assert allowance.reserve(reservation("h1", 1, *charges)) is None
    assert allowance.reserve(reservation("h2", 1, charge("org:o"))) is not None


def test_what_was_spent_is_used_until_redis_is_told(tmp_path: Path) -> None:
    allowance = opened(tmp_path)
    spent, freed = admitted(allowance, "h1", 60), admitted(allowance, "h2", 40)
    allowance.ended(ended(spent, 50))
    allowance.ended(ended(freed, None))
    assert allowance.left_nano == 50
    assert not allowance.holds("h1")
    allowance.told("h1")
    allowance.told("h2")
    assert allowance.left_nano == LIMIT_NANO


def test_a_stream_grows_as_far_as_the_allowance_goes(tmp_path: Path) -> None:
    allowance = opened(tmp_path)
    hold = dispatched(admitted(allowance, "h1", 60))
    allowance.sent(hold, b"h1")
    too_much = allowance.extend(extended(hold, asked("h1", 101)))
    assert isinstance(too_much, Refusal)
    assert too_much.only_held
    larger = allowance.extend(extended(hold, asked("h1", 100)))
    assert isinstance(larger, Hold)
    assert allowance.left_nano == 0
    # A process that dies now has spent all of it, as far as anybody knows.
    assert opened(tmp_path).left_nano == 0


def test_what_a_killed_process_had_sent_is_owed_at_its_ceiling_by_the_next(tmp_path: Path) -> None:
    first = opened(tmp_path)
    sent, done = (dispatched(admitted(first, name, 30)) for name in ("h1", "h2"))
    first.sent(sent, b"h1")
    first.sent(done, b"h2")
    EndingJournal(tmp_path).append(ended(done, 20))
    first.ended(ended(done, 20))
    assert EndingJournal(tmp_path).is_left()
    second = opened(tmp_path)
    assert second.left_nano == LIMIT_NANO - 30 - 20
    owed = EndingJournal(tmp_path).waiting()
    assert [(one.hold.hold_id, one.cost_nano, one.epoch) for one in owed] == [
        ("h2", 20, ALLOWED),
        ("h1", 30, ALLOWED),
    ]
    assert opened(tmp_path).left_nano == LIMIT_NANO - 30 - 20  # and no third of them
    assert len(EndingJournal(tmp_path).waiting()) == 2


def test_a_gateway_with_nothing_open_keeps_no_file(tmp_path: Path) -> None:
    allowance = opened(tmp_path)
    hold = dispatched(admitted(allowance, "h1", 30))
    allowance.sent(hold, b"h1")
    allowance.told("h1")
    assert list(tmp_path.glob("*.jsonl")) == []
