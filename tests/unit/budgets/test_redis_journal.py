"""Owed endings on the disk: what was promised comes back as it was, and nothing else does."""

from pathlib import Path

import pytest

from budgets.ledger import Bill, Hold, HoldState, LedgerError
from budgets.port import OutboxEvent
from budgets.scopes import Scopes
from budgets.stores.redis_journal import EndingJournal, Pending

HOLD = Hold("h1", HoldState.DISPATCHED, 10, ("org:o", "key:k/ü"), 5, 65)
SETTLED = Pending(HOLD, 7, OutboxEvent("e1", b'{"text":"\xc3\xbc\n"}\xff\x00', 99), "1-ab")
RELEASED = Pending(HOLD, None, None, "")
ANA = Scopes("o", "t", "k|1", "t/w", "", tags=("t/a=1",))
MIXED = Pending(
    Hold("h2", HoldState.DISPATCHED, 10, ("org:o", "key:k/t"), 5, 65, ANA, (10, 300)),
    7,
    OutboxEvent("e2", b"{}", 99),
    "1-ab",
    Bill(250, "mini", (7, 250)),
)


def test_an_ending_comes_back_as_it_was_written(tmp_path: Path) -> None:
    journal = EndingJournal(tmp_path)
    assert journal.take() == []
    journal.append(SETTLED)
    journal.append(RELEASED)
    journal.append(MIXED)
    assert EndingJournal(tmp_path).take() == [SETTLED, RELEASED, MIXED]


def test_a_line_of_before_units_is_an_ending_in_money() -> None:
    line = (
        b'{"hold":["h1","dispatched",10,["org:o","key:k/\xc3\xbc"],5,65],"cost_nano":7,'
        b'"event":["e1","{}",99],"epoch":"1-ab"}'
    )
    assert Pending.from_line(line) == Pending(HOLD, 7, OutboxEvent("e1", b"{}", 99), "1-ab")


def test_what_is_taken_is_given_again_until_it_is_done(tmp_path: Path) -> None:
    journal = EndingJournal(tmp_path)
    journal.append(SETTLED)
    journal.take()
    journal.append(RELEASED)
    assert EndingJournal(tmp_path).take() == [SETTLED]
    journal.done()
    assert journal.take() == [RELEASED]
    journal.done()
    assert journal.take() == []


def test_a_torn_line_is_nobodys_promise_and_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    journal = EndingJournal(tmp_path)
    journal.append(SETTLED)
    with (tmp_path / "pending.jsonl").open("ab") as file:
        file.write(SETTLED.to_line()[:40])
    journal.append(RELEASED)
    assert journal.take() == [SETTLED, RELEASED]


def test_an_ending_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pending.jsonl").mkdir()
    with pytest.raises(LedgerError, match=r"pending\.jsonl cannot be written"):
        EndingJournal(tmp_path).append(SETTLED)
    with pytest.raises(ValueError, match="not a pending ending"):
        Pending.from_line(b'{"hold":[]}')


def test_what_is_owed_and_what_waits_for_a_person_is_counted(tmp_path: Path) -> None:
    journal = EndingJournal(tmp_path)
    assert (journal.owed(), journal.rejected()) == (0, 0)
    journal.append(SETTLED)
    journal.take()
    journal.append(RELEASED)
    journal.append(SETTLED)
    journal.reject(SETTLED)
    with (tmp_path / "pending.jsonl").open("ab") as file:
        file.write(b'{"torn')
    # Another reader of the same directory sees the same; a torn line is nobody's promise.
    other = EndingJournal(tmp_path)
    assert (other.owed(), other.rejected()) == (3, 1)
    journal.done()
    assert (other.owed(), other.rejected()) == (2, 1)
