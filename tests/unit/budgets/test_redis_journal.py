"""Owed endings on the disk: what was promised comes back as it was, and nothing else does."""

from pathlib import Path

import pytest

from budgets.ledger import Hold, HoldState, LedgerError
from budgets.port import OutboxEvent
from budgets.stores.redis_journal import EndingJournal, Pending

HOLD = Hold("h1", HoldState.DISPATCHED, 10, ("org:o", "key:k/ü"), 5, 65)
SETTLED = Pending(HOLD, 7, OutboxEvent("e1", b'{"text":"\xc3\xbc\n"}\xff\x00', 99), "1-ab")
RELEASED = Pending(HOLD, None, None, "")


def test_an_ending_comes_back_as_it_was_written(tmp_path: Path) -> None:
    journal = EndingJournal(tmp_path)
    assert journal.take() == []
    journal.append(SETTLED)
    journal.append(RELEASED)
    assert EndingJournal(tmp_path).take() == [SETTLED, RELEASED]


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
