"""Endings that Redis could not be told, in a local file until it can.

The provider has been paid for, so the money must not be forgotten because a server is away. A line
is on the disk before the request is answered, and is carried out when Redis is back. Carrying one
out twice changes nothing, so a file that was half replayed is simply replayed again.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import orjson

from budgets.ledger import PLAIN, Bill, Hold, HoldState, LedgerError
from budgets.port import OutboxEvent
from budgets.stores.redis_texts import parties_json, read_parties
from budgets.value import value

COUNTED_BYTES = 1 << 20


@value
class Pending:
    """An ending that is owed: a settlement at `cost_nano`, or a release where that is None.

    `epoch` is the life of the ledger in which the hold was dispatched. Lines of versions that knew
    only money have no `amounts`, `parties` and `bill`.
    """

    hold: Hold
    cost_nano: int | None
    event: OutboxEvent | None
    epoch: str
    bill: Bill = PLAIN

    def to_line(self) -> bytes:
        hold, event, bill = self.hold, self.event, self.bill
        return orjson.dumps(
            {
                "hold": [
                    hold.hold_id,
                    hold.state.value,
                    hold.amount_nano,
                    hold.accounts,
                    hold.admitted_ms,
                    hold.lease_until_ms,
                ],
                "cost_nano": self.cost_nano,
                # Bytes as the characters of the same numbers: every payload comes back as it was.
                "event": event
                and [event.event_id, event.payload.decode("latin-1"), event.ended_ms],
                "epoch": self.epoch,
                "amounts": hold.amounts,
                "parties": orjson.Fragment(parties_json(hold.scopes)),
                "bill": [bill.tokens, bill.model, bill.posted],
            }
        )

    @classmethod
    def from_line(cls, line: bytes) -> "Pending":
        """Read a line back; raise ValueError for what is none."""
        try:
            fields = orjson.loads(line)
            hold_id, state, amount_nano, accounts, admitted_ms, lease_until_ms = fields["hold"]
            event = fields["event"]
            tokens, model, posted = fields.get("bill", (0, "", ()))
            return cls(
                Hold(
                    hold_id,
                    HoldState(state),
                    amount_nano,
                    tuple(accounts),
                    admitted_ms,
                    lease_until_ms,
                    read_parties(fields.get("parties")),
                    tuple(fields.get("amounts", ())),
                ),
                fields["cost_nano"],
                event and OutboxEvent(event[0], event[1].encode("latin-1"), event[2]),
                fields["epoch"],
                Bill(tokens, model, tuple(posted)),
            )
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(f"not a pending ending: {error}") from error


class EndingJournal:
    """`pending.jsonl` is written, `replaying.jsonl` is being carried out, `rejected.jsonl` is for
    people: endings that contradict the ledger. `allowed.jsonl` tells how requests end that were
    sent without Redis, should this process not live to say more.
    """

    __slots__ = ("_allowed", "_pending", "_rejected", "_replaying")

    def __init__(self, directory: Path) -> None:
        """Use a directory that exists."""
        self._pending = directory / "pending.jsonl"
        self._replaying = directory / "replaying.jsonl"
        self._rejected = directory / "rejected.jsonl"
        self._allowed = directory / "allowed.jsonl"

    def append(self, pending: Pending) -> None:
        """Return once the line is on the disk; raise LedgerError where it cannot be."""
        _append(self._pending, pending.to_line())

    def reject(self, pending: Pending) -> None:
        """Keep an ending that the ledger does not take, for a person to look at."""
        _append(self._rejected, pending.to_line())

    def take(self) -> Sequence[Pending]:
        """What is to be carried out now; call `done` afterwards."""
        try:
            if not self._replaying.exists():
                if not self._pending.exists():
                    return []
                self._pending.rename(self._replaying)
        except OSError as error:
            raise LedgerError(f"{self._pending} cannot be moved: {error}") from error
        return _read(self._replaying)

    def waiting(self) -> Sequence[Pending]:
        """The endings that Redis is still to be told of."""
        return [*_read(self._replaying), *_read(self._pending)]

    def allow(self, pending: Pending) -> None:
        """Return once the disk holds how a request ends if nothing more is heard of it."""
        _append(self._allowed, pending.to_line())

    def allowed(self) -> Sequence[Pending]:
        """What was written down so, the newest of a hold last."""
        return _read(self._allowed)

    def forget_allowed(self) -> None:
        """All of those have ended in another way."""
        self._allowed.unlink(missing_ok=True)

    def is_left(self) -> bool:
        """Whether a process that is gone left anything to tell Redis."""
        return bool(self.owed()) or self._allowed.exists()

    def owed(self) -> int:
        """How many endings Redis is still to be told of; callable from any thread."""
        return _lines_in(self._pending) + _lines_in(self._replaying)

    def rejected(self) -> int:
        """How many endings wait for a person; callable from any thread."""
        return _lines_in(self._rejected)

    def done(self) -> None:
        """Everything that was taken is in the ledger."""
        self._replaying.unlink(missing_ok=True)


def _read(path: Path) -> Sequence[Pending]:
    """The lines of a file; none where there is no file. Raise LedgerError."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error}") from error
    # What follows the last line end was being written when its process died: never promised.
    return [Pending.from_line(line) for line in lines[:-1] if line]


def _lines_in(path: Path) -> int:
    """Whole lines of a file, read piece by piece; none where there is no file."""
    lines = 0
    try:
        with path.open("rb") as file:
            while piece := file.read(COUNTED_BYTES):
                lines += piece.count(b"\n")
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error}") from error
    return lines


def _append(path: Path, line: bytes) -> None:
    try:
        is_new = not path.exists()
        if not is_new:
            _drop_torn_line(path)
        with path.open("ab") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            descriptor = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise LedgerError(f"{path} cannot be written: {error}") from error


def _drop_torn_line(path: Path) -> None:
    """Take back what a process was writing as it died: nobody was promised it."""
    with path.open("rb+") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
